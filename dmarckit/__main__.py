"""`python -m dmarckit`, the same as the command `dmarckit`."""

from dmarckit.cli.cli import main

main()
