"""`harness predict`: what finished runs make of images, as probabilities and as a csv file."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.api.metric import softmax
from harness.errors import DataError, HarnessError
from harness.inference.sources import ImageFiles, decode
from harness.inference.tested import KeptRun
from harness.plugins.registry import PluginRegistry
from harness.utils import files

if TYPE_CHECKING:
    import numpy as np

FORMULA = ("=", "+", "-", "@")  # a spreadsheet would take such a text for one


@dataclass(frozen=True)
class ImagePredictions:
    """Predictions of images.

    Attributes:
        files: their names.
        classes: names, in the order of the columns of what follows.
        probabilities: float64 [N, C], the mean over the runs.
        logits: run id -> float32 [N, C].
        bad: name of a file that was left out -> why.
        cell: DATASET / BACKBONE / STRATEGY of the runs.
        seeds: of the runs.
    """

    files: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: np.ndarray
    logits: Mapping[str, np.ndarray]
    bad: Mapping[str, str]
    cell: str = ""
    seeds: tuple[int, ...] = ()

    @property
    def predicted(self) -> list[str]:
        """The class of the largest probability of each image, of equal ones the first."""
        return [self.classes[number] for number in self.probabilities.argmax(axis=1)]

    def to_csv(self) -> str:
        """A line an image: `file`, `predicted`, `p:CLASS` for every class, `runs` with spaces between.

        Text that a spreadsheet would take for a formula gets a leading apostrophe.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["file", "predicted", *(f"p:{name}" for name in self.classes), "runs"])
        runs = " ".join(self.logits)
        for name, best, shares in zip(
            self.files, self.predicted, self.probabilities.tolist(), strict=True
        ):
            writer.writerow([_plain(name), _plain(best), *shares, runs])
        return text.getvalue()


def predict(
    runs: Sequence[KeptRun],
    images: ImageFiles,
    loaded: PluginRegistry,
    *,
    device: str = "cpu",
    threads: int | None = None,
    skip_bad_images: bool = False,
) -> ImagePredictions:
    """Predict images with runs that differ in their seeds alone.

    Args:
        runs: one, or several whose probabilities are averaged.
        images: what to predict.
        loaded: the plugins that have the runs' backbone and strategy.
        device: 'cpu' or 'cuda:N'.
        threads: torch's on a CPU; None: as many as the run had, so that it rounds as it did.
        skip_bad_images: leave out what cannot be read, instead of refusing all.

    Raises:
        DataError: images cannot be read, all of which are named.
        WeightsError: see `KeptRun.network`.
        HarnessError: a run predicts what is not finite.
    """
    import numpy as np

    from harness.engine import predict_images

    first = runs[0]
    data, protocol = first.result.data, first.result.spec.seen
    if data is None:
        raise HarnessError(f"the record of run {first.result.run_id} says nothing of its data")
    networks = [(run, run.network(loaded, device)) for run in runs]
    with files.scratch() as place:
        decoded = decode(images.names, protocol, data, place)
        _check_bad(decoded.bad, len(images.names), skip=skip_bad_images)
        logits = {}
        for run, network in networks:
            made = run.result.environment
            with _torch_threads(threads or (made and made.threads) or 1):
                found = predict_images(run.result.spec, network, decoded.images, device)
            _check_finite(run, found)
            logits[run.result.run_id] = found
    mean = np.mean([softmax(found) for found in logits.values()], axis=0)
    seeds = tuple(run.result.spec.seed for run in runs)
    cell = first.result.spec.cell
    return ImagePredictions(decoded.names, first.classes, mean, logits, decoded.bad, cell, seeds)


def _plain(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


def _check_bad(bad: Mapping[str, str], count: int, *, skip: bool) -> None:
    if bad and (not skip or len(bad) == count):
        listed = "".join(f"\n{name}: {why}" for name, why in bad.items())
        todo = (
            "" if skip else "; put right or remove them, or leave them out with --skip-bad-images"
        )
        raise DataError(f"{len(bad)} of {count} images cannot be used{todo}:{listed}")


def _check_finite(run: KeptRun, logits: np.ndarray) -> None:
    import numpy as np

    if not np.isfinite(logits).all():
        raise HarnessError(
            f"run {run.result.run_id} predicts values that are not finite: its training diverged, or "
            "its precision does not hold them"
        )


@contextlib.contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
