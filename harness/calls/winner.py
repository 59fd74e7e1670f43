"""`harness.predict` and `harness.export`: what the network of a finished run is used for."""

from __future__ import annotations

from collections.abc import Iterable

from harness.benchmark.sizing import choose_device
from harness.calls import arguments
from harness.calls.arguments import PathLike, Plugins, say
from harness.errors import UsageError
from harness.inference import export as exporting
from harness.inference.export import Exported
from harness.inference.predictions import ImagePredictions
from harness.inference.predictions import predict as predict_images
from harness.inference.sources import list_files
from harness.inference.tested import find_tested, remarks
from harness.utils import files


def predict(  # noqa: PLR0913 - the options of the command
    run: PathLike,
    images: PathLike | Iterable[PathLike],
    *,
    out: PathLike | None = None,
    results: PathLike | None = None,
    seed: int | None = None,
    weights: PathLike | None = None,
    device: str = "auto",
    threads: int | None = None,
    skip_bad_images: bool = False,
    plugins: Plugins = (),
    strict_plugins: bool = False,
    offline: bool | None = None,
) -> ImagePredictions:
    """Predict images with a run that kept its weights (`harness.bench(save_weights=True)`).

    Images are prepared as those of the run were.

    Args:
        run: an id or its first digits, the path of a record, or DATASET/BACKBONE/STRATEGY: then the
            probabilities are the mean over its seeds.
        images: files or folders.
        out: a .csv file to write the probabilities to; None: they are returned only.
        results: the results folder of the run; None: all in `results`.
        seed: of a cell only this run.
        weights: a folder with RUN_ID.safetensors; None: `weights` in the results folder.
        device: 'auto', 'cpu' or 'cuda:N'.
        threads: CPU threads; None: as many as the run had, which rounds as it did.
        skip_bad_images: leave unreadable images out and say so.
        plugins: as for `harness.bench`.
        strict_plugins: a broken plugin is an error.
        offline: never use the network, which nothing here does but plugins may.

    Raises:
        UsageError: no such run or image, or an argument does not hold.
        DataError: images cannot be read, all of which are named.
        WeightsError: the weights are not there, or are not those of the run.
    """
    target = arguments.path("--out", out)
    if target is not None and target.suffix.lower() != ".csv":
        raise UsageError(f"--out {target}: the name must end in .csv")
    arguments.is_offline(offline)
    found = find_tested(
        arguments.name("RUN", run),
        arguments.path("--results", results),
        seed=arguments.some_whole("--seed", seed, 0),
        weights=arguments.path("--weights", weights),
    )
    listed = list_files(arguments.forms("IMAGES", images))
    if listed.passed_over:
        say(f"passed over: {', '.join(listed.passed_over)}")
    registry = arguments.loaded(plugins, strict=strict_plugins)
    made = predict_images(
        found,
        listed,
        registry,
        device=choose_device(arguments.needed("--device", device, "'auto', 'cpu' or 'cuda:N'")),
        threads=arguments.some_whole("--threads", threads, 1),
        skip_bad_images=arguments.flag("--skip-bad-images", skip_bad_images),
    )
    for name, why in made.bad.items():
        say(f"left out: {name}: {why}")
    for one in found:
        for remark in remarks(one, registry):
            say(f"run {one.result.run_id}: {remark}")
    if target is not None:
        files.write(target, made.to_csv().encode())
    return made


def export(  # noqa: PLR0913 - the options of the command
    run: PathLike,
    out: PathLike,
    *,
    results: PathLike | None = None,
    seed: int | None = None,
    plugins: Plugins = (),
    strict_plugins: bool = False,
    offline: bool | None = None,
) -> Exported:
    """Write a run's network under published names, torchvision's or timm's, with a model card.

    Args:
        run: an id or its first digits, the path of a record, or with `seed` DATASET/BACKBONE/STRATEGY.
        out: a new folder.
        results: the results folder of the run; None: all in `results`.
        seed: of a cell this run.
        plugins: as for `harness.bench`.
        strict_plugins: a broken plugin is an error.
        offline: never use the network, which nothing here does but plugins may.

    Raises:
        UsageError: no such run, several of them, or the folder holds something.
        WeightsError: the weights are not those of the run, or have no published names.
        StoreError: the folder cannot be written.
    """
    arguments.is_offline(offline)
    name, target = arguments.name("RUN", run), arguments.place(out, "--out")
    found = find_tested(
        name, arguments.path("--results", results), seed=arguments.some_whole("--seed", seed, 0)
    )
    if len(found) > 1:
        seeds = ", ".join(str(one.result.spec.seed) for one in found)
        raise UsageError(
            f"{name} has {len(found)} runs: choose one with --seed (there are: {seeds})"
        )
    registry = arguments.loaded(plugins, strict=strict_plugins)
    return exporting.export(found[0], registry, target)
