"""Results that leave the machine: into a folder, a repository of the Hub, or a .zip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.publish import hub
from harness.publish.build import Board, Package, build
from harness.results import package
from harness.utils import files


@dataclass(frozen=True)
class Published:
    """The package and where it went; `address`: empty after a dry run."""

    package: Package
    address: str


@dataclass(frozen=True)
class PublishOptions:
    """Options of a publication.

    Attributes:
        make_board: ranks a folder and writes its board there.
        hide: datasets whose ids are replaced even though they are public by their records.
        show: datasets whose ids stay although they are not.
        dry_run: pack, and throw the package away.
        offline: the network may not be used.
    """

    make_board: Board
    hide: tuple[str, ...] = ()
    dry_run: bool = False
    offline: bool = False
    show: tuple[str, ...] = ()


def publish(source: Path, target: str, options: PublishOptions) -> Published:
    """Publish a results folder without what is private in it.

    Args:
        source: the results folder.
        target: a folder (new, empty, or published to before), or `hf://datasets/ORG/NAME`.
        options: how.

    Raises:
        UsageError: the target cannot be one.
        HubError: the Hub refused, or could not be reached.
        StoreError: a file is damaged, or one cannot be written.
    """
    if target.startswith(hub.PREFIX):
        return _to_hub(source, target, options)
    folder = Path(target)
    _check_folder(source, folder)
    with files.scratch() as place, files.advising(folder, "choose another folder with --to"):
        built = _build(source, place, options)
        if options.dry_run:
            return Published(built, "")
        _install(built, folder)
    return Published(built, str(folder))


def submit(source: Path, target: Path, options: PublishOptions) -> Published:
    """Pack a results folder into a .zip for somebody else's board, without what is private in it.

    Raises:
        UsageError: the target is no .zip, or there are no runs.
        StoreError: a file is damaged, or the .zip cannot be written.
    """
    if target.suffix != ".zip":
        raise UsageError(f"--to {target}: name a .zip file")
    with files.scratch() as place, files.advising(target, "choose another file with --to"):
        built = _build(source, place, options)
        package.pack(place, target)
    return Published(built, str(target))


def _to_hub(source: Path, target: str, options: PublishOptions) -> Published:
    repo = hub.repository(target)
    with files.scratch() as place:
        if options.dry_run:
            return Published(_build(source, place, options), "")
        if options.offline:
            raise UsageError(
                f"--to {target} needs the network: leave --offline out, or give a folder"
            )
        api = hub.check(repo)
        built = _build(source, place, options)
        address = hub.upload(api, repo, place, f"{built.runs} runs, {built.failed} failed")
    return Published(built, address)


def _build(source: Path, folder: Path, options: PublishOptions) -> Package:
    # The key of its ids is kept beside the results.
    with files.advising(source, "copy the results to a folder that can be written"):
        return build(
            source,
            folder,
            options.make_board,
            hide=options.hide,
            show=options.show,
            keep_key=not options.dry_run,
        )


def _check_folder(source: Path, folder: Path) -> None:
    ours, theirs = source.resolve(), folder.resolve()
    if ours == theirs or ours in theirs.parents or theirs in ours.parents:
        raise UsageError(f"--to {folder}: the results themselves lie there; give another folder")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--to {folder}: it is a file; give a folder, or use `harness submit`")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / package.MANIFEST).is_file():
        raise UsageError(
            f"--to {folder}: it holds something else ({next(folder.iterdir()).name}); give a new or "
            "empty folder, or one that was published to before"
        )


def _install(new: Package, folder: Path) -> None:
    """Put a package in the place of an earlier one; its manifest comes last."""
    before = package.read_manifest(folder)
    files.remove(folder / package.MANIFEST)
    for name in sorted(set(before.files if before else ()) - set(new.files)):
        if package.is_inside(name):
            files.remove(folder / name)
    for name in sorted(new.files, key=lambda name: name == package.MANIFEST):
        files.write(folder / name, files.read(new.folder / name))
