"""A run that memory runs out for: once more with nothing else held, then with its batches in parts."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import replace

from harness.api.execution import Outcome
from harness.errors import CannotSplitError

# Of errors that are neither MemoryError nor torch's own: torch's allocator on a CPU, and CUDA's
# libraries.
TEXTS = ("DefaultCPUAllocator", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Host or device memory ran out (torch's error is not a MemoryError)."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in TEXTS)


def with_less_memory(
    attempt: Callable[[int], Outcome],
    free: Callable[[], None],
    tell: Callable[[str], None],
    batch: int,
) -> Outcome:
    """The outcome of the first attempt that memory suffices for; its record says which that was.

    Args:
        attempt: carries the run out, every batch in so many parts.
        free: lets go of all that other runs have left; called after an attempt that failed.
        tell: is told of every further attempt.
        batch: images in a batch; so many parts are the most.

    Raises:
        BaseException: of the last attempt; its notes say what else was tried.
    """
    story: list[str] = []
    last: BaseException | None = None
    parts, tried = 1, 0
    while True:
        try:
            outcome = attempt(parts)
            return _marked(outcome, parts, story) if story else outcome
        except CannotSplitError as error:
            if last is None:
                raise
            last.add_note(f"not tried with batches in parts: {error}")
            raise last from None
        except BaseException as error:
            if not is_out_of_memory(error):
                _note(error, story)
                raise
            if parts >= batch and tried:
                _note(error, story)
                raise
            last = _without_frames(error)
        tried += 1
        parts = 1 if tried == 1 else 2 * parts
        parts = min(parts, batch)
        story.append(_next(tried, parts))
        free()
        tell(f"out of memory; {story[-1]}")


def _next(tried: int, parts: int) -> str:
    if tried == 1:
        return "tried again, with nothing kept from other runs"
    return f"tried again, batches in {parts} parts"


def _note(error: BaseException, story: list[str]) -> None:
    if story:
        error.add_note(f"out of memory before; {'; '.join(story)}")


def _marked(outcome: Outcome, parts: int, story: list[str]) -> Outcome:
    result = outcome.result.model_copy(update={"parts": parts, "attempts": tuple(story)})
    return replace(outcome, result=result)


def _without_frames(error: BaseException) -> BaseException:
    """The same error, whose traceback holds no tensors any more."""
    one: BaseException | None = error
    while one is not None:
        traceback.clear_frames(one.__traceback__)
        one = one.__context__
    return error
