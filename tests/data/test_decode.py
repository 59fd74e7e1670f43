import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from harness import DataError
from harness.data import images
from harness.data.images import CHUNK, Output, reorder, write_arrays

SHAPE = (3, 6, 5)


def png(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return pixels.transpose(2, 0, 1), buffer.getvalue()


def write(path, sources, **options):
    def fetch(run):
        return sources[run.start : run.stop]

    return write_arrays([Output(path, SHAPE, lambda image: image)], len(sources), fetch, **options)


@pytest.mark.parametrize("count", [1, CHUNK, CHUNK + 1, 5 * CHUNK - 3])
def test_the_array_holds_every_image_in_order(count, tmp_path):
    made = [png(seed) for seed in range(count)]
    sources = [data for _, data in made]
    for row in range(0, count, 3):  # bytes and files may be mixed
        sources[row] = tmp_path / f"{row}.png"
        sources[row].write_bytes(made[row][1])
    seen = []
    assert write(tmp_path / "a.npy", sources, progress=lambda *at: seen.append(at)) == {}
    found = np.load(tmp_path / "a.npy")
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.stack([pixels for pixels, _ in made]))
    assert seen == [(min(at + CHUNK, count), count) for at in range(0, count, CHUNK)]


def test_all_bad_rows_are_reported_with_their_reason(tmp_path):
    sources = [png(seed)[1] for seed in range(30)]
    sources[3] = sources[3][:40]
    sources[17] = b"text"
    sources[29] = tmp_path / "gone.png"
    bad = write(tmp_path / "a.npy", sources)
    assert set(bad) == {3, 17, 29}
    assert bad[29] == "cannot be read: No such file or directory"
    assert "UnidentifiedImageError" in bad[17]
    found = np.load(tmp_path / "a.npy")
    assert not found[[3, 17, 29]].any()
    assert np.array_equal(found[18], png(18)[0])


def test_torchs_threads_are_as_before(tmp_path):
    torch.set_num_threads(2)
    inside = []

    def transform(image):
        inside.append(torch.get_num_threads())
        return image

    output = Output(tmp_path / "a.npy", SHAPE, transform)
    write_arrays([output], 20, lambda run: [png(0)[1]] * len(run))
    assert set(inside) == {1}
    assert torch.get_num_threads() == 2


def test_a_source_that_fails_is_told_from_a_disk_that_fails(tmp_path):
    def fetch(run):
        raise OSError("the table's file is gone")

    with pytest.raises(DataError, match="the table's file is gone"):
        write_arrays([Output(tmp_path / "a.npy", SHAPE, lambda image: image)], 1, fetch)
    with pytest.raises(OSError, match="No such file"):
        write(tmp_path / "no" / "a.npy", [png(0)[1]])


def test_one_decoding_fills_several_files(tmp_path, monkeypatch):
    made = [png(seed) for seed in range(20)]
    sources = [data for _, data in made]
    sources[7] = b"text"
    decode, seen = images.decode, []
    monkeypatch.setattr(images, "decode", lambda data: seen.append(data) or decode(data))
    outputs = [
        Output(tmp_path / "as-it-is.npy", SHAPE, lambda image: image),
        Output(tmp_path / "first.npy", (1, 6, 5), lambda image: image[:1]),
    ]
    assert set(write_arrays(outputs, 20, lambda run: sources[run.start : run.stop])) == {7}
    assert sorted(seen) == sorted(sources)
    whole, first = (np.load(output.path) for output in outputs)
    assert np.array_equal(whole[:, :1], first)
    assert np.array_equal(whole[8], made[8][0])
    assert not whole[7].any()


@given(order=st.integers(0, 12).flatmap(lambda count: st.permutations(range(count))))
def test_rows_take_any_other_order_in_place(order, tmp_path_factory):
    path = tmp_path_factory.mktemp("order") / "a.npy"
    rows = np.random.default_rng(len(order)).integers(0, 256, (len(order), 3, 2), dtype=np.uint8)
    np.save(path, rows)
    reorder(path, order)
    assert np.array_equal(np.load(path), rows[list(order)])
