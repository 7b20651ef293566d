"""Which build of a model suits a machine, before it is here.

Pure: headers and a machine in, verdicts and reasons out. Nothing here measures, looks at a disk, or
knows where files come from. `outlook.py` judges one way to run one build, `recommendation.py`
chooses among all of them.
"""

from mistral_small_edge.advice.outlook import (
    SPARE_BYTES,
    Candidate,
    Outlook,
    Setting,
    Share,
    Sight,
    Verdict,
    judge,
    largest_context,
)
from mistral_small_edge.advice.recommendation import Recommendation, Wish, recommend

__all__ = [
    "SPARE_BYTES",
    "Candidate",
    "Outlook",
    "Recommendation",
    "Setting",
    "Share",
    "Sight",
    "Verdict",
    "Wish",
    "judge",
    "largest_context",
    "recommend",
]
