"""`dmarckit aws`: the stack on AWS, planned, deployed and removed through CloudFormation."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
