"""The mutants: subject, file, old text, new text, the tests that must fail."""

from mutants import Mutant as M

STRATEGIES = "tests/builtins/test_strategies.py"
BY_HAND = f"{STRATEGIES}::test_twelve_steps_give_the_weights_of_a_loop_by_hand"

ORACLES = (
    M("oracle", STRATEGIES, "    ORACLES[name](hand, STRATEGIES[name])\n", "", (BY_HAND,), every=True),
    M("oracle", STRATEGIES, "= LR * rate *", "= 2 * LR * rate *", (BY_HAND,), every=True),
)
MUTANTS = ORACLES
