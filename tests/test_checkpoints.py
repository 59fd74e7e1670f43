"""Files of weights as people have them: what each holds, and where in it a network lies."""

import argparse
import os
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from harness import WeightsError
from harness.checkpoints.network import find_network
from harness.checkpoints.reading import read_content

STATE = {
    "conv.weight": torch.arange(8.0).reshape(2, 4),
    "conv.bias": torch.arange(2.0),
    "norm.weight": torch.ones(3),
}
OTHER = {name: tensor + 1 for name, tensor in STATE.items()}
WANTED = {name: tuple(tensor.shape) for name, tensor in STATE.items()}


class Network(torch.nn.Module):
    pass


def prefixed(prefix, state=STATE):
    return {prefix + name: tensor for name, tensor in state.items()}


def saved(folder, content, **options):
    torch.save(content, folder / "a.pth", **options)
    return folder / "a.pth"


def found(path):
    return find_network(path, read_content(path), WANTED)


def is_state(tensors):
    return tensors.keys() == STATE.keys() and all(
        torch.equal(tensors[name], tensor) for name, tensor in STATE.items()
    )


FOREIGN = {
    "namespace": ({"model": STATE, "args": argparse.Namespace(lr=1)}, "argparse.Namespace"),
    "numpy number": ({"state_dict": STATE, "best": np.float64(0.5)}, "'best' is a numpy number"),
    "numpy arrays": ({name: t.numpy() for name, t in STATE.items()}, "a numpy array"),
    "nested": ({"net": STATE, "log": [{"at": pathlib.PurePosixPath("a")}]}, "'log' is pathlib"),
    "flat": ({**STATE, "args": argparse.Namespace(lr=1)}, "'args' is argparse.Namespace"),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(("content", "said"), FOREIGN.values(), ids=FOREIGN)
def test_more_than_tensors_and_the_remedy_works(tmp_path, monkeypatch, content, said, legacy):
    path = saved(tmp_path, content, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match=said) as caught:
        read_content(path)
    assert "fetch it again" not in str(caught.value)
    (tmp_path / "NEW").mkdir()
    monkeypatch.chdir(tmp_path)
    exec(str(caught.value).split("`")[1], {"torch": torch})
    assert is_state(found(tmp_path / "NEW" / "a.pth").tensors)


def test_a_plain_pickle(tmp_path, monkeypatch):
    path = tmp_path / "a.pth"
    path.write_bytes(pickle.dumps({name: tensor.numpy() for name, tensor in STATE.items()}))
    with pytest.raises(WeightsError, match=r"numpy array.*numpy\.load") as caught:
        read_content(path)
    (tmp_path / "NEW").mkdir()
    monkeypatch.chdir(tmp_path)
    exec(str(caught.value).split("`")[1], {"torch": torch, "numpy": np})
    assert is_state(found(tmp_path / "NEW" / "a.pth").tensors)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            torch.nn.Linear(2, 2),
            r"whole pickled object \(torch.nn.modules.linear.Linear\).*c.state_dict\(\)",
        ),
        ({"model": torch.nn.Linear(2, 2), "epoch": 1}, r"c\['model'\].state_dict\(\)"),
        ([argparse.Namespace()], "argparse.Namespace"),
    ],
)
def test_a_pickled_network(tmp_path, content, said):
    with pytest.raises(WeightsError, match=said):
        read_content(saved(tmp_path, content))


