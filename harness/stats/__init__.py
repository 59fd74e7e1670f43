"""Statistics on plain arrays: what the board, the claims and the gate compute with.

Scores are higher-is-better everywhere: negate those of another metric.  Definitions, and how often
each procedure errs, stand in `docs/statistics.md`.
"""

from harness.stats.aggregate import (
    Summary,
    WinRate,
    interquartile_mean,
    probability_of_improvement,
    win_rate,
)
from harness.stats.bootstrap import Resampled, Scoring, resample
from harness.stats.cells import Change, Sight, compare_pairs
from harness.stats.collapse import WEAK, collapsed
from harness.stats.estimate import (
    LEVEL,
    POINT,
    Comparison,
    Estimate,
    Verdict,
    compare,
    holm,
    mean_of,
)
from harness.stats.families import FAMILIES, Family, compare_families
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
    wilcoxon,
)

__all__ = [
    "FAMILIES",
    "LEVEL",
    "POINT",
    "WEAK",
    "Blocks",
    "Change",
    "Comparison",
    "Estimate",
    "Family",
    "Friedman",
    "Measured",
    "Nemenyi",
    "Pair",
    "Resampled",
    "Scoring",
    "Sight",
    "Summary",
    "Verdict",
    "WinRate",
    "collapsed",
    "compare",
    "compare_blocks",
    "compare_families",
    "compare_pairs",
    "contributions",
    "critical_difference",
    "friedman",
    "holm",
    "interquartile_mean",
    "mean_of",
    "measure",
    "nemenyi",
    "probability_of_improvement",
    "rank",
    "resample",
    "strata",
    "wilcoxon",
    "win_rate",
]
