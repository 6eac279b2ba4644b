"""The command line: one verb for each step from collisions to significance.

Heavy libraries are imported inside the verbs, so that `--help` answers at once.
"""

# the help lists the verbs in this order
# isort: off
from femtobarn.cli.common import app, run
from femtobarn.cli import simulate as simulate
from femtobarn.cli import data as data
from femtobarn.cli import training as training
from femtobarn.cli import results as results
from femtobarn.cli import networks as networks
from femtobarn.cli import settings as settings
# isort: on

__all__ = ["app", "main"]


def main() -> None:
    """Entry point of the `femtobarn` command."""
    run()
