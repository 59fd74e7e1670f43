"""The directives of a strategy in turn: from the first, or from where the run was interrupted."""

from __future__ import annotations

import dataclasses
import pickle
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from harness.api.strategy import Directive, Distance, Phase, PhaseReport, advance
from harness.engine.isolation import isolation
from harness.engine.recovery import snapshot
from harness.engine.recovery.recorded import LookingView, RecordedView, load
from harness.engine.state import RunState
from harness.errors import ResumeError
from harness.utils.unfinished import Checkpoint, Header


class Course:
    """Asks a strategy for its directives, and keeps what is needed to ask again.

    `phases` is a generator, which cannot be written.  So its questions and the reports that it was
    sent are kept: a resumed run starts it anew, gives the same answers, and goes on once it has asked
    for the phase that was interrupted.

    Attributes:
        interrupted: what the phase to go on with was kept as; None: it begins.
    """

    def __init__(self, state: RunState, view: LookingView) -> None:
        self.state, where = state, state.resources.checkpoints
        self.plain_view, self.view = view, RecordedView(state, view)
        self.checkpoint = None if where is None else Checkpoint(where.folder, where.made_by)
        self.seconds = 0.0 if where is None else where.seconds
        self.next_time = time.monotonic() + self.seconds
        self.starts: list[tuple[str, str]] = []
        self.interrupted: Mapping[str, Any] | None = None
        self.directive: Directive | None = None
        self.picture: bytes | None = b""
        self.plan = self._plan()
        self.at_first = None if where is None else snapshot.of_generators(state)

    def _plan(self) -> Any:  # noqa: ANN401 - `advance` looks at it
        strategy, epochs = self.state.resources.strategy, self.state.protocol.epochs
        if self.checkpoint is None:
            return strategy.phases(self.plain_view, epochs)
        return strategy.phases(self.view, epochs)

    def first(self) -> Directive | None:
        """The first directive, or the one that was interrupted, for which all is put back."""
        if self.checkpoint is None:
            return advance(self.plan, None)
        try:
            header = self.checkpoint.header()
            if header is not None:
                return self._resume(self.checkpoint, header)
        except ResumeError as error:
            self.state.resources.observer.told(
                f"its checkpoint cannot be gone on from ({error}): it begins anew"
            )
            self._begin_anew()
        self.checkpoint.clear()
        return self.next(None)

    def next(self, report: PhaseReport | None) -> Directive | None:
        """The directive after a report; None: there is no more."""
        if self.checkpoint is None:
            return advance(self.plan, report)
        if self._unlike_before():
            self._give_up("what an objective or penalty remembers cannot be kept")
        generators = snapshot.of_generators(self.state)
        self.view.begin()
        self.directive = directive = advance(self.plan, report)
        if directive is None or self.checkpoint is None:
            return directive
        start = {
            "report": None if report is None else dataclasses.asdict(report),
            "generators": generators,
            "answers": self.view.answers,
            "network": self.view.network,
            "directive": spelt(directive),
        }
        self.view.begin()
        self.picture = picture(directive)
        self._written(f"{len(self.starts)}.start", start)
        return directive

    def taken(self) -> Mapping[str, Any] | None:
        """The kept state of the phase that begins now, for that phase alone; None: it was not kept."""
        kept, self.interrupted = self.interrupted, None
        return kept

    # -- keeping -------------------------------------------------------------------------

    @property
    def due(self) -> bool:
        """A checkpoint is to be made now."""
        return self.checkpoint is not None and time.monotonic() >= self.next_time

    def keep(self, phase: Mapping[str, Any]) -> None:
        """Keep the run as it is in the middle of a phase, which is kept as `phase`."""
        if self._unlike_before():
            self._give_up("what an objective or penalty remembers cannot be kept")
        if self.checkpoint is None or self.directive is None:
            return
        content = {
            "run": snapshot.of_run(self.state),
            "phase": dict(phase),
            "generators": snapshot.of_generators(self.state),
        }
        budget = self.state.budget
        state = self._written(f"{budget.steps}.state", content)
        if state is None:
            return
        epochs, name = self.state.protocol.epochs, self.directive.name
        header = Header(
            self.checkpoint.made_by, name, budget.epochs, epochs, state, tuple(self.starts)
        )
        try:
            self.checkpoint.finish(header)
        except OSError as error:
            self._give_up(f"it cannot be written: {error.strerror}")
        self.next_time = time.monotonic() + self.seconds

    def _written(self, name: str, content: Mapping[str, Any]) -> tuple[str, str] | None:
        """A file of the checkpoint; None, with a word: it cannot be written, and none is from now on."""
        if self.checkpoint is None:
            return None
        try:
            file = self.checkpoint.write(name, partial(torch.save, snapshot.plain(content)))
        except (OSError, RuntimeError) as error:  # torch's writer raises the latter on a full disk
            self._give_up(f"it cannot be written: {getattr(error, 'strerror', None) or error}")
            return None
        if name.endswith(".start"):
            self.starts.append(file)
        return file

    def _unlike_before(self) -> bool:
        """True if code of the strategy in the phase under way may have changed, unseen."""
        return self.directive is not None and (
            self.picture is None or picture(self.directive) != self.picture
        )

    def _give_up(self, why: str) -> None:
        """No checkpoints any more; the one that is there stays good."""
        if self.checkpoint is not None:
            self.state.resources.observer.told(f"no checkpoints from now on: {why}")
        self.checkpoint = None

    # -- going on ------------------------------------------------------------------------

    def _resume(self, checkpoint: Checkpoint, header: Header) -> Directive:
        content = load(checkpoint.checked(header.state))
        starts = [load(checkpoint.checked(file)) for file in header.starts]
        reports, directive = [], None
        for start in starts:
            report = None if start["report"] is None else PhaseReport(**start["report"])
            snapshot.put_generators(self.state, start["generators"])
            self.view.begin(start)
            directive = advance(self.plan, report)
            if directive is None or spelt(directive) != start["directive"] or self.view.left:
                raise ResumeError("the strategy asks for other phases than before")
            reports += [] if report is None else [report]
        if directive is None:
            raise ResumeError("no phase had begun")
        self.view.begin()
        self.starts, self.directive, self.picture = (
            list(header.starts), directive, picture(directive)
        )  # fmt: skip
        snapshot.put_run(self.state, content["run"])
        self.interrupted = {**content["phase"], "generators": content["generators"]}
        observer = self.state.resources.observer
        with isolation.aside():
            observer.told(f"goes on from its checkpoint: {header.place}")
            for record in self.state.log.history:
                observer.epoch_end(record)
            for report in reports:
                observer.phase_end(report)
        return directive

    def _begin_anew(self) -> None:
        """As if nothing had been replayed."""
        state = self.state
        state.network.load(state.network.initial)
        if self.at_first is not None:
            snapshot.put_generators(state, self.at_first)
        self.plan.close()
        self.view.begin()
        self.plan = self._plan()


def spelt(directive: Directive) -> str:
    """All of a directive as text; code by its name."""
    fields = {f.name: getattr(directive, f.name) for f in dataclasses.fields(directive)}
    texts = [f"{name}={_plain(value)}" for name, value in fields.items()]
    return f"{type(directive).__name__}({', '.join(texts)})"


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return repr(list(value.items()))
    if isinstance(value, tuple):
        return f"({', '.join(map(_plain, value))})"
    if callable(value) and not isinstance(value, Distance):
        named: Any = value if hasattr(value, "__qualname__") else type(value)
        return f"{named.__module__}.{named.__qualname__}"
    return repr(value)


def picture(directive: Directive) -> bytes | None:
    """All that code of the strategy in a directive remembers; None: that cannot be seen."""
    if not isinstance(directive, Phase):
        return b""
    code: list[object] = [one for one in directive.penalties if not isinstance(one, Distance)]
    code += [] if directive.objective is None else [directive.objective]
    try:
        return pickle.dumps(code)
    except Exception:  # noqa: BLE001 - whatever somebody's object raises when it is pickled
        return None
