"""A strategy's view of the model whose answers are kept, so that a resumed run can give them again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from harness.api.strategy import ModelView, ParameterInfo, Params
from harness.engine.state import RunState
from harness.errors import ResumeError


class LookingView(ModelView, Protocol):
    """The engine's view, which can look again."""

    def look(
        self, first: int, batches: int, norm_mode: Literal["train", "eval"]
    ) -> Iterator[Params]: ...


class RecordedView:
    """Passes a view's answers on and keeps them; in a replay it gives those that were kept.

    Gradients are not kept but computed again, on the network as it was: of that one copy is kept for
    the looks before a phase, however many they are.

    Attributes:
        answers: since `begin`, in the order they were asked for.
        network: the network's state at the first look since then.
    """

    def __init__(self, state: RunState, view: LookingView) -> None:
        self._state, self._view = state, view
        self.answers: list[tuple[str, Any]] = []
        self.network: dict[str, Tensor] = {}
        self._again: list[tuple[str, Any]] | None = None

    def begin(self, start: Mapping[str, Any] | None = None) -> None:
        """Before a phase; `start`: give these answers again."""
        self.answers, self.network, self._again = [], {}, None
        if start is not None:
            self._again, self.network = list(start["answers"]), start["network"]

    @property
    def left(self) -> int:
        """Answers of a replay that were not asked for."""
        return len(self._again or ())

    @property
    def stages(self) -> tuple[str, ...]:
        return self._view.stages

    @property
    def head(self) -> tuple[str, ...]:
        return self._view.head

    @property
    def classifier(self) -> tuple[str, ...]:
        return self._view.classifier

    @property
    def steps_per_epoch(self) -> int:
        return self._view.steps_per_epoch

    @property
    def class_counts(self) -> tuple[int, ...]:
        return self._view.class_counts

    @property
    def parameters(self) -> Mapping[str, ParameterInfo]:
        found: dict[str, dict[str, Any]] = self._answer(
            "parameters",
            lambda: {n: dataclasses.asdict(p) for n, p in self._view.parameters.items()},
        )
        return {name: ParameterInfo(**info) for name, info in found.items()}

    @property
    def epochs_left(self) -> float:
        found: float = self._answer("epochs_left", lambda: self._view.epochs_left)
        return found

    @property
    def last_gradient(self) -> Params:
        found: dict[str, Tensor] = self._answer(
            "last_gradient", lambda: dict(self._view.last_gradient)
        )
        return {name: tensor.to(self._state.resources.device) for name, tensor in found.items()}

    def gradients(
        self, batches: int, norm_mode: Literal["train", "eval"] = "eval"
    ) -> Iterator[Params]:
        looks = self._state.budget.looks
        asked = self._answer("gradients", lambda: (looks, batches, norm_mode))
        if self._again is None:
            if not self.network:
                own = self._state.network.model.state_dict()
                self.network = {n: t.detach().to("cpu", copy=True) for n, t in own.items()}
            yield from self._view.gradients(batches, norm_mode)
            return
        if tuple(asked[1:]) != (batches, norm_mode):
            raise ResumeError("the strategy looks at other gradients than before")
        network = self._state.network
        own = network.initial
        network.load({n: t.to(own[n].device) for n, t in self.network.items()})
        yield from self._view.look(asked[0], batches, norm_mode)

    def _answer(self, name: str, ask: Callable[[], Any]) -> Any:  # noqa: ANN401 - of any kind
        if self._again is None:
            value = ask()
            self.answers.append((name, value))
            return value
        if not self._again or self._again[0][0] != name:
            raise ResumeError(f"the strategy asks for {name}, as it did not before")
        return self._again.pop(0)[1]


def load(path: Any) -> dict[str, Any]:  # noqa: ANN401 - as torch takes it
    """The content of a file of `torch.save`, on the CPU; no code is run."""
    found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return found
