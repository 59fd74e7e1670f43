"""A plugin as a stranger would write it: a dataset of 8 px images, a toy backbone, a suite.

`HARNESS_TOY` tells it to misbehave: `raise`, `nan`, `kill`, `interrupt`.
"""

import os
import signal

from toys import ToyBackbone

from harness import Dataset, Phase, Protocol, Strategy, Suite, hookimpl


class ToyDataset(Dataset):
    """Three classes told apart by where a bright patch lies."""

    name: str = "toy-data"
    modality: str = "xray"
    classes: tuple[str, ...] = ("left", "middle", "right")
    procedural: bool = True

    def load(self, access):
        import datasets

        features = datasets.Features(
            image=datasets.Image(decode=False),
            label=datasets.ClassLabel(names=list(self.classes)),
            group=datasets.Value("string"),
            id=datasets.Value("string"),
        )
        return {
            split: datasets.Dataset.from_list(
                [self._row(split, number) for number in range(count)], features=features
            )
            for split, count in (("train", 24), ("validation", 12), ("test", 12))
        }

    def _row(self, split, number):
        import io
        import zlib

        import numpy as np
        from PIL import Image

        rng = np.random.default_rng(zlib.crc32(f"{split}{number}".encode()))
        pixels = rng.integers(0, 90, (8, 8, 3), dtype=np.uint8)
        label = number % 3
        pixels[2:6, label * 2 : label * 2 + 3] += 120
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png")
        name = f"{split}-{number:02d}"
        return {
            "image": {"bytes": file.getvalue(), "path": None},
            "label": label,
            "group": name,
            "id": name,
        }


def _interrupt(model, batch):
    raise KeyboardInterrupt


_interrupt.capturable = False


class Moody(Strategy):
    """Full fine-tuning, unless told to misbehave."""

    name = "moody"
    rate: float = 1.0

    def phases(self, model, epochs):
        mood = os.environ.get("HARNESS_TOY", "")
        if mood == "raise":
            raise ValueError("the moody strategy\nwas told to raise")
        if mood == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        objective = _interrupt if mood == "interrupt" else None
        rate = 1e300 if mood == "nan" else self.rate
        yield Phase("ft", epochs, {"*": rate}, objective=objective)


PROTOCOL = Protocol(name="toy", epochs=2, batch_size=8, patience=None, resize=8, crop=8, lr=1e-2)


@hookimpl
def harness_datasets():
    # The second has a validation split that moves with `split_seed`.
    return [ToyDataset(), ToyDataset(name="toy-pool", splits="official-test")]


@hookimpl
def harness_backbones():
    return [ToyBackbone()]


@hookimpl
def harness_strategies():
    return [Moody]


@hookimpl
def harness_suites():
    return [
        Suite(
            name="toy",
            datasets=("toy-data",),
            backbones=("toy",),
            strategies=("full-ft", "linear-probe", "moody"),
            protocol=PROTOCOL,
            weights="none",
        )
    ]
