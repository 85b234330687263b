"""dmarckit: DMARC reports from S3 to one page a morning."""

__version__ = "0.1.0"
