"""Gradual unfreezing: stages join one after another over the first half of the budget."""

from collections.abc import Sequence

from harness import ModelView, Phase, Phases, Strategy, hookimpl


def unfreeze(order: Sequence[str], head: Sequence[str], epochs: float) -> Phases:
    """The phases of gradual unfreezing over `epochs` epochs, the last of them with all stages.

    The stages of `head` learn throughout; the j-th of the K in `order` joins at epoch
    j * epochs / (2 K).  Patience counts only once everything learns, and the optimizer's state is
    kept from phase to phase.
    """
    wait = epochs / (2 * len(order)) if order else 0.0
    learning = dict.fromkeys(head, 1.0)
    for number, stage in enumerate(["head", *order]):
        learning[stage] = 1.0
        last = number == len(order)
        yield Phase(
            stage if number == 0 else f"+{stage}",
            epochs - number * wait if last else wait,
            train=dict(learning),
            anneal="run",
            keep_optimizer=True,
            patience=last,
        )


def below_head(model: ModelView) -> list[str]:
    """The stages that are not the head's, in forward order."""
    return [stage for stage in model.stages if stage not in model.head]


class LastToFirst(Strategy):
    """Gradual unfreezing from the output down to the stem.

    Howard and Ruder let one stage join an epoch; here all have joined by half of the budget.
    """

    name = "gradual-last-first"
    paper = "Howard and Ruder 2018, arXiv 1801.06146; Davila et al. 2024, arXiv 2406.10050"

    def phases(self, model: ModelView, epochs: float) -> Phases:
        yield from unfreeze(below_head(model)[::-1], model.head, epochs)


class FirstToLast(Strategy):
    """Gradual unfreezing from the stem up to the output.

    The head, which is new, learns from the start.
    """

    name = "gradual-first-last"
    paper = "Davila et al. 2024, arXiv 2406.10050"

    def phases(self, model: ModelView, epochs: float) -> Phases:
        yield from unfreeze(below_head(model), model.head, epochs)


@hookimpl
def harness_strategies() -> list[type[Strategy]]:
    return [LastToFirst, FirstToLast]
