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
from harness.stats.paired import TAIL, Change, Pair, compare_pairs, contributions
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
    "LEVEL",
    "POINT",
    "TAIL",
    "Blocks",
    "Change",
    "Comparison",
    "Estimate",
    "Friedman",
    "Nemenyi",
    "Pair",
    "Resampled",
    "Scoring",
    "Summary",
    "Verdict",
    "WinRate",
    "compare",
    "compare_blocks",
    "compare_pairs",
    "contributions",
    "critical_difference",
    "friedman",
    "holm",
    "interquartile_mean",
    "mean_of",
    "nemenyi",
    "probability_of_improvement",
    "rank",
    "resample",
    "wilcoxon",
    "win_rate",
]
