"""Errors that a user can cause and put right; the command line prints no traceback of them."""


class HarnessError(Exception):
    """Something the user can put right; the message says what, where and what to do next."""

    exit_code = 2


class PluginError(HarnessError):
    """A plugin that cannot be loaded, or two that contradict each other."""


class UsageError(HarnessError):
    """A name, option or suite file that does not hold."""


class UnknownNameError(UsageError):
    """A name that nothing has.

    Attributes:
        what: the thing that was named, in the singular: `strategy`.
        name: as it was written.
    """

    def __init__(self, message: str, what: str, name: str) -> None:
        super().__init__(message)
        self.what, self.name = what, name


class DataError(HarnessError):
    """A dataset that is missing, broken or contradicts itself."""


class WeightsError(HarnessError):
    """Starting weights that cannot be had or do not fit."""


class StoreError(HarnessError):
    """A results folder that cannot be read or written."""


class PhaseError(HarnessError):
    """A strategy asked for something impossible."""


class TrainingError(HarnessError):
    """A run that cannot go on: its loss is no longer finite."""

    def __init__(self, message: str, *, phase: str | None = None, step: int | None = None) -> None:
        super().__init__(message)
        self.phase, self.step = phase, step


class ResumeError(HarnessError):
    """A checkpoint cannot be gone on from: it is damaged, or another run's by now."""


class CannotSplitError(HarnessError):
    """A batch cannot be carried out in parts that give the same as the whole of it."""


class Undefined(Exception):  # noqa: N818 - a verdict on a figure, not a fault
    """Raised by a metric that has no value on these samples; the message is the reason."""
