"""Records of the lake → the small frames (`Facts`) that classes and findings are made of."""

from __future__ import annotations

from dmarckit.facts_frames import COLUMNS, Facts, empty_facts

__all__ = ["COLUMNS", "Facts", "empty_facts"]
