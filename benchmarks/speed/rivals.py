"""One cell as people run it today, in a process of its own: a plain loop, timm's parts, or a Trainer.

All three: torchvision's network from the same weights, a `DataLoader` whose worker processes decode
every image in every epoch, bf16 autocast where `--precision bf16`, fused AdamW at a constant rate,
validated after every epoch, the best tested; a linear probe runs the frozen network forward again
in every epoch.

- `loop`: what a careful person writes: channels-last, cuDNN chooses its kernels, workers and pinned
  memory stay, and no step waits for the device.
- `timm`: timm's data set, loader (which normalises on the device), optimizer factory, meters and
  checkpoint saver, put together as its training script does, channels-last.  That script is not in
  timm's wheel, so this is not it; it waits for the device once in 50 steps, as the script's log does.
- `trainer`: Hugging Face's Trainer, which cannot save a network that is channels-last.

Prints one line of JSON: the test's balanced accuracy and seconds from the first import of data.

    python benchmarks/speed/rivals.py loop full-ft --data DIR --backbone resnet50 --weights FILE
    python benchmarks/speed/rivals.py timm full-ft --data DIR --backbone resnet50 --weights FILE
    python benchmarks/speed/rivals.py trainer linear-probe --data DIR --backbone vgg19 --weights FILE
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
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
LOGGED = 50  # steps between two lines of timm's script


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
    return made.to(args.device)


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


def autocast(args: argparse.Namespace) -> torch.autocast:
    """Bf16 where asked for: it needs no scaled loss, and so no look at the gradients."""
    kind = torch.device(args.device).type
    return torch.autocast(kind, torch.bfloat16, enabled=args.precision == "bf16")


@torch.no_grad()
def balanced_accuracy(
    args: argparse.Namespace, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]
) -> float:
    """Of a split; the host waits once, at the end."""
    model.eval()
    guessed, truth = [], []
    for images, labels in batches:
        x = images.to(args.device, non_blocking=True, memory_format=torch.channels_last)
        with autocast(args):
            guessed.append(model(x).argmax(1))
        truth.append(labels)
    return float(balanced_accuracy_score(torch.cat(truth).cpu(), torch.cat(guessed).cpu()))


class Loop:
    """The plain loop."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.device = args, torch.device(args.device)
        train = folder(args, "train")
        self.train = self.loader(train, shuffle=True)
        self.seen = {s: self.loader(folder(args, s)) for s in ("validation", "test")}
        self.model = network(args, len(train.classes)).to(memory_format=torch.channels_last)
        learning = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            learning, lr=args.lr, weight_decay=args.decay, fused=True
        )

    def loader(
        self, images: datasets.ImageFolder, *, shuffle: bool = False
    ) -> DataLoader[tuple[Tensor, Tensor]]:
        """Its workers are started once, not in every epoch."""
        return DataLoader(
            images, self.args.batch, shuffle=shuffle, num_workers=self.args.workers,
            persistent_workers=self.args.workers > 0, pin_memory=self.device.type == "cuda",
        )  # fmt: skip

    def epoch(self) -> Tensor:
        """Train over all images; the mean loss, on the device."""
        self.model.train(self.args.strategy != "linear-probe")
        total = torch.zeros((), device=self.device)
        for images, labels in self.train:
            x = images.to(self.device, non_blocking=True, memory_format=torch.channels_last)
            y = labels.to(self.device, non_blocking=True)
            with autocast(self.args):
                loss = F.cross_entropy(self.model(x), y)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            total += loss.detach()
        return total / len(self.train)

    def run(self) -> float:
        """Train, keep the best on validation, test it."""
        best, state = -1.0, None
        for _ in range(self.args.epochs):
            loss = self.epoch()
            found = balanced_accuracy(self.args, self.model, self.seen["validation"])
            print(f"loss {float(loss):.4f}, validation {found:.4f}")
            if found > best:
                best, state = found, copy.deepcopy(self.model.state_dict())
        self.model.load_state_dict(state or self.model.state_dict())
        return balanced_accuracy(self.args, self.model, self.seen["test"])


