"""What every strategy promises."""

from __future__ import annotations

from harness.testing import isolation, settings, training
from harness.testing.promise import Rule
from harness.testing.trial import StrategyCase

RULES: tuple[Rule[StrategyCase], ...] = (
    Rule(
        "defaults", "every setting has a default, and the defaults fit together", settings.defaults
    ),
    Rule(
        "settings-json",
        "settings are part of a run's identity, so they come back from JSON as they were",
        settings.settings_json,
    ),
    Rule(
        "search-space",
        "a `Search` runs upwards, holds the default, and every value in it is allowed",
        settings.search_space,
    ),
    Rule(
        "runs",
        "a strategy runs on every backbone: it takes names of stages and parameters from the view",
        training.runs,
    ),
    Rule(
        "within-budget",
        "all phases together use at most the epochs given, and none less than 0",
        training.within_budget,
    ),
    Rule(
        "any-budget",
        "one epoch, a fraction of one and early stopping are budgets",
        training.any_budget,
    ),
    Rule(
        "finite-loss",
        "the loss and the logits of the toy run are finite numbers",
        training.finite_loss,
    ),
    Rule(
        "deterministic", "the same spec gives the same weights to the bit", training.deterministic
    ),
    Rule(
        "frozen-stays",
        "what a phase does not train is the same to the bit after it, and so are the buffers of "
        "stages in which nothing learns",
        training.frozen_stays,
    ),
    Rule(
        "looking-leaves-no-trace",
        "a network computes the same however often it ran",
        training.looking,
    ),
    Rule(
        "caching-changes-nothing",
        "frozen leading stages may be computed once: an objective takes its inputs as they come, "
        "images or features, and a frozen stage always computes the same",
        training.caching,
    ),
    Rule("no-test-data", "a strategy never sees the test split", isolation.no_test_data),
    Rule(
        "global-randomness",
        "draw from `rng` in adapt() and from `batch.rng` in an objective, never from a global "
        "generator: other draws would move with it",
        isolation.global_randomness,
    ),
    Rule(
        "nothing-opened",
        "phases() opens no file and no socket and starts no program: a result depends on its spec "
        "alone",
        isolation.nothing_opened,
    ),
    Rule(
        "read-only-view",
        "phases() reads what ModelView offers and writes nothing: weights change in phases only",
        isolation.read_only_view,
    ),
)
