"""Let the stages join one after another over the first half of the budget."""

from collections.abc import Sequence

from harness import ModelView, Phase, Phases, Strategy, hookimpl


def unfreeze(order: Sequence[str], head: Sequence[str], epochs: float) -> Phases:
    """The head learns throughout; stage j of K joins at epoch j * epochs / (2 K).

    Patience counts only once everything learns, and the optimizer's state is kept.
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
    """Stages that join, in forward order."""
    return [stage for stage in model.stages if stage not in model.head]


class LastToFirst(Strategy):
    """Stages join from the output down to the stem."""

    name = "gradual-last-first"
    paper = "Howard and Ruder 2018, arXiv 1801.06146; Davila et al. 2024, arXiv 2406.10050"

    def phases(self, model: ModelView, epochs: float) -> Phases:
        yield from unfreeze(below_head(model)[::-1], model.head, epochs)


class FirstToLast(Strategy):
    """Stages join from the stem up to the output; the head learns from the start: it is new."""

    name = "gradual-first-last"
    paper = "Davila et al. 2024, arXiv 2406.10050"

    def phases(self, model: ModelView, epochs: float) -> Phases:
        yield from unfreeze(below_head(model), model.head, epochs)


@hookimpl
def harness_strategies() -> list[type[Strategy]]:
    return [LastToFirst, FirstToLast]
