"""The sections of the pages: one file each, its frame and its view together."""
