"""The eight strategies against loops written by hand in plain PyTorch."""

import pytest
import torch
import torch.nn.functional as F
from by_hand import LR, ByHand
from golden_plans import assert_as_recorded
from toys import ToyBackbone, ToyVgg, own_network, toy_images, toy_run, toy_start

from harness.engine import run
from harness.engine.shared import SharedWork
from harness_auto_rgn import AutoRGN
from harness_full_ft import FullFineTuning
from harness_gradual_unfreezing import FirstToLast, LastToFirst, unfreeze
from harness_linear_probe import LinearProbe
from harness_lp_ft import LpFt
from harness_starting_point import L1SP, L2SP

STRATEGIES = {
    s.name: s
    for s in (
        FullFineTuning(), LinearProbe(), LpFt(), LastToFirst(), FirstToLast(),
        L1SP(alpha=1e-3), L2SP(alpha=0.1), AutoRGN(batches=2),
    )
}  # fmt: skip


def full_ft(hand, strategy):
    hand.modes("stem", "layer1", "layer2", "head")
    adam = torch.optim.Adam(hand.model.parameters(), lr=LR)
    for _ in range(12):
        hand.train_step(adam, hand.cosine())


def linear_probe(hand, strategy):
    hand.modes()
    adam = torch.optim.Adam(hand.model.head.parameters(), lr=LR)
    for _ in range(12):
        hand.train_step(adam, hand.cosine())


def lp_ft(hand, strategy):
    hand.modes()
    adam = torch.optim.Adam(hand.model.head.parameters(), lr=LR)
    best, kept = -1.0, None
    for step in range(6):
        hand.train_step(adam, hand.cosine(0, 6))
        if step % 3 == 2 and (accuracy := hand.validation_accuracy()) > best:
            best, kept = accuracy, {n: t.clone() for n, t in hand.model.state_dict().items()}
    hand.model.load_state_dict(kept)
    hand.modes("stem", "layer1", "layer2", "head")
    adam = torch.optim.Adam(hand.model.parameters(), lr=LR)
    for _ in range(6):
        hand.train_step(adam, hand.cosine(6, 6))


def gradual(hand, joins):
    """`joins`: step -> stage; Adam keeps the state of what already learns."""
    learning = ["head"]
    adam = torch.optim.Adam(hand.model.head.parameters(), lr=LR)
    for p in hand.model.parameters():
        p.requires_grad_(False)
    for p in hand.model.head.parameters():
        p.requires_grad_(True)
    for step in range(12):
        if step in joins:
            stage = getattr(hand.model, joins[step])
            for p in stage.parameters():
                p.requires_grad_(True)
            adam.add_param_group({"params": list(stage.parameters())})
            learning.append(joins[step])
        hand.modes(*learning)
        hand.train_step(adam, hand.cosine())


def last_first(hand, strategy):
    gradual(hand, {2: "layer2", 4: "layer1", 6: "stem"})


def first_last(hand, strategy):
    gradual(hand, {2: "stem", 4: "layer1", 6: "layer2"})


KERNELS = ("stem.conv.weight", "layer1.conv.weight", "layer2.conv.weight")


def beside_kernels(hand):
    """Adam, with the protocol's decay on what no penalty ties."""
    named = dict(hand.model.named_parameters())
    covered = (*KERNELS, "head.fc.weight")
    free = [p for n, p in named.items() if n not in covered]
    groups = [
        {"params": [named[n] for n in covered]},
        {"params": free, "weight_decay": hand.protocol.weight_decay},
    ]
    return torch.optim.Adam(groups, lr=LR)


def tied(hand, strategy, distance):
    named = dict(hand.model.named_parameters())

    def penalty():
        old = sum(distance(named[n] - hand.start[n]) for n in KERNELS)
        return strategy.alpha * old + strategy.beta / 2 * named["head.fc.weight"].square().sum()

    hand.modes("stem", "layer1", "layer2", "head")
    adam = beside_kernels(hand)
    for _ in range(12):
        hand.train_step(adam, hand.cosine(), penalty)


def l2_sp(hand, strategy):
    tied(hand, strategy, lambda moved: moved.square().sum() / 2)


def l1_sp(hand, strategy):
    tied(hand, strategy, lambda moved: moved.abs().sum())


def auto_rgn(hand, strategy):
    hand.modes()
    measured = {n: p for n, p in hand.model.named_parameters() if ".norm." not in n}
    looks = 0
    for _ in range(4):
        ratios = dict.fromkeys(measured, 0.0)
        for _ in range(2):
            x, y = hand.xy(hand.look_order.at(looks))
            looks += 1
            hand.model.zero_grad()
            F.cross_entropy(hand.model(x), y).backward()
            for name, p in measured.items():
                ratios[name] += (p.grad.norm() / p.norm()).item() / 2
        largest = max(ratios.values())
        adam = torch.optim.Adam(
            [{"params": [p], "multiplier": ratios[n] / largest} for n, p in measured.items()], lr=LR
        )
        hand.model.zero_grad()
        for _ in range(3):
            hand.train_step(adam, hand.cosine())


