"""Everything a plugin may import, and the commands as functions.  Importing this imports no torch.

The functions, `harness.bench` and so on, are imported when they are first asked for.
"""

from typing import TYPE_CHECKING

from harness.api.backbone import Backbone, Compiling, Weights
from harness.api.dataset import Access, Dataset, LocalDataset
from harness.api.execution import (
    Checkpoints,
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
from harness.api.launcher import Launcher, LaunchSetup, Message, Task, Work, Worker
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
    Interpolate,
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

if TYPE_CHECKING:
    from harness.calls.audits import Audits, audit
    from harness.calls.bench import Planned, bench, dry_run
    from harness.calls.boards import load
    from harness.calls.folders import Verification, check, compare, verify
    from harness.calls.results import Results
    from harness.calls.winner import export, predict
else:  # a type checker would take any misspelt name for one of these
    from importlib import import_module as _import

    from harness.api.deprecation import deprecated as _deprecated

    _CALLS = {
        "audits": ("Audits", "audit"),
        "bench": ("Planned", "bench", "dry_run"),
        "boards": ("load",),
        "folders": ("Verification", "check", "compare", "verify"),
        "results": ("Results",),
        "winner": ("export", "predict"),
    }
    _HOMES = {name: module for module, names in _CALLS.items() for name in names}

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            return _deprecated(name)
        found = getattr(_import(f"harness.calls.{_HOMES[name]}"), name)
        globals()[name] = found  # from now on without this function
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *_HOMES})


__all__ = [
    "API_VERSION",
    "Access",
    "ArrayDataset",
    "Audits",
    "Backbone",
    "Batch",
    "Checkpoints",
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
    "Interpolate",
    "LaunchSetup",
    "Launcher",
    "Leaderboard",
    "LocalDataset",
    "Message",
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
    "Planned",
    "PluginError",
    "PluginRecord",
    "Predictions",
    "PredictionsRecord",
    "Preprocessing",
    "Protocol",
    "Resources",
    "Results",
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
    "Task",
    "TrackedRun",
    "Tracker",
    "TrainingError",
    "Tuning",
    "Undefined",
    "UsageError",
    "Verification",
    "Weights",
    "WeightsError",
    "WeightsRecord",
    "Work",
    "Worker",
    "audit",
    "bench",
    "check",
    "compare",
    "dry_run",
    "export",
    "hookimpl",
    "load",
    "make_table",
    "predict",
    "verify",
]
