"""`python -m dmarckit`, the same as the command `dmarckit`."""

from dmarckit.cli.main import main

main()
