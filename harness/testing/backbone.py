"""What every backbone promises."""

from __future__ import annotations

from harness.testing import behaviour, shapes
from harness.testing.network import BackboneCase
from harness.testing.promise import Rule

RULES: tuple[Rule[BackboneCase], ...] = (
    Rule(
        "meta-device",
        "build() makes its tensors on torch's default device, as the harness asks for shapes on "
        "'meta'",
        shapes.meta_device,
    ),
    Rule(
        "stages",
        "build() returns an nn.Sequential whose children are the declared stages in their order, "
        "the classifier's at the end and 'head' the last",
        shapes.stages,
    ),
    Rule(
        "parameters-once",
        "the stages cover every parameter, each exactly once, and each stage has one",
        shapes.parameters_once,
    ),
    Rule(
        "logits-shape",
        "images [B, 3, H, W] give logits [B, classes], for every B, H, W and number of classes",
        shapes.logits_shape,
    ),
    Rule(
        "head-layer",
        "the last module with parameters is the linear layer that is new for every dataset",
        shapes.head_layer,
    ),
    Rule(
        "published-names",
        "every parameter and buffer has a name of its own in published weight files",
        shapes.published_names,
    ),
    Rule(
        "weights", "declared weights are there, have the declared sha256 and fit", behaviour.weights
    ),
    Rule(
        "builds-offline",
        "build() gives a freshly initialised network; weights are found by the harness",
        behaviour.builds_offline,
        light=False,
    ),
    Rule(
        "seeded",
        "build() draws from torch's default generator alone, which the harness has seeded",
        behaviour.seeded,
        light=False,
    ),
    Rule(
        "chain-of-stages",
        "the chain is its stages called one after another: frozen ones are computed once",
        behaviour.chain_of_stages,
        light=False,
    ),
    Rule(
        "state-dict",
        "state_dict() holds everything that tells one network from another",
        behaviour.state_dict,
        light=False,
    ),
    Rule(
        "eval-deterministic",
        "in eval mode a forward pass draws nothing and changes nothing",
        behaviour.eval_deterministic,
        light=False,
    ),
    Rule(
        "samples-alone",
        "in eval mode the logits of an image do not depend on the rest of its batch",
        behaviour.samples_alone,
        light=False,
    ),
)
