"""`dmarckit aws`: the stack on AWS, planned, deployed and removed through CloudFormation."""
