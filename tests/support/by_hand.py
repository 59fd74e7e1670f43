"""Training written by hand in plain PyTorch: what the engine must come to, by none of its code.

Of the project it takes the data, the order of batches and the starting point, which
`tests/engine/test_batches.py` and `tests/test_weights.py` hold to what they should be.
"""

import math

import torch
import torch.nn.functional as F
from toys import own_network

from harness.engine.batches import Batches

LR = 1e-2
BATCH = 16


class ByHand:
    """A network of its own, its data and a clock of steps: what a plain script has."""

    def __init__(self, spec, resources):
        self.protocol = spec.protocol
        self.model = own_network(spec, resources).model
        self.images = resources.images
        self.order = Batches(48, BATCH, spec)
        self.look_order = Batches(48, BATCH, spec, "look")
        self.step, self.total = 0, 12
        self.start = {n: p.detach().clone() for n, p in self.model.named_parameters()}

    def xy(self, index, split="train"):
        mean = torch.tensor(self.protocol.mean, dtype=torch.float64).view(1, 3, 1, 1)
        std = torch.tensor(self.protocol.std, dtype=torch.float64).view(1, 3, 1, 1)
        x = torch.from_numpy(self.images.images[split][index.numpy()]).double() / 255
        return (x - mean) / std, torch.from_numpy(self.images.labels[split][index.numpy()])

    def cosine(self, first=0, total=None):
        return 0.5 * (1 + math.cos(math.pi * (self.step - first) / (total or self.total)))

    def train_step(self, optimizer, rate, penalty=lambda: 0.0):
        x, y = self.xy(self.order.at(self.step))
        for group in optimizer.param_groups:
            group["lr"] = LR * rate * group.get("multiplier", 1.0)
        optimizer.zero_grad()
        (F.cross_entropy(self.model(x), y) + penalty()).backward()
        optimizer.step()
        self.step += 1

    def modes(self, *learning):
        self.model.eval()
        for name in learning:
            getattr(self.model, name).train()

    @torch.no_grad()
    def validation_accuracy(self):
        x, y = self.xy(torch.arange(24), "validation")
        return (self.model(x).argmax(1) == y).double().mean().item()
