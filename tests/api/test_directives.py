"""Directives and settings, checked where they are made."""

import copy
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from harness import Distance, Interpolate, Phase, SolveHead, Strategy
from harness.errors import PhaseError


def loss(model, batch):
    raise NotImplementedError


class Loss:
    capturable = False

    def __call__(self, model, batch):
        raise NotImplementedError


WRONG = [
    # What is given, what is said of it.
    ({"epochs": -1}, "phase 'ft' asks for -1 epochs; it must be a number, 0 or more"),
    ({"epochs": math.nan}, "phase 'ft' asks for nan epochs; it must be a number, 0 or more"),
    ({"epochs": math.inf}, "phase 'ft' asks for inf epochs; it must be a number, 0 or more"),
    ({"epochs": "3"}, "phase 'ft' asks for '3' epochs; it must be a number, 0 or more"),
    ({"name": ""}, "a phase needs a name to show it by, not ''"),
    ({"name": 3}, "a phase needs a name to show it by, not 3"),
    ({"train": ("heda",)}, "trains ('heda',), which says no number for each; write train={'heda': 1.0}"),
    ({"train": "head"}, "phase 'ft' trains 'head', which says no number for each; write train={'head': 1.0}"),
    ({"train": {"*": -0.5}}, "phase 'ft' trains '*' at -0.5; it must be a number, 0 or more"),
    ({"train": {"*": math.nan}}, "phase 'ft' trains '*' at nan; it must be a number, 0 or more"),
    ({"train": {"*": "1e-3"}}, "phase 'ft' trains '*' at '1e-3'; it must be a number, 0 or more"),
    ({"train": {"*": None}}, "phase 'ft' trains '*' at None; it must be a number, 0 or more"),
    ({"train": {3: 1.0}}, "phase 'ft' trains 3, which is no name of a stage or parameter"),
    ({"decay": {"head": -1}}, "phase 'ft' sets the decay of 'head' at -1; it must be a number"),
    ({"decay": ["head"]}, "sets the decay of ['head'], which says no number for each; write decay={'head': 1.0}"),
    ({"norm": "evl"}, "phase 'ft': norm is 'evl'; did you mean 'eval'?; it must be 'train' or 'eval' or 'auto'"),
    ({"begin": "bset"}, "phase 'ft': begin is 'bset'; did you mean 'best'?; it must be 'here' or 'best' or 'pretrained'"),
    ({"anneal": "epoch"}, "phase 'ft': anneal is 'epoch'; it must be 'phase' or 'run'"),
    ({"average": True}, "phase 'ft': average is True; it must be 'none' or 'ema' or 'swa'"),
    ({"reference": "phase_start"}, "reference is 'phase_start'; did you mean 'phase-start'?"),
    ({"step": "sam"}, "phase 'ft': step is 'sam'"),
    ({"patience": 3}, "phase 'ft': patience is 3; it must be True or False"),
    ({"select": 1}, "phase 'ft': select is 1; it must be True or False"),
    ({"keep_optimizer": "yes"}, "phase 'ft': keep_optimizer is 'yes'; it must be True or False"),
    ({"share": 0}, "phase 'ft' uses a share of 0 of the training split; it must be above 0 and at most 1"),
    ({"share": 1.5}, "phase 'ft' uses a share of 1.5 of the training split"),
    ({"share": "half"}, "phase 'ft' uses a share of 'half' of the training split"),
    ({"penalties": Distance("l2", 1.0, ("w",))}, "phase 'ft': penalties is Distance("),
    ({"penalties": (Loss,)}, "phase 'ft': penalties is the class Loss; give an instance: Loss()"),
    ({"penalties": (0.1,)}, "phase 'ft': penalties is 0.1, which cannot be called"),
    ({"objective": Loss}, "phase 'ft': objective is the class Loss; give an instance: Loss()"),
    ({"objective": "focal"}, "phase 'ft': objective is 'focal', which cannot be called"),
    ({"objective": loss}, "phase 'ft': its objective does not say whether it is `capturable`"),
    ({"patiense": False}, "Phase has no field 'patiense'; did you mean 'patience'?; its fields: name, epochs, train"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "said"), WRONG)
