"""Many image files decoded by all cores, a few at a time in memory, into array files."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from harness.data.images import Fetch, Source, load
from harness.errors import DataError
from harness.utils import signs
from harness.utils.parallel import in_order

if TYPE_CHECKING:
    import numpy as np

Progress = Callable[[int, int], None]
Transform: TypeAlias = "Callable[[np.ndarray], np.ndarray]"

CHUNK = 8  # images a thread takes at a time


@dataclass(frozen=True)
class Output:
    """A new `.npy` file of uint8, a row an image.

    Attributes:
        path: the file; it must not be there.
        shape: of a row.
        transform: uint8 [3, *, *] -> uint8 of that shape.
    """

    path: Path
    shape: tuple[int, int, int]
    transform: Transform


def write_arrays(
    outputs: Sequence[Output], count: int, fetch: Fetch, progress: Progress | None = None
) -> dict[int, str]:
    """Decode `count` images once, into one file or several; the bad rows and why.

    Threads, not processes: the decoders and the resize work without Python's lock, and a process
    would hold another copy of torch.

    Args:
        outputs: what to make of each image.
        count: how many there are.
        fetch: a run of row numbers -> their image files, or the bytes of them; called in this
            thread, in order.
        progress: called with (images done, images in all).

    Raises:
        DataError: `fetch` failed to read its source.
        OSError: a file cannot be written.
    """
    bad: dict[int, str] = {}
    done = 0
    # Written, not memory-mapped: a full disk is then an error and not a signal that kills.
    with (
        ExitStack() as opened,
        _single_threads() as start,
        closing(
            in_order(partial(_decode, outputs=outputs), chunks(count, fetch), start=start)
        ) as results,
    ):
        files = [opened.enter_context(_new_file(output, count)) for output in outputs]
        for arrays, reasons in results:
            for file, pixels in zip(files, arrays, strict=True):
                file.write(pixels.data)
            bad |= {done + row: reason for row, reason in reasons.items()}
            done += len(arrays[0])
            if progress is not None:
                progress(done, count)
    return bad


def reorder(path: Path, order: Sequence[int]) -> None:
    """Put the rows of a `.npy` file in another order, in place and a row at a time in memory.

    Args:
        path: a file of `write_arrays`.
        order: for each row of the new order its row in the old one; each occurs once.

    Raises:
        OSError: the file cannot be read or written.
    """
    import numpy as np

    with path.open("r+b") as file:
        np.lib.format.read_magic(file)
        shape, _, _ = np.lib.format.read_array_header_1_0(file)
        first, size = file.tell(), int(np.prod(shape[1:]))

        def read(row: int) -> bytes:
            file.seek(first + row * size)
            return file.read(size)

        def write(row: int, content: bytes) -> None:
            file.seek(first + row * size)
            file.write(content)

        moved = bytearray(len(order))
        for start in range(len(order)):
            if not moved[start]:
                _cycle(order, start, moved, read, write)
        file.flush()
        os.fsync(file.fileno())


def array_header(shape: tuple[int, ...]) -> bytes:
    """The first bytes of a `.npy` file of uint8, as `write_arrays` writes them."""
    import numpy as np

    file = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def chunks(count: int, fetch: Fetch) -> Iterator[Sequence[Source]]:
    """`count` image files, or their bytes, a few at a time.

    Raises:
        DataError: `fetch` failed to read its source.
    """
    for first in range(0, count, CHUNK):
        try:
            sources = fetch(range(first, min(first + CHUNK, count)))
        except OSError as error:
            raise DataError(f"the images cannot be read from their tables: {error}") from error
        yield sources


@contextmanager
def _new_file(output: Output, count: int) -> Iterator[BinaryIO]:
    with output.path.open("xb") as file:
        file.write(array_header((count, *output.shape)))
        yield file
        file.flush()
        os.fsync(file.fileno())


def _cycle(
    order: Sequence[int],
    start: int,
    moved: bytearray,
    read: Callable[[int], bytes],
    write: Callable[[int, bytes], None],
) -> None:
    """Move the rows that take each other's places, from `start` round to it."""
    row, held = start, read(start)
    while order[row] != start:
        write(row, read(order[row]))
        moved[row] = True
        row = order[row]
    write(row, held)
    moved[row] = True


def _decode(
    sources: Sequence[Source], outputs: Sequence[Output]
) -> tuple[list[np.ndarray], dict[int, str]]:
    """For each output uint8 [len(sources), *shape], zero where an image is bad; and why it is."""
    import numpy as np

    arrays = [np.zeros((len(sources), *output.shape), dtype=np.uint8) for output in outputs]
    bad: dict[int, str] = {}
    for row, source in enumerate(sources):
        try:
            image = load(source)
        except OSError as error:
            bad[row] = f"cannot be read: {error.strerror}"
        except DataError as error:
            bad[row] = str(error)
        else:
            for pixels, output in zip(arrays, outputs, strict=True):
                pixels[row] = output.transform(image)
    return arrays, bad


@contextmanager
def _single_threads() -> Iterator[Callable[[], None]]:
    """Give the function by which a new thread does torch's work alone: the images are in parallel.

    torch keeps the number for threads to come, so that it is put back.
    """
    with signs.doing("importing torch"):
        import torch

        # Its parts import each other: threads that begin with different ones would meet it half made.
        import torchvision.transforms.v2  # noqa: F401

    threads = torch.get_num_threads()
    try:
        yield partial(torch.set_num_threads, 1)
    finally:
        torch.set_num_threads(threads)
