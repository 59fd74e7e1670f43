"""Setups that travel to a worker: small, and what they say lies elsewhere is found or made there."""

import pickle
import shutil
from dataclasses import replace

import pytest
from places import TOY
from toy_plugin import PROTOCOL, ToyDataset
from toys import ToyBackbone, toy_images

from harness import Access, DataError, Outcome, WeightsError
from harness.api.backbone import Weights
from harness.benchmark.launch import executor
from harness.benchmark.launch.executor import WorkerSetup
from harness.benchmark.launch.places import Declaration, ImagesPlace
from harness.data.division.split import Division
from harness.data.preparation.prepare import prepare_dataset
from harness.weights import WeightsFile, found_again


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Images of a dataset in a cache, as the caller has them; another machine has another cache."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "caller"))
    prepared = prepare_dataset(ToyDataset(), PROTOCOL, Access())
    record = prepared.images.record.model_copy(update={"split_file": "splits/of-the-caller.json"})
    declared = Declaration(
        ToyDataset(), PROTOCOL, Access(), None, Division(PROTOCOL.split_seed),
        prepared.fingerprint, record, {},
    )  # fmt: skip
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "worker"))
    return ImagesPlace(replace(prepared.images, record=record), declared)


def sent(place):
    content = pickle.dumps(place)
    assert len(content) < 12_000  # 48 images of 192 bytes are 9,216 by themselves
    return pickle.loads(content)


def test_images_are_mapped_where_they_lie(place, tmp_path):
    there = sent(place).open()
    assert str(tmp_path / "caller") in str(there.images["train"].filename)
    assert (there.images["test"] == place.open().images["test"]).all()
    assert there.record.split_file == "splits/of-the-caller.json"
    assert not (tmp_path / "worker").exists()


def test_images_that_do_not_lie_there_are_made_of_their_declaration(place, tmp_path):
    content, mine = pickle.dumps(place), place.open().images["test"].copy()
    (tmp_path / "caller").rename(tmp_path / "gone")
    there = pickle.loads(content).open()
    assert str(tmp_path / "worker") in str(there.images["train"].filename)
    assert (there.images["test"] == mine).all()
    assert there.record.split_file == "splits/of-the-caller.json"


def test_other_data_are_no_data(place, tmp_path):
    other = replace(place._declared, fingerprint="e" * 64)
    content = pickle.dumps(ImagesPlace(place.open(), other))
    (tmp_path / "caller").rename(tmp_path / "gone")
    with pytest.raises(
        DataError, match=r"is other data than the caller's: fingerprint .*, not e{12}"
    ):
        pickle.loads(content).open()


def test_a_dataset_that_cannot_be_sent_needs_a_shared_cache(place, tmp_path):
    class Unsendable(ToyDataset):
        """Its class is nowhere to be imported."""

    declared = replace(place._declared, dataset=Unsendable())
    content = pickle.dumps(ImagesPlace(place.open(), declared))
    assert pickle.loads(content).open().classes == ("left", "middle", "right")
    shutil.rmtree(tmp_path / "caller")
    with pytest.raises(
        DataError, match="cannot be sent to it: let all machines share HARNESS_CACHE"
    ):
        pickle.loads(content).open()


def test_weights_are_found_by_their_bytes(tmp_path):
    import hashlib

    there, shipped = tmp_path / "there.pth", tmp_path / "shipped.pth"
    shipped.write_bytes(b"weights")
    backbone = ToyBackbone(weights=Weights(name="toy", file=str(shipped)))
    file = WeightsFile(there, hashlib.sha256(b"weights").hexdigest(), backbone.weights)
    assert found_again(backbone, file).path == shipped
    there.write_bytes(b"weights")
    assert found_again(backbone, file).path == there
    there.write_bytes(b"others")
    shipped.write_bytes(b"others")
    with pytest.raises(
        WeightsError, match=r"the weights of toy \(sha256 .*\) are not on .*: looked"
    ):
        found_again(backbone, file)


def test_the_environment_of_a_record_is_the_worker_s(monkeypatch):
    """The same setup, opened elsewhere: what is written about the machine is of there."""
    from toys import toy_run

    from harness import Task
    from harness.benchmark.listeners.events import Group
    from harness.plugins.registry import load_plugins

    spec, _ = toy_run(load_plugins().strategies["full-ft"]())
    key = Group.of(spec).images
    setup = WorkerSetup("toy", {key: ImagesPlace(toy_images())}, {"toy": None}, plugins=(TOY,))
    there = pickle.loads(pickle.dumps(setup))
    monkeypatch.setattr(executor, "device_name", lambda device: f"{device} of the worker")
    outcome = there.open().run(Task(spec), lambda event, value: pickle.dumps(value))
    assert isinstance(outcome, Outcome)
    assert outcome.result.status == "ok", outcome.result.error
    assert outcome.result.environment.device == "cpu of the worker"
