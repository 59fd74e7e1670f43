"""Statistics on plain arrays: what the board, the claims and the gate compute with.

Scores are higher-is-better everywhere: negate those of another metric.  Definitions, and how often
each procedure errs, stand in `docs/statistics.md`.
"""

from harness.stats.aggregate import expected_best, probability_of_improvement
from harness.stats.cells import Change, Sight, compare_pairs
from harness.stats.collapse import WEAK, collapsed
from harness.stats.conjunction import partial_conjunction, share
from harness.stats.estimate import (
    LEVEL,
    POINT,
    SEEDS,
    Estimate,
    Verdict,
    benjamini_hochberg,
    holm,
    mean_of,
)
from harness.stats.families import FAMILIES, Family, compare_families
from harness.stats.gains import Gain, average_gain, estimate_gains
from harness.stats.general import FEWEST as FEWEST_SETS
from harness.stats.general import general_pairs, in_general, rank_sets
from harness.stats.paired import Measured, Pair, contributions, measure, strata
from harness.stats.ranks import (
    Blocks,
    Friedman,
    Nemenyi,
    compare_blocks,
    critical_difference,
    friedman,
    nemenyi,
    rank,
)
from harness.stats.scores import SCORED, group_scores
from harness.stats.splits import Splits
from harness.stats.verdicts import Judged, Verdicts, judge, judged_as, least_found

__all__ = [
    "FAMILIES",
    "FEWEST_SETS",
    "LEVEL",
    "POINT",
    "SCORED",
    "SEEDS",
    "WEAK",
    "Blocks",
    "Change",
    "Estimate",
    "Family",
    "Friedman",
    "Gain",
    "Judged",
    "Measured",
    "Nemenyi",
    "Pair",
    "Sight",
    "Splits",
    "Verdict",
    "Verdicts",
    "average_gain",
    "benjamini_hochberg",
    "collapsed",
    "compare_blocks",
    "compare_families",
    "compare_pairs",
    "contributions",
    "critical_difference",
    "estimate_gains",
    "expected_best",
    "friedman",
    "general_pairs",
    "group_scores",
    "holm",
    "in_general",
    "judge",
    "judged_as",
    "least_found",
    "mean_of",
    "measure",
    "nemenyi",
    "partial_conjunction",
    "probability_of_improvement",
    "rank",
    "rank_sets",
    "share",
    "strata",
]
