"""Images as networks see them, by Pillow and torchvision alone."""

import io

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2


def transformed(content, resize, crop):
    """Pixels uint8 [3, crop, crop] of an image file's content."""
    with Image.open(io.BytesIO(content)) as opened:
        pixels = np.array(opened.convert("RGB")).transpose(2, 0, 1)
    steps = v2.Compose([v2.Resize(resize, antialias=True), v2.CenterCrop(crop)])
    return steps(torch.from_numpy(np.ascontiguousarray(pixels))).numpy()
