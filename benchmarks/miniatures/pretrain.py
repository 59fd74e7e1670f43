"""Pre-train the miniatures on the source task and write their starting points.

    python benchmarks/miniatures/pretrain.py [NAME ...]

Rewrites `plugins/harness_*/NAME.safetensors` (float16, torchvision's names, the source task's
classifier included) and prints size, sha256 and source accuracy.  One thread, CPU, seeded: the same
versions of torch and numpy on the same kind of processor write the same bytes.  After a change the
sha256 in the plugin's `Weights` declaration has to follow.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import source_task
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

import harness_densenet
import harness_resnet
import harness_vgg
from harness import Backbone

SIDE = 48
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TRAIN_SEED, TEST_SEED = 1, 2
CLASSES = len(source_task.CLASSES)


@dataclass(frozen=True)
class Recipe:
    """One-cycle AdamW, `lr` at its peak."""

    lr: float = 1e-2
    epochs: int = 10
    per_class: int = 600
    batch: int = 64
    weight_decay: float = 0.02
    seed: int = 0


RECIPES = {
    "resnet50-mini": Recipe(epochs=14),
    "densenet121-mini": Recipe(epochs=12),
    "vgg19-mini": Recipe(lr=8e-3, epochs=12),
}


def miniatures() -> dict[str, Backbone]:
    offered = [
        backbone
        for plugin in (harness_resnet, harness_densenet, harness_vgg)
        for backbone in plugin.harness_backbones()
    ]
    return {backbone.name: backbone for backbone in offered if backbone.miniature}


def normalised(images: Tensor) -> Tensor:
    """Uint8 [B, 3, H, W] -> float, as every protocol here does it."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (images.float() / 255 - mean) / std


def batches(
    images: Tensor, labels: Tensor, size: int, rng: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Full batches in random order, each turned by a random multiple of 90 degrees and mirrored."""
    order = torch.randperm(len(labels), generator=rng)
    for rows in order.split(size)[: len(labels) // size]:
        turns, mirrored = torch.randint(0, 4, (2,), generator=rng).tolist()
        batch = images[rows].rot90(turns, (2, 3))
        yield normalised(batch.flip(3) if mirrored % 2 else batch), labels[rows]


def with_norm(chain: nn.Sequential) -> nn.Sequential:
    """Batch norm after every convolution and hidden linear layer of a network that has none."""
    stages = []
    for stage in list(chain)[:-1]:
        modules: list[nn.Module] = []
        for module in stage:
            modules.append(module)
            if isinstance(module, nn.Conv2d):
                modules.append(nn.BatchNorm2d(module.out_channels))
            elif isinstance(module, nn.Linear):
                modules.append(nn.BatchNorm1d(module.out_features))
        stages.append(nn.Sequential(*modules))
    return nn.Sequential(*stages, chain[-1])


@torch.no_grad()
def fold(network: nn.Sequential) -> None:
    """Put every batch norm's running statistics and affine into the layer before it: exact."""
    before: nn.Module | None = None
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            scale = module.weight / (module.running_var + module.eps).sqrt()
            shape = (-1,) + (1,) * (before.weight.dim() - 1)
            before.weight.mul_(scale.view(shape))
            before.bias.copy_((before.bias - module.running_mean) * scale + module.bias)
        if isinstance(module, nn.Conv2d | nn.Linear):
            before = module


def train(network: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe) -> None:
    rng = torch.Generator().manual_seed(recipe.seed)
    kernels = [p for p in network.parameters() if p.dim() > 1]
    others = [p for p in network.parameters() if p.dim() == 1]
    groups = [
        {"params": kernels, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr, fused=True)
    steps = recipe.epochs * (len(labels) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=steps)
    loss_of = nn.CrossEntropyLoss()  # no label smoothing: it makes features transfer worse
    network.train()
    for epoch in range(recipe.epochs):
        losses = []
        for inputs, targets in batches(images, labels, recipe.batch, rng):
            optimizer.zero_grad()
            loss = loss_of(network(inputs), targets)
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"  epoch {epoch + 1}/{recipe.epochs}: loss {np.mean(losses):.3f}", flush=True)


@torch.no_grad()
def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    network.eval()
    found = torch.cat([network(normalised(part)).argmax(1) for part in images.split(200)])
    return (found == labels).double().mean().item()


def pretrain(backbone: Backbone, recipe: Recipe) -> nn.Sequential:
    torch.manual_seed(recipe.seed)
    chain = backbone.build(CLASSES)
    for module in chain.modules():
        if isinstance(module, Bottleneck):  # blocks begin as identities: learns far sooner
            nn.init.zeros_(module.bn3.weight)
    normless = not any(isinstance(m, nn.BatchNorm2d) for m in chain.modules())
    network = with_norm(chain) if normless else chain
    images, labels = map(torch.from_numpy, source_task.sample(recipe.per_class, SIDE, TRAIN_SEED))
    train(network, images, labels, recipe)
    if normless:
        fold(network)
    return chain


def save(backbone: Backbone, chain: nn.Sequential) -> Path:
    assert backbone.weights is not None
    assert backbone.weights.file is not None
    path = Path(backbone.weights.file)
    save_file(
        {
            backbone.published_name(name): tensor.half().contiguous()
            for name, tensor in chain.state_dict().items()
            if not name.endswith("num_batches_tracked")
        },
        path,
    )
    path.chmod(0o644)
    return path


def source_accuracy(backbone: Backbone, path: Path) -> float:
    """Of the file as it is shipped, on images that were not trained on."""
    chain = backbone.build(CLASSES)
    published = load_file(path)
    state = {
        name: published[backbone.published_name(name)].float()
        for name in chain.state_dict()
        if not name.endswith("num_batches_tracked")
    }
    chain.load_state_dict(state, strict=False)
    images, labels = map(torch.from_numpy, source_task.sample(50, SIDE, TEST_SEED))
    return accuracy(chain, images, labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *RECIPES], metavar="NAME")
    names = parser.parse_args().names or list(RECIPES)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name in names:
        backbone, started = miniatures()[name], time.process_time()
        print(name, flush=True)
        path = save(backbone, pretrain(backbone, RECIPES[name]))
        seconds = time.process_time() - started
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"  {path.name}: {path.stat().st_size} bytes, {seconds:.0f} core-seconds")
        print(
            f"  source accuracy {source_accuracy(backbone, path):.3f}\n  sha256 {sha256}",
            flush=True,
        )


if __name__ == "__main__":
    main()
