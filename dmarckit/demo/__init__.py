"""The demo: made-up report mails, a real S3 server on this machine, the entire job on both."""