def test_what_a_phase_cannot_be(given, said):
    with pytest.raises(PhaseError) as told:
        Phase(**({"name": "ft", "epochs": 1.0, "train": {"*": 1.0}} | given))
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (SolveHead, {"C": 1.0}, "directive 'lp': C is 1.0; give values to try: C=(1.0,)"),
        (SolveHead, {"C": ()}, "directive 'lp': C is (); give values to try"),
        (SolveHead, {"C": (1.0, 0.0)}, "directive 'lp': C holds 0.0; it must be a number above 0"),
        (SolveHead, {"epochs": -1}, "directive 'lp' asks for -1 epochs"),
        (SolveHead, {"epoch": 1}, "SolveHead has no field 'epoch'; did you mean 'epochs'?"),
        (Interpolate, {"shares": 0.5}, "directive 'mix': shares is 0.5; give values to try: shares=(0.5,)"),
        (Interpolate, {"shares": ()}, "directive 'mix': shares is (); give values to try: shares=(0.0, 0.5, 1.0)"),
        (Interpolate, {"shares": (0.0, 1.1)}, "directive 'mix': shares holds 1.1; it must be a number from 0 to 1"),
        (Interpolate, {"shares": (-0.1,)}, "shares holds -0.1; it must be a number from 0 to 1"),
        (Interpolate, {"shares": (math.nan,)}, "shares holds nan; it must be a number from 0 to 1"),
        (Interpolate, {"shares": (0.5, 0.5)}, "directive 'mix': shares holds 0.5 twice"),
        (Interpolate, {"between": "lp"}, "directive 'mix': between is the text 'lp'; write between=('lp',)"),
        (Interpolate, {"between": ("lp",)}, "directive 'mix': between is ('lp',); name two different phases"),
        (Interpolate, {"between": ("ft", "ft")}, "between is ('ft', 'ft'); name two different phases"),
        (Interpolate, {"between": ("a", "b", "a")}, "name two different phases"),
        (Interpolate, {"epochs": -1}, "directive 'mix' asks for -1 epochs"),
        (Interpolate, {"share": (0.5,)}, "Interpolate has no field 'share'; did you mean 'shares'?"),
        (Distance, {"kind": "l3"}, "a Distance: kind is 'l3'; it must be 'l1' or 'l2'"),
        (Distance, {"strength": -1}, "a Distance: strength is -1; it must be a number, 0 or more"),
        (Distance, {"parameters": "head"}, "parameters is the text 'head'; write parameters=('head',)"),
        (Distance, {"parameters": (1,)}, "a Distance: parameters is (1,); give a tuple of names"),
        (Distance, {"towards": "zeros"}, "towards is 'zeros'; did you mean 'zero'?"),
        (Distance, {"proximal": True}, "a Distance: proximal is for kind 'l1', not 'l2'"),
        (Distance, {"strenght": 1.0}, "Distance has no field 'strenght'; did you mean 'strength'?"),
    ],
)  # fmt: skip
def test_what_the_others_cannot_be(kind, given, said):
    plain = {
        SolveHead: {"name": "lp", "C": (1.0,)},
        Interpolate: {"name": "mix", "between": ("lp", "ft"), "shares": (0.5,)},
        Distance: {"kind": "l2", "strength": 1.0, "parameters": ("w",)},
    }
    with pytest.raises(PhaseError) as told:
        kind(**(plain[kind] | given))
    assert said in str(told.value)


def test_what_a_phase_may_be():
    """Numbers of any library, no epochs at all, and a copy in every way there is."""
    phase = Phase(
        "ft", np.float32(0.0), {"head": np.float64(2.0), "*": 0}, objective=Loss(),
        penalties=[Distance("l1", 0, ["w"], proximal=True)], norm="eval", share=1,
    )  # fmt: skip
    for other in (copy.copy(phase), copy.deepcopy(phase), replace(phase, epochs=2.0)):
        assert dict(other.train) == {"head": 2.0, "*": 0}
    plain = Phase("ft", 1.0, {"*": 1.0})
    assert pickle.loads(pickle.dumps(plain)) == plain
    with pytest.raises(PhaseError, match="asks for -1 epochs"):
        replace(plain, epochs=-1)


class Halves(Strategy):
    name = "halves"
    alpha: float = 0.5

    def phases(self, model, epochs):
        yield Phase("ft", epochs, {"*": self.alpha})


def test_a_setting_that_there_is_not():
    with pytest.raises(ValidationError) as told:
        Halves(alhpa=1.0)
    (fault,) = told.value.errors()
    assert fault["msg"] == (
        "halves has no setting 'alhpa'; did you mean 'alpha'?; its settings: rate, alpha"
    )
    assert Halves(alpha=1.0, rate=2.0).alpha == 1.0


@pytest.mark.parametrize(
    ("value", "said"),
    [(math.inf, "should be a finite number"), ("fast", "should be a valid number")],
)
def test_a_setting_that_is_no_number(value, said):
    with pytest.raises(ValidationError, match=said):
        Halves(alpha=value)


def test_a_subclass_may_allow_more():
    class Open(Halves, extra="allow"):
        pass

    assert Open(beta=1.0).model_extra == {"beta": 1.0}
