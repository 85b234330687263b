"""`dmarckit doctor`: each setting checked against the real thing."""
