"""The state that a run changes, as plain values and tensors that can be written, and put back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.api.records import EpochRecord, PhaseRecord
from harness.engine.isolation import isolation
from harness.engine.model import Network
from harness.engine.state import Checkpoint, RunState, Selection

Kept = dict[str, Any]


def of_run(state: RunState) -> Kept:
    """All of a run but the phase under way and the generators."""
    network, budget, clock = state.network, state.budget, state.clock
    return {
        "network": dict(network.model.state_dict()),
        "touched": network.touched,
        "scaler": network.scaler.state_dict(),
        "budget": (budget.steps, budget.spent, budget.looks),
        "selection": of_selection(state.selection),
        "kept": {name: own_tensors(network, found) for name, found in state.kept.items()},
        "history": [dataclasses.asdict(record) for record in state.log.history],
        "phases": [record.model_dump() for record in state.log.phases],
        "trained_samples": state.log.trained_samples,
        "resumed": state.resumed,
        "seconds": clock.so_far(),
        "shared": dict(clock.shared),
        "elapsed": clock.now() - clock.started,
    }


def put_run(state: RunState, kept: Mapping[str, Any]) -> None:
    """Put a new run into the state that `of_run` gave, its clock included."""
    network, budget, clock = state.network, state.budget, state.clock
    network.load(on_device(network, kept["network"]))
    network.touched = kept["touched"]
    network.scaler.load_state_dict(kept["scaler"])
    budget.steps, budget.spent, budget.looks = kept["budget"]
    put_selection(state.selection, kept["selection"])
    state.kept = {name: whole(network, found) for name, found in kept["kept"].items()}
    state.log.history[:] = [EpochRecord(**record) for record in kept["history"]]
    state.log.phases[:] = [PhaseRecord(**record) for record in kept["phases"]]
    state.log.trained_samples = kept["trained_samples"]
    state.resumed = kept["resumed"] + 1
    for kind, seconds in kept["seconds"].items():
        clock.seconds[kind] += seconds
    for kind, seconds in kept["shared"].items():
        clock.shared[kind] += seconds
    clock.started -= kept["elapsed"]


def plain(value: Any) -> Any:  # noqa: ANN401 - nested mappings, lists, tensors, numbers
    """The same, numpy's numbers as Python's: no other types are read again."""
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value))
    if isinstance(value, float | np.floating):
        return float(value)
    if isinstance(value, np.integer | np.bool_):
        return value.item()
    return value


def of_selection(selection: Selection) -> Kept | None:
    """The best state so far, without what is as at the starting point; None: there is none."""
    best = selection.best
    if best is None:
        return None
    tensors = own_tensors(selection.network, best.tensors)
    return {**{n: v for n, v in vars(best).items() if n != "tensors"}, "tensors": tensors}


def put_selection(selection: Selection, kept: Mapping[str, Any] | None) -> None:
    """Put back what `of_selection` gave."""
    if kept is None:
        selection.best = None
        return
    tensors = whole(selection.network, kept["tensors"])
    selection.best = Checkpoint(**{**kept, "tensors": tensors})


def own_tensors(network: Network, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of a full state that are not the very tensors of the starting point."""
    return {n: t for n, t in tensors.items() if t is not network.initial[n]}


def whole(network: Network, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A full state again, on the network's device."""
    return {**network.initial, **on_device(network, tensors)}


def on_device(network: Network, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to(network.initial[name].device) for name, tensor in tensors.items()}


def to_device(optimizer: Mapping[str, Mapping[str, Any]], device: str) -> dict[str, dict[str, Any]]:
    """An optimizer's state by parameter name."""
    return {
        name: {
            key: value.to(device) if isinstance(value, Tensor) else value
            for key, value in state.items()
        }
        for name, state in optimizer.items()
    }


def of_generators(state: RunState) -> Kept:
    """States of the run's own generators and of the global ones, its card's included."""
    python, (kind, numbers, *rest), cpu = isolation.generators_now()
    device = torch.device(state.resources.device)
    return {
        "augment": state.augment_rng.get_state(),
        "objective": state.objective_rng.get_state(),
        "python": python,
        "numpy": (kind, numbers.tolist(), *rest),
        "cpu": cpu,
        "card": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def put_generators(state: RunState, kept: Mapping[str, Any]) -> None:
    """Put back what `of_generators` gave."""
    state.augment_rng.set_state(kept["augment"])
    state.objective_rng.set_state(kept["objective"])
    kind, numbers, *rest = kept["numpy"]
    numpy_state = (kind, np.array(numbers, np.uint32), *rest)
    isolation.put_generators((kept["python"], numpy_state, kept["cpu"]))
    if kept["card"] is not None:
        torch.cuda.set_rng_state(kept["card"], torch.device(state.resources.device))