def test_to_say_what_a_file_holds_runs_no_code(tmp_path):
    class Nasty:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "run"),))

    path = saved(tmp_path, {"model": STATE, "x": Nasty()})
    with pytest.raises(WeightsError, match="'x' is posix"):
        read_content(path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_cut_short_with_more_than_tensors(tmp_path, share, legacy):
    content = {"model": {"w": torch.zeros(500)}, "args": argparse.Namespace(lr=1)}
    path = saved(tmp_path, content, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(WeightsError, match="fetch it again"):
        read_content(path)


KINDS = {
    "empty": (b"", "it is empty"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
    "page": (b"<!DOCTYPE html><html>", "it is a web page"),
    "keras": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    "gzip": (b"\x1f\x8b" + bytes(100), "Unpack it"),
}


@pytest.mark.parametrize(("content", "said"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_no_weights_at_all(tmp_path, content, said, ending):
    path = tmp_path / f"a.{ending}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"cannot be read as weights: .*{said}"):
        read_content(path)


def test_archives_of_other_things(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("inner/resnet50.pth", "x")
    with pytest.raises(WeightsError, match=r"zip archive \(inner/resnet50.pth\).*Unpack it"):
        read_content(tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps(1))
        archive.writestr("a/constants.pkl", pickle.dumps(1))
    with pytest.raises(WeightsError, match="TorchScript"):
        read_content(tmp_path / "a.pth")


@pytest.mark.parametrize("length", range(8))
def test_safetensors_whose_length_begins_as_a_pickle(tmp_path, length):
    names = {f"{'x' * 8 * length}{number}": torch.zeros(1) for number in range(8)}
    for count in range(1, 9):
        some = dict(list(names.items())[:count])
        save_file(some, tmp_path / "a.safetensors")
        assert read_content(tmp_path / "a.safetensors").keys() == some.keys()


def test_the_ending_does_not_matter(tmp_path):
    save_file(STATE, tmp_path / "a.pth")
    assert is_state(found(tmp_path / "a.pth").tensors)
    torch.save(STATE, tmp_path / "a.safetensors")
    assert is_state(found(tmp_path / "a.safetensors").tensors)


WRAPPED = {
    "plain": (STATE, ""),
    "module": (prefixed("module."), "names without 'module.'"),
    "compiled": (prefixed("module._orig_mod."), "names without 'module._orig_mod.'"),
    "of one's own": (prefixed("my.odd.wrapper."), "names without 'my.odd.wrapper.'"),
    "lightning": (
        {"state_dict": prefixed("model."), "epoch": 3},
        "read from ['state_dict']; names without 'model.'",
    ),
    "unheard of": ({"epoch": 3, "a": {"b": STATE}}, "read from ['a']['b']"),
    "with a head": (
        prefixed("encoder.") | {"projector.weight": torch.zeros(2)},
        "names without 'encoder.'; other tensors passed over: projector.weight",
    ),
    "a copy": ({"model": STATE, "ema": STATE}, "read from ['model']"),
    "an average": (
        {"ema": OTHER, "model": STATE},
        "read from ['model']; fitting as well, not used: ['ema']",
    ),
    "beside an optimizer": (
        {"optimizer": {"state": {0: {"step": torch.ones(1), "a": torch.ones(2)}}}, "net": STATE},
        "read from ['net']",
    ),
}


@pytest.mark.parametrize(("content", "note"), WRAPPED.values(), ids=WRAPPED)
def test_where_the_network_lies(tmp_path, content, note):
    network = found(saved(tmp_path, content))
    assert is_state(network.tensors)
    assert network.note == note


@pytest.mark.parametrize(
    "content",
    [
        {"student": STATE, "teacher": OTHER},
        {"state_dict": prefixed("encoder_q.") | prefixed("encoder_k.", OTHER)},
    ],
)
def test_two_networks_are_not_chosen_from(tmp_path, monkeypatch, content):
    with pytest.raises(WeightsError, match="several networks that fit as well") as caught:
        found(saved(tmp_path, content))
    (tmp_path / "NEW").mkdir()
    monkeypatch.chdir(tmp_path)
    exec(str(caught.value).split("`")[1], {"torch": torch})
    assert is_state(found(tmp_path / "NEW" / "a.pth").tensors)


def test_other_values_beside_tensors(tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match="no tensor: 'epoch'") as caught:
        found(saved(tmp_path, {**STATE, "epoch": 3}))
    (tmp_path / "NEW").mkdir()
    monkeypatch.chdir(tmp_path)
    exec(str(caught.value).split("`")[1], {"torch": torch})
    assert is_state(found(tmp_path / "NEW" / "a.pth").tensors)


@pytest.mark.parametrize("content", [{}, {"a": 1}, [1], torch.zeros(2)])
def test_no_tensors_by_name(tmp_path, content):
    with pytest.raises(WeightsError, match="holds no tensors by name, but"):
        found(saved(tmp_path, content))
