"""The three networks and their miniatures, against torchvision and the protocol's table."""

import importlib

import pytest
import torch
import torchvision
from command import python
from torch import nn

from harness import Backbone

OFFERED = {
    backbone.name: backbone
    for plugin in ("harness_resnet", "harness_densenet", "harness_vgg")
    for backbone in importlib.import_module(plugin).harness_backbones()
}
FULL = ("resnet50", "densenet121", "vgg19")
MINIATURES = ("resnet50-mini", "densenet121-mini", "vgg19-mini")

# docs/protocol, in millions.  Its 2.158 for DenseNet's last stage counts denseblock4 alone: the
# 2,048 parameters of norm5 are added here.
PARAMETERS = {
    "resnet50": {
        "stem": 0.010,
        "layer1": 0.216,
        "layer2": 1.220,
        "layer3": 7.098,
        "layer4": 14.965,
    },
    "densenet121": {
        "stem": 0.010,
        "denseblock1": 0.335,
        "transition1": 0.033,
        "denseblock2": 0.920,
        "transition2": 0.132,
        "denseblock3": 2.838,
        "transition3": 0.526,
        "denseblock4": 2.160,
    },
    "vgg19": {
        "block1": 0.039,
        "block2": 0.221,
        "block3": 2.065,
        "block4": 8.260,
        "block5": 9.439,
        "fc": 119.546,
    },
}


def on_meta(backbone: Backbone, classes: int) -> nn.Sequential:
    with torch.device("meta"):
        return backbone.build(classes)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", OFFERED)
def test_children_of_the_chain_are_the_declared_stages(name):
    backbone = OFFERED[name]
    chain = on_meta(backbone, 3)
    assert isinstance(chain, nn.Sequential)
    assert tuple(dict(chain.named_children())) == backbone.stages
    assert all(isinstance(stage, nn.Sequential) for stage in chain)
    assert backbone.stages[-1] == "head"
    assert set(backbone.classifier) <= set(backbone.stages)


@pytest.mark.parametrize("name", FULL)
def test_parameter_counts_of_the_protocol(name):
    found = {
        stage: round(count(m) / 1e6, 3) for stage, m in on_meta(OFFERED[name], 2).named_children()
    }
    found.pop("head")
    assert found == PARAMETERS[name]