def memory(tensors):
    return {tensor.untyped_storage().data_ptr() for tensor in tensors.values()}


def engine_memory(resources, outcome):
    """Addresses of tensors that a run trained, started from or gave back."""
    kept = SharedWork.of(resources.shared).network
    assert kept is not None, "the run's network is kept elsewhere: look there"
    parts = [kept[1].model.state_dict(), kept[1].initial, kept[1].start]
    return set().union(*map(memory, [*parts, outcome.state, resources.start.state]))


ORACLES = {
    "full-ft": full_ft, "linear-probe": linear_probe, "lp-ft": lp_ft,
    "gradual-last-first": last_first, "gradual-first-last": first_last,
    "l1-sp": l1_sp, "l2-sp": l2_sp, "auto-rgn": auto_rgn,
}  # fmt: skip


@pytest.mark.parametrize("name", STRATEGIES)
def test_twelve_steps_give_the_weights_of_a_loop_by_hand(name):
    """`tests/mutants` empties the loops, and doubles their rate: all eight must fail, both times."""
    spec, resources = toy_run(STRATEGIES[name], checkpoint="last")
    hand = ByHand(spec, resources)

    ORACLES[name](hand, STRATEGIES[name])
    outcome = run(spec, resources)

    assert not memory(hand.model.state_dict()) & engine_memory(resources, outcome)
    assert_same_weights(outcome.state, hand.model.state_dict())


def assert_same_weights(found, wanted):
    for tensor, expected in wanted.items():
        apart, size = (found[tensor].double() - expected.double()).norm(), expected.double().norm()
        # A bias before a batch norm has a zero gradient, and Adam makes steps of rounding noise
        # there, whatever the bias's size.
        assert apart <= 1e-8 * (1.0 if tensor.endswith("conv.bias") else size), tensor


@pytest.mark.parametrize("name", ["l1-sp", "l2-sp"])
def test_what_a_penalty_ties_takes_no_weight_decay(name):
    spec, resources = toy_run(STRATEGIES[name], checkpoint="last", weight_decay=0.1)
    hand = ByHand(spec, resources)

    ORACLES[name](hand, STRATEGIES[name])

    assert_same_weights(run(spec, resources).state, hand.model.state_dict())


def test_a_proximal_step_is_soft_thresholding():
    chosen = L1SP(alpha=0.5, step="proximal")
    spec, resources = toy_run(chosen, checkpoint="last")
    hand = ByHand(spec, resources)
    named = dict(hand.model.named_parameters())
    hand.modes("stem", "layer1", "layer2", "head")
    adam = torch.optim.Adam(hand.model.parameters(), lr=LR)
    for _ in range(12):
        reach = 0.5 * LR * hand.cosine()
        hand.train_step(
            adam, hand.cosine(), lambda: chosen.beta / 2 * named["head.fc.weight"].square().sum()
        )
        for name in KERNELS:
            moved = named[name].detach() - hand.start[name]
            kept = torch.where(moved.abs() > reach, moved - reach * moved.sign(), 0.0)
            named[name].data = hand.start[name] + kept

    assert_same_weights(run(spec, resources).state, hand.model.state_dict())