class TimmParts:
    """The loop of timm's script on timm's own parts."""

    def __init__(self, args: argparse.Namespace, place: str) -> None:
        from timm.data import create_dataset
        from timm.optim import create_optimizer_v2
        from timm.utils import CheckpointSaver

        self.args, self.place = args, Path(place)
        sets = {s: create_dataset("", args.data, split=s) for s in ("train", "validation", "test")}
        self.loaders = {split: self.loader(split, images) for split, images in sets.items()}
        model = network(args, len(sets["train"].reader.class_to_idx))
        self.model = model.to(memory_format=torch.channels_last)
        self.optimizer = create_optimizer_v2(
            self.model, opt="adamw", lr=args.lr, weight_decay=args.decay, fused=True
        )
        self.saver = CheckpointSaver(
            self.model, self.optimizer, checkpoint_dir=place, recovery_dir=place, max_history=1
        )

    def loader(self, split: str, images: Any) -> Any:  # noqa: ANN401 - timm's
        """Without augmentation, at the size of the others."""
        from timm.data import create_loader

        return create_loader(
            images, (3, self.args.size, self.args.size), self.args.batch,
            is_training=split == "train", no_aug=True, interpolation="bilinear", mean=MEAN, std=STD,
            crop_pct=1.0, num_workers=self.args.workers, device=torch.device(self.args.device),
            pin_memory=self.args.device.startswith("cuda"),
            persistent_workers=self.args.workers > 0,
        )  # fmt: skip

    def epoch(self) -> None:
        from timm.utils import AverageMeter

        losses, times = AverageMeter(), AverageMeter()
        self.model.train(self.args.strategy != "linear-probe")
        start = time.time()
        for number, (images, labels) in enumerate(self.loaders["train"]):
            x = images.contiguous(memory_format=torch.channels_last)
            with autocast(self.args):
                loss = F.cross_entropy(self.model(x), labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            times.update(time.time() - start)
            start = time.time()
            if number % LOGGED == 0:
                losses.update(loss.item(), len(labels))
                print(f"step {number}, loss {losses.avg:.4f}, {times.avg:.3f} s")

    def run(self) -> float:
        """Train, a checkpoint after every epoch, test the best of them."""
        for number in range(self.args.epochs):
            self.epoch()
            found = balanced_accuracy(self.args, self.model, self.loaders["validation"])
            self.saver.save_checkpoint(number, metric=found)
        best = torch.load(self.place / "model_best.pth.tar", self.args.device, weights_only=False)
        self.model.load_state_dict(best["state_dict"])
        return balanced_accuracy(self.args, self.model, self.loaders["test"])


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


def trainer(args: argparse.Namespace, place: str) -> float:
    """Hugging Face's Trainer with the same settings."""
    from transformers import Trainer, TrainingArguments

    train = folder(args, "train")
    options: Mapping[str, Any] = {
        "output_dir": place, "per_device_train_batch_size": args.batch,
        "per_device_eval_batch_size": args.batch, "num_train_epochs": args.epochs,
        "learning_rate": args.lr, "weight_decay": args.decay, "lr_scheduler_type": "constant",
        "bf16": args.precision == "bf16", "optim": "adamw_torch_fused", "max_grad_norm": 0.0,
        "eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True,
        "metric_for_best_model": "score", "greater_is_better": True, "save_total_limit": 1,
        "dataloader_num_workers": args.workers, "remove_unused_columns": False,
        "dataloader_persistent_workers": args.workers > 0, "report_to": [], "disable_tqdm": True,
        "use_cpu": args.device == "cpu", "logging_strategy": "no",
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
    parser.add_argument("how", choices=["loop", "timm", "trainer"])
    parser.add_argument("strategy", choices=["full-ft", "linear-probe"])
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", required=True, help="safetensors under torchvision's names")
    parser.add_argument("--backbone", choices=list(HEADS), default="resnet50")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice")
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--decay", type=float, default=0.01)
    parser.add_argument("--precision", choices=["float32", "bf16"], default="bf16")
    args = parser.parse_args()
    start = time.perf_counter()
    torch.backends.cudnn.benchmark = True
    if args.threads:
        torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as place:
        ways = {
            "loop": lambda: Loop(args).run(),
            "timm": lambda: TimmParts(args, place).run(),
            "trainer": lambda: trainer(args, place),
        }
        score = ways[args.how]()
    print(json.dumps({"score": score, "seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