@pytest.mark.parametrize("name", FULL)
def test_names_and_shapes_are_torchvisions(name):
    backbone = OFFERED[name]
    with torch.device("meta"):
        published = getattr(torchvision.models, name)(num_classes=7)
    here = {
        backbone.published_name(n): t.shape for n, t in on_meta(backbone, 7).state_dict().items()
    }
    assert here == {n: t.shape for n, t in published.state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_forward_is_torchvisions(name):
    backbone = OFFERED[name]
    torch.manual_seed(0)
    chain = backbone.build(5)
    with torch.no_grad():  # running statistics that are not the ones of a fresh network
        for module in chain.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    with torch.device("meta"):
        published = getattr(torchvision.models, name)(num_classes=5)
    state = {backbone.published_name(n): t for n, t in chain.state_dict().items()}
    published.load_state_dict(state, assign=True)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = published.eval()(images)
        torch.testing.assert_close(chain.eval()(images), expected, rtol=1e-6, atol=1e-6)
    assert expected.std() > 0


def test_resnet_starts_from_torchvisions_very_numbers():
    backbone = OFFERED["resnet50"]
    torch.manual_seed(3)
    published = torchvision.models.resnet50(num_classes=4).state_dict()
    torch.manual_seed(3)
    chain = backbone.build(4)
    for name, tensor in chain.state_dict().items():
        assert torch.equal(tensor, published[backbone.published_name(name)])


@pytest.mark.parametrize("name", MINIATURES)
def test_random_start_is_distributed_as_torchvisions(name):
    torch.manual_seed(0)
    chain = OFFERED[name].build(4)
    for module in chain.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 1000:
            kernel = module.weight[0, 0].numel()
            fan = module.in_channels if name.startswith("densenet") else module.out_channels
            assert module.weight.std().item() == pytest.approx(
                (2 / (fan * kernel)) ** 0.5, rel=0.12
            )
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            assert not module.bias.any()
    hidden = [m for m in chain.modules() if isinstance(m, nn.Linear)][:-1]
    assert all(m.weight.std().item() == pytest.approx(0.01, rel=0.05) for m in hidden)


@pytest.mark.parametrize("name", OFFERED)
def test_head_is_parameter_free_before_its_linear_layer(name):
    backbone = OFFERED[name]
    head = on_meta(backbone, 3).head
    *leading, last = head
    assert isinstance(last, nn.Linear)
    assert all(not list(module.parameters()) for module in leading)
    assert backbone.head_layer() == f"head.{list(dict(head.named_children()))[-1]}"


@pytest.mark.parametrize("name", MINIATURES)
def test_no_stage_writes_into_its_input(name):
    # The engine caches what goes into a stage.
    chain = OFFERED[name].build(3).train()
    value = torch.randn(2, 3, 48, 48)
    for stage in chain:
        kept = value.clone()
        result = stage(value)
        assert torch.equal(value, kept)
        value = result.detach()


def test_dropout_ends_the_hidden_layers_of_vgg():
    fc = on_meta(OFFERED["vgg19"], 3).fc
    assert isinstance(fc[-1], nn.Dropout)
    assert [m.p for m in fc if isinstance(m, nn.Dropout)] == [0.5, 0.5]
    assert OFFERED["vgg19"].classifier == ("fc", "head")


@pytest.mark.parametrize("name", MINIATURES)
def test_miniature_has_the_stages_and_blocks_of_the_network(name):
    small, large = OFFERED[name], OFFERED[name.removesuffix("-mini")]
    assert small.miniature
    assert not large.miniature
    assert small.stages == large.stages
    here, there = on_meta(small, 3), on_meta(large, 3)
    for stage in small.stages:
        kinds = [{type(m) for m in chain.get_submodule(stage).modules()} for chain in (here, there)]
        assert kinds[0] == kinds[1]
    assert count(here) * 30 < count(there)


def small_torchvision(name):
    """Torchvision's own network of a miniature's depth, as the README of the miniatures tells it."""
    models = torchvision.models
    if name == "resnet50-mini":  # its stem is 64 wide whatever is asked for
        return models.ResNet(models.resnet.Bottleneck, [1, 2, 2, 1], num_classes=3)
    if name == "densenet121-mini":
        return models.DenseNet(16, (1, 2, 3, 2), 16, num_classes=3)
    layout = [8, "M", 16, "M", 32, 32, "M", 64, 64, "M", 64, 64, "M"]
    return models.VGG(models.vgg.make_layers(layout), num_classes=3)


@pytest.mark.parametrize("name", MINIATURES)
def test_miniature_is_torchvisions_at_its_depth(name):
    with torch.device("meta"):
        expected = {n: tuple(t.shape) for n, t in small_torchvision(name).state_dict().items()}
    found = {
        OFFERED[name].published_name(n): tuple(t.shape)
        for n, t in on_meta(OFFERED[name], 3).state_dict().items()
    }
    assert list(found) == list(expected)
    for tensor, shape in found.items():
        there = expected[tensor]
        if name == "resnet50-mini" and tensor.endswith("conv1.weight"):
            assert 8 * shape[0] == there[0]
            assert shape[2:] == there[2:]
        elif name == "densenet121-mini" or tensor.startswith("features."):
            assert shape == there


@pytest.mark.parametrize("name", MINIATURES)
@pytest.mark.parametrize("side", [32, 48, 64])
def test_small_images_pass(name, side):
    logits = OFFERED[name].build(4).eval()(torch.randn(2, 3, side, side))
    assert logits.shape == (2, 4)


def test_old_densenet_names():
    backbone = OFFERED["densenet121"]
    block, tensor = "features.denseblock1.denselayer2", torch.zeros(1)
    old = [f"{block}.norm.1.weight", f"{block}.conv.2.weight", "features.transition1.norm.weight"]
    assert list(backbone.modernise(dict.fromkeys(old, tensor))) == [
        f"{block}.norm1.weight",
        f"{block}.conv2.weight",
        "features.transition1.norm.weight",
    ]


@pytest.mark.parametrize(
    ("name", "enum"),
    [
        ("resnet50", "ResNet50_Weights.IMAGENET1K_V2"),
        ("densenet121", "DenseNet121_Weights.IMAGENET1K_V1"),
        ("vgg19", "VGG19_Weights.IMAGENET1K_V1"),
    ],
)
def test_declared_weights_are_known_to_torchvision(name, enum):
    assert OFFERED[name].weights.enum == enum
    assert torchvision.models.get_weight(enum).url.startswith("https://")


def test_offering_imports_no_torch():
    code = (
        "import sys, harness_resnet as r, harness_densenet as d, harness_vgg as v;"
        "[p.harness_backbones() for p in (r, d, v)]; sys.exit('torch' in sys.modules)"
    )
    python("-c", code)
