"""Everything a plugin may import.  Importing this does not import torch."""

from typing import TYPE_CHECKING

from harness.api.backbone import Backbone, Compiling, Weights
from harness.api.dataset import Access, Dataset, LocalDataset
from harness.api.execution import (
    Engine,
    ExternalImages,
    ImageSet,
    Observer,
    Outcome,
    Predictions,
    Resources,
    StartingPoint,
)
from harness.api.hooks import API_VERSION, hookimpl
from harness.api.leaderboard import Leaderboard
from harness.api.metric import Metric
from harness.api.records import (
    Cost,
    CostFigures,
    DataRecord,
    Environment,
    EpochRecord,
    ExternalRecord,
    Failure,
    MetricValue,
    NumericMode,
    PhaseRecord,
    PluginRecord,
    PredictionsRecord,
    Preprocessing,
    Protocol,
    RunResult,
    RunSpec,
    Schedule,
    Suite,
    Tuning,
    WeightsRecord,
)
from harness.api.strategy import (
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
from harness.api.tracker import RunTracker, TrackedRun, Tracker
from harness.data.arrays import ArrayDataset
from harness.data.folder import FolderDataset
from harness.data.hub import HubDataset
from harness.data.pattern import PatternDataset
from harness.data.rows import Row, make_table
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

if not TYPE_CHECKING:  # a type checker would take any misspelt name for one of these
    from harness.api import deprecation

    __getattr__ = deprecation.deprecated

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
    "ExternalImages",
    "ExternalRecord",
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
    "Preprocessing",
    "Protocol",
    "Resources",
    "Row",
    "RunResult",
    "RunSpec",
    "RunTracker",
    "Schedule",
    "Search",
    "SolveHead",
    "StartingPoint",
    "StoreError",
    "Strategy",
    "Suite",
    "TrackedRun",
    "Tracker",
    "TrainingError",
    "Tuning",
    "Undefined",
    "UsageError",
    "Weights",
    "WeightsError",
    "WeightsRecord",
    "hookimpl",
    "make_table",
]
