"""What the models look at: relevance, gradients, attention, averaged over events."""

from femtobarn.explain.attention import Attention, attention
from femtobarn.explain.gradients import Attribution, gradient_times_input, slopes
from femtobarn.explain.network import explain_network
from femtobarn.explain.relevance import Relevance, propagate
from femtobarn.explain.show import note, tables
from femtobarn.explain.tally import MIXTURE, TYPES, Tally
from femtobarn.explain.trees import contributions, explain_trees

#: The file in a run folder that holds all this.
EXPLAIN = "explain.json"

__all__ = [
    "EXPLAIN",
    "MIXTURE",
    "TYPES",
    "Attention",
    "Attribution",
    "Relevance",
    "Tally",
    "attention",
    "contributions",
    "explain_network",
    "explain_trees",
    "gradient_times_input",
    "note",
    "propagate",
    "slopes",
    "tables",
]
