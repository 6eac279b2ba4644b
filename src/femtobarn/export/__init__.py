"""Files that other programs run: raw objects in, calibrated score out.

What writes and proves them (`graph`, `proof`, `card`) needs torch; what is imported here runs them and does not.
"""

from femtobarn.export.columns import Columns
from femtobarn.export.facts import Facts
from femtobarn.export.scorer import Scorer
from femtobarn.export.scoring import Summary, score_files, table

__all__ = ["Columns", "Facts", "Scorer", "Summary", "score_files", "table"]
