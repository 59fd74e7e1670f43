"""One cell as people run it today, in a process of its own: a plain loop, or Hugging Face's Trainer.

The plain loop: torchvision's network and `ImageFolder`, a `DataLoader` that decodes every image in
every epoch, eager AMP (or float32), the frozen network run forward again in every epoch of a linear
probe.  Prints one line of JSON: the test's balanced accuracy and seconds by part.

    python benchmarks/speed/rivals.py loop full-ft --data DIR --backbone resnet50 --weights FILE
    python benchmarks/speed/rivals.py trainer linear-probe --data DIR --backbone vgg19 --weights FILE
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import load_file
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

HEADS = {"resnet50": "fc", "densenet121": "classifier", "vgg19": "classifier.6"}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def network(args: argparse.Namespace, classes: int) -> nn.Module:
    """Torchvision's network with the given weights and a new head; for a probe, the rest frozen."""
    made: nn.Module = getattr(torchvision.models, args.backbone)()
    own = made.state_dict()
    given = {k: v for k, v in load_file(args.weights).items() if own[k].shape == v.shape}
    made.load_state_dict(given, strict=False)  # what it lacks is new
    place, _, name = HEADS[args.backbone].rpartition(".")
    parent = made.get_submodule(place)
    old = getattr(parent, name)
    if args.strategy == "linear-probe":
        made.requires_grad_(requires_grad=False)
    setattr(parent, name, nn.Linear(old.in_features, classes))
    return made


def folder(args: argparse.Namespace, split: str) -> datasets.ImageFolder:
    transform = transforms.Compose(
        [
            transforms.Resize(args.size),
            transforms.CenterCrop(args.size),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    return datasets.ImageFolder(Path(args.data) / split, transform)


class Loop:
    """The plain loop."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.device = args, torch.device(args.device)
        given = {"num_workers": args.workers, "pin_memory": self.device.type == "cuda"}
        train = folder(args, "train")
        self.train = DataLoader(train, args.batch, shuffle=True, **given)
        self.seen = {
            s: DataLoader(folder(args, s), args.batch, **given) for s in ("validation", "test")
        }
        self.model = network(args, len(train.classes)).to(self.device)
        learning = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(learning, lr=args.lr, weight_decay=args.decay)
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=args.amp and args.device != "cpu"
        )

    def autocast(self) -> torch.autocast:
        half = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        return torch.autocast(self.device.type, half, enabled=self.args.amp)

    def epoch(self) -> None:
        self.model.train(self.args.strategy != "linear-probe")
        for images, labels in self.train:
            x = images.to(self.device, non_blocking=True)
            y = labels.to(self.device, non_blocking=True)
            self.optimizer.zero_grad()
            with self.autocast():
                loss = F.cross_entropy(self.model(x), y)
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            float(loss)  # the running loss that such loops print

    @torch.no_grad()
    def score(self, split: str) -> float:
        self.model.eval()
        guessed, truth = [], []
        for images, labels in self.seen[split]:
            with self.autocast():
                guessed.append(self.model(images.to(self.device)).argmax(1).cpu())
            truth.append(labels)
        return float(balanced_accuracy_score(torch.cat(truth), torch.cat(guessed)))

    def run(self) -> float:
        """Train, keep the best on validation, test it."""
        best, state = -1.0, None
        for _ in range(self.args.epochs):
            self.epoch()
            found = self.score("validation")
            if found > best:
                best, state = found, copy.deepcopy(self.model.state_dict())
        self.model.load_state_dict(state or self.model.state_dict())
        return self.score("test")


class Wrapped(nn.Module):
    """A torchvision network in the form the Trainer asks for."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.inner(pixel_values)
        if labels is None:
            return {"logits": logits}
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


def collate(samples: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
    images, labels = zip(*samples, strict=True)
    return {"pixel_values": torch.stack(images), "labels": torch.tensor(labels)}


def metrics(found: Sequence[np.ndarray]) -> dict[str, float]:
    logits, labels = found
    return {"score": float(balanced_accuracy_score(labels, np.asarray(logits).argmax(1)))}


def trainer(args: argparse.Namespace) -> float:
    """Hugging Face's Trainer with the same settings."""
    from transformers import Trainer, TrainingArguments

    train = folder(args, "train")
    with tempfile.TemporaryDirectory() as place:
        options: Mapping[str, Any] = {
            "output_dir": place, "per_device_train_batch_size": args.batch,
            "per_device_eval_batch_size": args.batch, "num_train_epochs": args.epochs,
            "learning_rate": args.lr, "weight_decay": args.decay, "lr_scheduler_type": "constant",
            "bf16": args.amp, "optim": "adamw_torch_fused", "max_grad_norm": 0.0,
            "eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True,
            "metric_for_best_model": "score", "greater_is_better": True, "save_total_limit": 1,
            "dataloader_num_workers": args.workers, "remove_unused_columns": False,
            "report_to": [], "disable_tqdm": True, "use_cpu": args.device == "cpu",
            "logging_strategy": "no",
        }  # fmt: skip
        work = Trainer(
            model=Wrapped(network(args, len(train.classes))),
            args=TrainingArguments(**options),
            data_collator=collate,
            train_dataset=train,
            eval_dataset=folder(args, "validation"),
            compute_metrics=metrics,
        )
        work.train()
        return float(work.evaluate(folder(args, "test"))["eval_score"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("how", choices=["loop", "trainer"])
    parser.add_argument("strategy", choices=["full-ft", "linear-probe"])
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", required=True, help="safetensors under torchvision's names")
    parser.add_argument("--backbone", choices=list(HEADS), default="resnet50")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--decay", type=float, default=0.01)
    parser.add_argument("--amp", action="store_true")
    args = parser.parse_args()
    start = time.perf_counter()
    score = Loop(args).run() if args.how == "loop" else trainer(args)
    print(json.dumps({"score": score, "seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
