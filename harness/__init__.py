"""Everything a plugin may import.  Importing this does not import torch."""

from typing import TYPE_CHECKING

from harness.arrays import ArrayDataset
from harness.backbone import Backbone, Compiling, Weights
from harness.dataset import Access, Dataset, LocalDataset
from harness.errors import (
    DataError,
    HarnessError,
    PhaseError,
    PluginError,
    StoreError,
    TrainingError,
    Undefined,
    UsageError,
    WeightsError,
)
from harness.execution import (
    Engine,
    ImageSet,
    Observer,
    Outcome,
    Predictions,
    Resources,
    StartingPoint,
)
from harness.folder import FolderDataset
from harness.hooks import hookimpl
from harness.hub import HubDataset
from harness.leaderboard import Leaderboard
from harness.metric import Metric
from harness.pattern import PatternDataset
from harness.records import (
    Cost,
    CostFigures,
    DataRecord,
    Environment,
    EpochRecord,
    Failure,
    MetricValue,
    NumericMode,
    PhaseRecord,
    PluginRecord,
    PredictionsRecord,
    Protocol,
    RunResult,
    RunSpec,
    Schedule,
    Suite,
    WeightsRecord,
)
from harness.rows import Row, make_table
from harness.strategy import (
    Batch,
    Directive,
    Distance,
    ModelView,
    Objective,
    ParameterInfo,
    Params,
    Penalty,
    Phase,
    PhaseReport,
    Phases,
    Search,
    SolveHead,
    Strategy,
)

if not TYPE_CHECKING:  # a type checker would take any misspelt name for one of these
    from harness import deprecation

    __getattr__ = deprecation.deprecated

API_VERSION = 1

__all__ = [
    "API_VERSION",
    "Access",
    "ArrayDataset",
    "Backbone",
    "Batch",
    "Compiling",
    "Cost",
    "CostFigures",
    "DataError",
    "DataRecord",
    "Dataset",
    "Directive",
    "Distance",
    "Engine",
    "Environment",
    "EpochRecord",
    "Failure",
    "FolderDataset",
    "HarnessError",
    "HubDataset",
    "ImageSet",
    "Leaderboard",
    "LocalDataset",
    "Metric",
    "MetricValue",
    "ModelView",
    "NumericMode",
    "Objective",
    "Observer",
    "Outcome",
    "ParameterInfo",
    "Params",
    "PatternDataset",
    "Penalty",
    "Phase",
    "PhaseError",
    "PhaseRecord",
    "PhaseReport",
    "Phases",
    "PluginError",
    "PluginRecord",
    "Predictions",
    "PredictionsRecord",
    "Protocol",
    "Resources",
    "Row",
    "RunResult",
    "RunSpec",
    "Schedule",
    "Search",
    "SolveHead",
    "StartingPoint",
    "StoreError",
    "Strategy",
    "Suite",
    "TrainingError",
    "Undefined",
    "UsageError",
    "Weights",
    "WeightsError",
    "WeightsRecord",
    "hookimpl",
    "make_table",
]
