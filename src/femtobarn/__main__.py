"""`python -m femtobarn` is the `femtobarn` command."""

from femtobarn.cli import main

main()
