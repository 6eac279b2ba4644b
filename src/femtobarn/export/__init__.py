"""Files that other programs run: raw particles in, calibrated score out.

The modules that write and validate files (`graph`, `validation`, `card`) need torch; the names imported here do not.
"""

from femtobarn.export.columns import Columns
from femtobarn.export.facts import Facts
from femtobarn.export.scorer import Scorer
from femtobarn.export.scoring import Summary, score_files, table

__all__ = ["Columns", "Facts", "Scorer", "Summary", "score_files", "table"]
