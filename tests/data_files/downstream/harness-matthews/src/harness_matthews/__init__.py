"""Matthews correlation coefficient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import Metric, hookimpl

if TYPE_CHECKING:
    import evaluate

HARNESS_API_VERSION = 1


def build() -> evaluate.Metric:
    from harness_matthews.module import Matthews

    return Matthews(keep_in_memory=True)


@hookimpl
def harness_metrics() -> list[Metric]:
    return [Metric("matthews", build, title="Matthews correlation coefficient", low=-1.0)]