FROZEN = {
    "full-ft": set(),
    "linear-probe": {"stem", "layer1", "layer2"},
    "lp-ft": set(),
    "gradual-last-first": set(),
    "gradual-first-last": set(),
    "l1-sp": set(),
    "l2-sp": set(),
    "auto-rgn": set(),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_does_not_learn_is_bit_equal(name):
    spec, resources = toy_run(STRATEGIES[name], checkpoint="last")
    before = own_network(spec, resources).initial

    outcome = run(spec, resources)

    buffers = ("running_mean", "running_var", "num_batches_tracked")
    for tensor, value in outcome.state.items():
        frozen = tensor.split(".")[0] in FROZEN[name]
        if name == "auto-rgn" and (".norm." in tensor):
            frozen = True  # neither measured nor trained, statistics included
        assert torch.equal(value, before[tensor]) == frozen, tensor
        assert frozen or name == "auto-rgn" or tensor.endswith(buffers) or value.is_floating_point()


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_plan_is_as_recorded(name):
    """The golden file shows a reviewer what a change does to the strategy's story."""
    assert_as_recorded(name, run(*toy_run(STRATEGIES[name])).result)


@pytest.mark.slow
@pytest.mark.parametrize("name", STRATEGIES)
def test_each_strategy_learns(name):
    strategy = AutoRGN() if name == "auto-rgn" else STRATEGIES[name]
    images = toy_images((96, 48, 120))
    result = run(*toy_run(strategy, images=images, epochs=30, lr=3e-2)).result

    assert result.metrics["balanced-accuracy"].value > 0.6  # chance is one third


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_same_spec_gives_the_same_bits(name):
    first, second = (run(*toy_run(STRATEGIES[name])) for _ in range(2))

    assert all(torch.equal(first.state[n], second.state[n]) for n in first.state)
    assert (first.predictions.logits["test"] == second.predictions.logits["test"]).all()


@pytest.mark.slow
def test_final_weights_differ_pairwise():
    ends = {n: run(*toy_run(s, checkpoint="last")).state for n, s in STRATEGIES.items()}

    names = list(ends)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            assert any(not torch.equal(ends[one][t], ends[other][t]) for t in ends[one]), (
                one,
                other,
            )


# -- the head of VGG ----------------------------------------------------------------------------


def vgg(strategy, **given):
    start = toy_start(ToyVgg(), without=given.pop("without", ()))
    return toy_run(strategy, backbone=ToyVgg(), start=start, checkpoint="last", **given)


@pytest.mark.parametrize(
    ("scope", "without", "learning"),
    [
        ("last", (), {"head"}),
        ("classifier", (), {"fc", "head"}),
        ("last", ("fc",), {"fc", "head"}),  # a stage that is new belongs to the head
    ],
)
def test_the_probe_trains_what_its_scope_says(scope, without, learning):
    result = run(*vgg(LinearProbe(head_scope=scope), without=without)).result

    (phase,) = result.phases
    assert {stage for stage, rate in phase.rates.items() if rate} == learning


def test_patience_counts_once_everything_learns():
    phases = list(unfreeze(["layer2", "layer1"], ["head"], 4.0))

    assert [p.patience for p in phases] == [False, False, True]


def test_gradual_counts_a_new_stage_as_head():
    result = run(*vgg(LastToFirst(), without=("fc",))).result

    assert [p.name for p in result.phases] == ["head", "+block1"]
    assert result.phases[0].rates["fc"] == 1.0


# -- settings -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_logistic_probe_equals_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    spec, resources = toy_run(LinearProbe(solver="logistic"), images=toy_images((96, 48, 48)))
    outcome = run(spec, resources)
    chosen = float(outcome.result.phases[0].notes[0].split("=")[1].split(",")[0])

    hand = ByHand(spec, resources)
    hand.model.eval()
    with torch.no_grad():
        x, y = hand.xy(torch.arange(96))
        features = hand.model[:3](x).mean((2, 3)).numpy()
    oracle = LogisticRegression(C=chosen, max_iter=5000, tol=1e-8).fit(features, y.numpy())
    weight = outcome.state["head.fc.weight"].numpy()
    shares = torch.from_numpy(features @ weight.T + outcome.state["head.fc.bias"].numpy()).softmax(
        1
    )
    assert abs(shares.numpy() - oracle.predict_proba(features)).max() < 0.02
    assert outcome.result.phases[0].steps == 0


def test_logistic_probe_of_two_classes_gives_two_logits():
    images = toy_images((64, 32, 32), classes=2)
    outcome = run(*toy_run(LinearProbe(solver="logistic"), images=images))

    weight = outcome.state["head.fc.weight"]
    assert torch.equal(weight[0], -weight[1])
    assert outcome.result.metrics["balanced-accuracy"].value > 0.6


def test_proximal_l1_leaves_weights_exactly_at_the_start():
    spec, resources = toy_run(L1SP(alpha=0.5, step="proximal"), checkpoint="last")
    before = own_network(spec, resources).initial
    state = run(spec, resources).state

    kernel = "stem.conv.weight"
    still = (state[kernel] == before[kernel]).double().mean()
    assert 0.1 < still < 1.0  # soft thresholding gives exact zeros of w - w0, the sign does not
    spec, resources = toy_run(L1SP(alpha=0.5), checkpoint="last")
    assert not (run(spec, resources).state[kernel] == before[kernel]).any()


def test_l2_sp_can_tie_biases_and_norms_too():
    spec, resources = toy_run(L2SP(alpha=100.0, include="all"), checkpoint="last")
    before = own_network(spec, resources).initial
    tied_all = run(spec, resources).state
    free = run(*toy_run(L2SP(alpha=100.0), checkpoint="last")).state

    def moved(state, name):
        return (state[name] - before[name]).norm()

    assert moved(tied_all, "stem.norm.weight") < 0.5 * moved(free, "stem.norm.weight")


def test_auto_rgn_gives_a_zero_tensor_the_rate_of_its_weight():
    from harness import ParameterInfo
    from harness_auto_rgn import multipliers

    def info(module, norm, kind="kernel"):
        return ParameterInfo("s", kind, (1,), pretrained=True, norm=norm, module=module)

    parameters = {
        "a.weight": info("a", 1.0), "a.bias": info("a", 0.0, "bias"),
        "b.weight": info("b", 1.0), "n.weight": info("n", 1.0, "norm"),
    }  # fmt: skip
    rates = multipliers(parameters, {"a.weight": 0.5, "b.weight": 2.0})

    assert rates == {"a.weight": 0.25, "b.weight": 1.0, "a.bias": 0.25}


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: LpFt(probe=1.5), "less than 1"),
        (lambda: LpFt(prob=0.5), "lp-ft has no setting 'prob'; did you mean 'probe'"),
        (lambda: L2SP(alpha=-1), "greater than or equal to 0"),
        (lambda: AutoRGN(batches=0), "greater than or equal to 1"),
    ],
)
def test_settings_are_checked(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_stages_of_the_toy_are_what_the_oracles_assume():
    assert ToyBackbone().stages == ("stem", "layer1", "layer2", "head")
