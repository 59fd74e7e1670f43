"""Masks by their names, and ranges that differ; seen on boards and in audits."""

import numpy as np
import pytest
from command import Cli
from PIL import Image

from harness import Access, FolderDataset, Protocol
from harness.data.pixels.suspects import find_masks
from harness.data.preparation.prepare import prepare_dataset

PROTOCOL = Protocol(name="test", resize=18, crop=16)


@pytest.mark.parametrize(
    ("names", "masks"),
    [
        (["a/benign (1).png", "a/benign (1)_mask.png"], {"a/benign (1)_mask.png"}),
        (["a/1.jpg", "a/1_mask_1.png", "a/1_MASK.png"], {"a/1_mask_1.png", "a/1_MASK.png"}),
        (["a/7.png", "a/7-seg.png", "a/7.gt.png"], {"a/7-seg.png", "a/7.gt.png"}),
        (["a/mask.png", "a/1.png", "a/2_mask.png", "mask/1.png", "a/damask.png"], set()),
    ],
)
def test_masks_are_found_by_the_image_they_are_of(names, masks):
    assert set(find_masks(names)) == masks


def save(folder, name, values):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(16):
        name = f"{'ab'[number % 2]}/{number}"
        save(tmp_path / "set", f"{name}.png", rng.integers(0, 256, (20, 20), np.uint8))
    return tmp_path / "set"


def prepared(folder):
    dataset = FolderDataset(name="own", modality="xray", path=folder)
    return prepare_dataset(dataset, PROTOCOL, Access(cache=folder.parent / "cache"))


@pytest.mark.slow
def test_a_board_says_what_is_suspicious_and_names_no_image(folder):
    assert prepared(folder).images.record.problems == ()
    for number in range(16):
        values = np.random.default_rng(number).integers(0, 2, (20, 20), np.uint8) * np.uint8(255)
        save(folder, f"{'ab'[number % 2]}/{number}_mask.png", values)
    save(folder, "a/deep.png", np.random.default_rng(1).integers(0, 4096, (20, 20), np.uint16))
    masks, ranges = prepared(folder).images.record.problems
    assert masks.startswith("16 of 33 images look like masks of others by their names")
    assert ranges.endswith("each scaled by its own: 1 of 0 to 4095, 32 of eight bits")


@pytest.mark.slow
def test_an_audit_names_images_with_few_levels_and_files_with_more_content(folder, tmp_path):
    save(folder, "a/flat.png", np.full((20, 20), 7, np.uint8))
    save(folder, "a/0_mask.png", np.eye(20, dtype=np.uint8) * np.uint8(255))
    (folder / "b" / "1.png").write_bytes((folder / "b" / "1.png").read_bytes() + b"a trailer")
    args = ("data", "audit", "own", "--data", f"own={folder}")
    shown = Cli()(*args, HARNESS_CACHE=str(tmp_path / "cache"), exit_code=None).output
    assert "! 1 image with the names of masks of others:\n    a/0_mask.png of a/0.png" in shown
    assert "! 1 image with a single grey level:\n    a/flat.png" in shown
    assert "! 1 image with 16 grey levels or fewer:\n    a/0_mask.png" in shown
    assert "- 1 file with content that was not used:\n    b/1.png (9 bytes after its end)" in shown
