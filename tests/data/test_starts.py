"""Starting points by name, and files of the Hub as weights, against the local Hub."""

import hashlib
import json

import hub_server
import pytest
import torch
from hub_server import TOKEN, Fault, Repo
from safetensors.torch import save, save_file
from toys import ToyBackbone

from harness import Access, UsageError, Weights, WeightsError
from harness.data import lock
from harness.data.fetch import fetch_weights
from harness.data.requirements import find_weights, list_requirements, require
from harness.errors import DataError
from harness.utils.hub_address import HubFile
from harness.weights import found_again, load_weights
from harness.weights.starts import Start, beginnings, read_starts

COMMIT, OTHER = "a" * 40, "b" * 40
FILE = "nets/toy.safetensors"


def state(seed):
    torch.manual_seed(seed)
    return ToyBackbone().build(5).state_dict()


BYTES = {seed: save(state(seed)) for seed in (1, 2)}
SHA = {seed: hashlib.sha256(content).hexdigest() for seed, content in BYTES.items()}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    hub = hub_server.running()
    hub.reset({
        "me/toys": Repo(COMMIT, {COMMIT: {FILE: BYTES[1], "small.json": b"{}"}, OTHER: {FILE: BYTES[2]}}),
        "me/closed": Repo(COMMIT, {COMMIT: {FILE: BYTES[1]}}, gated=True),
    })  # fmt: skip
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    return hub


@pytest.fixture
def access(tmp_path):
    return Access(cache=tmp_path / "cache", lock=tmp_path / "harness.lock")


def declaring(hub=None, **more):
    return ToyBackbone(weights=hub and Weights(name="pre", hub=hub), **more)


def started(*texts, where=None, backbone=None, access=None):
    """The one beginning of a backbone with each start, by the start's name."""
    found = beginnings(
        [backbone or declaring()],
        where,
        read_starts(texts),
        lock.read((access or Access()).lock).weights,
    )
    return {one.start: one for one in found}


# -- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (f"hf://me/toys@{COMMIT}/{FILE}", ("me/toys", FILE, COMMIT)),
        ("hf://me/toys/toy.pth", ("me/toys", "toy.pth", "")),
        ("hf://timm/vit_base.augreg_in1k@main/model.safetensors",
         ("timm/vit_base.augreg_in1k", "model.safetensors", "main")),
    ],
)  # fmt: skip
def test_an_address_is_read_and_written(text, parts):
    found = HubFile.read(text)
    assert (found.repo, found.file, found.revision) == parts
    assert str(found) == text
    assert found.pinned == (parts[2] == COMMIT)


@pytest.mark.parametrize(
    "text", ["hf://me", "hf://me/toys", "hf://me/toys@main", "me/toys/f", "hf://me/toys@main/../f", "hf://a b/c/f"]
)  # fmt: skip
def test_what_is_no_address_is_refused(text):
    with pytest.raises(UsageError, match="write hf://ORG/NAME@REVISION/FILE"):
        HubFile.read(text)
    with pytest.raises(ValueError, match="write hf://ORG/NAME@REVISION/FILE"):
        Weights(name="x", hub=text)


# -- fetched, locked, found ----------------------------------------------------------------------


def test_a_branch_is_settled_once_and_then_stays(hub, access, tmp_path):
    backbone = declaring(f"hf://me/toys@main/{FILE}")
    with pytest.raises(WeightsError, match="data fetch --backbones toy"):
        find_weights([backbone], None, access)
    entry = fetch_weights(backbone, access)
    assert (entry.sha256, entry.bytes, entry.revision) == (SHA[1], len(BYTES[1]), COMMIT)
    assert entry.reference == f"hf://me/toys@main/{FILE}"
    hub.repos["me/toys"].revision = OTHER  # the branch moves on
    again = fetch_weights(backbone, access)
    assert again == entry
    found = find_weights(
        [backbone], None, Access(cache=access.cache, lock=access.lock, offline=True)
    )
    assert found["toy"].sha256 == SHA[1]
    assert found["toy"].path == tmp_path / "cache/hub/models--me--toys" / COMMIT / FILE
    assert hub.fetched() == [FILE]
    loaded = load_weights(backbone, 3, found["toy"])
    assert all(torch.equal(loaded.state[name], state(1)[name]) for name in loaded.state)
    assert (loaded.record.name, loaded.record.source) == ("pre", f"hf://me/toys@{COMMIT}/{FILE}")
    (tmp_path / "harness.lock").unlink()
    assert fetch_weights(backbone, access).sha256 == SHA[2]


def test_another_branch_is_not_what_the_lock_settled(hub, access):
    fetch_weights(declaring(f"hf://me/toys@main/{FILE}"), access)
    other = declaring(f"hf://me/toys@old/{FILE}")
    with pytest.raises(WeightsError, match=r"@old/nets/toy\.safetensors, name no commit"):
        find_weights([other], None, access)
    hub.repos["me/toys"].tags["old"] = OTHER
    assert fetch_weights(other, access).revision == OTHER


def test_a_worker_elsewhere_finds_a_start_in_its_own_cache(hub, access, tmp_path, monkeypatch):
    starts = read_starts([f"mine=hf://me/toys@{COMMIT}/{FILE}"])
    fetch_weights(declaring(), access, starts[0])
    (found,) = find_weights([declaring()], None, access, starts).values()
    (tmp_path / "cache").rename(tmp_path / "there")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "there"))
    again = found_again(declaring(), found)
    assert again.path.is_relative_to(tmp_path / "there")
    assert again.sha256 == SHA[1]


def test_the_lock_holds_the_bytes(hub, access):
    backbone = declaring(f"hf://me/toys@{COMMIT}/{FILE}")
    fetch_weights(backbone, access)
    (place,) = access.cache.rglob("toy.safetensors")
    place.write_bytes(BYTES[2])
    for call in (
        lambda: find_weights([backbone], None, access),
        lambda: fetch_weights(backbone, access),
    ):
        with pytest.raises(
            WeightsError, match=f"has sha256 {SHA[2]}, but the lock file pins {SHA[1]} for toy"
        ):
            call()
    # Another address is no matter of that entry.
    other = declaring(f"hf://me/toys@{OTHER}/{FILE}")
    assert fetch_weights(other, access).sha256 == SHA[2]


def test_what_is_not_here_is_asked_for_with_one_command(hub, access):
    texts = [f"mine=hf://me/toys/{FILE}", f"old=hf://me/toys@{OTHER}/{FILE}", "none"]
    needs = list_requirements({}, [declaring()], None, access, starts=read_starts(texts))
    assert [(need.name, need.ready, need.fetchable) for need in needs] == [
        ("toy@mine", False, True), ("toy@old", False, True),
    ]  # fmt: skip
    with pytest.raises(DataError) as error:
        require("s", needs, access)
    last = str(error.value).splitlines()[-1]
    assert last.strip() == (
        f"harness data fetch --backbones toy --starts {texts[0]},{texts[1]} --lock {access.lock}"
    )
    assert "unpinned: fetching settles" in str(error.value)
    assert hub.requests == []


def test_weights_are_a_folder_and_a_file_of_the_hub_is_a_start(hub, access):
    with pytest.raises(WeightsError, match=f"--starts mine=hf://me/toys/{FILE}"):
        find_weights([declaring()], f"hf://me/toys/{FILE}", access)


def test_offline_nothing_is_fetched(hub, access):
    away = Access(cache=access.cache, lock=access.lock, offline=True)
    for address in (f"hf://me/toys/{FILE}", f"hf://me/toys@{COMMIT}/{FILE}"):
        with pytest.raises(WeightsError, match="offline nothing is"):
            fetch_weights(declaring(address), away)
    assert hub.requests == []


def test_a_closed_repository_says_what_to_do_and_opens_with_a_token(hub, access, monkeypatch):
    backbone = declaring(f"hf://me/closed/{FILE}")
    with pytest.raises(WeightsError) as error:
        fetch_weights(backbone, access)
    assert str(error.value) == (
        f"hf://me/closed/{FILE} is gated: accept its terms at https://huggingface.co/me/closed, log in "
        "with 'hf auth login' or set HF_TOKEN, then fetch it again"
    )
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert fetch_weights(backbone, access).sha256 == SHA[1]


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("hf://me/nothing/f.pth", "me/nothing does not exist on the Hub, or is private"),
        ("hf://me/toys@v9/f.pth", "me/toys has no revision v9"),
        ("hf://me/toys/f.pth", "me/toys has no such file"),
    ],
)
def test_what_is_not_there_is_named(hub, access, address, told):
    with pytest.raises(WeightsError, match=told):
        fetch_weights(declaring(address), access)


def test_other_bytes_than_the_hub_lists_are_not_kept(hub, access):
    hub.faults.append(Fault(FILE, "flip"))
    with pytest.raises(
        WeightsError, match=rf"arrived with sha256 \w+, not {SHA[1]}; it was not kept"
    ):
        fetch_weights(declaring(f"hf://me/toys/{FILE}"), access)
    assert [one for one in access.cache.rglob("*toy*") if one.is_file()] == []
    hub.faults.clear()
    assert fetch_weights(declaring(f"hf://me/toys/{FILE}"), access).sha256 == SHA[1]


def test_a_pickle_of_objects_is_never_opened(hub, access, tmp_path):
    torch.save({"model": ToyBackbone().build(3)}, tmp_path / "whole.pth")
    hub.repos["me/toys"].revisions[COMMIT]["whole.pth"] = (tmp_path / "whole.pth").read_bytes()
    backbone = declaring("hf://me/toys/whole.pth")
    fetch_weights(backbone, access)
    with pytest.raises(WeightsError, match="to read such a file is to run code"):
        find_weights([backbone], None, access)


def test_the_command_fetches_starts(hub, tmp_path, harness_cli):
    text = f"mine=hf://me/toys/{FILE}"
    told = harness_cli(
        "-p", "toy_plugin", "data", "fetch", "--backbones", "toy", "--starts", f"{text},none",
        "--lock", tmp_path / "l",
    ).stdout  # fmt: skip
    assert (
        f"toy@mine: toy.safetensors, {len(BYTES[1]) / 1000:.3g} kB, sha256 {SHA[1]}, revision {COMMIT}"
        in told
    )
    assert json.loads((tmp_path / "l").read_text())["weights"]["toy@mine"]["reference"] == text[5:]
    assert list(lock.read(tmp_path / "l").weights) == ["toy@mine"]
    # From now on the name alone says it.
    access = Access(lock=tmp_path / "l", offline=True)
    found = find_weights([declaring()], None, access, read_starts(["mine"]))
    assert found["toy@mine"].sha256 == SHA[1]
    alone = harness_cli("data", "fetch", "--starts", "none", "demo-mri", exit_code=2)
    assert "--starts is of backbones" in alone.output


# -- names ---------------------------------------------------------------------------------------


def test_names_are_read():
    assert read_starts(["imagenet", "mine=hf://a/b/c", "imagenet"]) == (
        Start("imagenet"), Start("mine", "hf://a/b/c"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["Mine"], "write NAME or NAME=SOURCE"),
        (["a@b"], "write NAME or NAME=SOURCE"),
        (["mine="], "write NAME or NAME=SOURCE"),
        (["none=hf://a/b/c"], "none is known already"),
        (["imagenet=x.pth"], "imagenet is known already"),
        (["mine=hf://a"], "write hf://ORG/NAME@REVISION/FILE"),
        (["a=hf://a/b/c", "a=hf://a/b/d"], "one name for two starting points"),
    ],
)
def test_names_that_are_none(texts, told):
    with pytest.raises(UsageError, match=told):
        read_starts(texts)


def published(tmp_path, *names):
    for number, name in enumerate(names):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(state(10 + number), path)


def test_a_name_is_a_folder_of_the_folder_of_weights(tmp_path):
    published(tmp_path, "rad/toy.safetensors", "toy.safetensors")
    found = started("rad", "default", "none", where=str(tmp_path))
    assert found["rad"].backbone.weights.file == str(tmp_path / "rad/toy.safetensors")
    assert (found["rad"].where, found["default"].where, found["none"].where) == (
        None,
        str(tmp_path),
        "none",
    )
    files = find_weights(
        [declaring()], str(tmp_path), Access(), read_starts(["rad", "default", "none"])
    )
    assert [(name, file and file.path) for name, file in files.items()] == [
        ("toy@rad", tmp_path / "rad/toy.safetensors"),
        ("toy@default", tmp_path / "toy.safetensors"),
        ("toy@none", None),
    ]


def test_a_name_is_given_its_file_or_folder(tmp_path):
    published(tmp_path, "x/toy.safetensors", "of-toy.safetensors")
    found = started(f"a={tmp_path}/x", f"b={tmp_path}/of-{{backbone}}.safetensors")
    assert [one.backbone.weights.file for one in found.values()] == [
        str(tmp_path / "x/toy.safetensors"), str(tmp_path / "of-toy.safetensors"),
    ]  # fmt: skip
    assert [start.recorded for start in read_starts([f"a={tmp_path}", "b=hf://a/b/c"])] == [
        "a", "b=hf://a/b/c",
    ]  # fmt: skip


def test_a_backbone_declares_further_starts_and_has_its_own(access):
    rad = Weights(name="RAD", hub=f"hf://me/toys@{COMMIT}/{FILE}")
    usual = Weights(name="IMAGENET1K_V2", enum="ResNet50_Weights.IMAGENET1K_V2")
    backbone = ToyBackbone(weights=usual, starts=(("rad", rad),))
    found = started("imagenet", "default", "rad", backbone=backbone, access=access)
    assert [one.backbone.weights.name for one in found.values()] == [
        "IMAGENET1K_V2",
        "IMAGENET1K_V2",
        "RAD",
    ]
    assert [one.key for one in found.values()] == ["toy", "toy", "toy@rad"]


@pytest.mark.parametrize("name", ["IMAGENET1K_V1", "augreg_in21k_ft_in1k", "r160_in1k", "fb_in22k"])
def test_imagenet_is_what_was_trained_on_it(name):
    backbone = ToyBackbone(weights=Weights(name=name, file="x"))
    assert started("imagenet", backbone=backbone)["imagenet"].where is None


@pytest.mark.parametrize(
    ("weights", "start", "told"),
    [
        (None, "imagenet", r"start imagenet is not known for toy \(toy declares no weights\)"),
        (
            Weights(name="openai", file="x"),
            "imagenet",
            r"\(toy declares 'openai'\); there are: none, default",
        ),
        (None, "rad", r"start rad is not known for toy \(no --weights FOLDER is given\)"),
    ],
)
def test_a_start_that_there_is_not(weights, start, told):
    with pytest.raises(WeightsError, match=told):
        started(start, backbone=ToyBackbone(weights=weights))


def test_all_that_is_missing_is_told_at_once(tmp_path):
    published(tmp_path, "radimagenet/toy.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError) as error:
        started("radimagent", "empty", f"f={tmp_path}/gone.pth", "none", where=str(tmp_path))
    first, second, third = str(error.value).splitlines()
    assert "did you mean 'radimagenet'" in first
    assert "has no weights for toy: put toy.safetensors or toy.pth there" in second
    assert "there is no file or folder" in third
    with pytest.raises(WeightsError, match="no such folder"):
        started("rad", where=str(tmp_path / "nowhere"))


def test_a_miniature_has_no_weights_under_a_name_that_is_not_its_own(tmp_path):
    published(tmp_path, "rad/other.safetensors")
    mini = ToyBackbone(miniature=True, weights=Weights(name="packaged", file="x"))
    with pytest.raises(WeightsError, match="rad has no weights for toy"):
        started("rad", where=str(tmp_path), backbone=mini)


def test_two_names_for_one_file_are_refused(tmp_path):
    published(tmp_path, "a/toy.safetensors")
    starts = read_starts([f"x={tmp_path}/a", "none", f"y={tmp_path}/a/toy.safetensors"])
    with pytest.raises(WeightsError, match=r"starts toy@x and toy@y: .* is both; leave one out"):
        find_weights([declaring()], None, Access(), starts)


def test_a_file_of_another_network_is_refused_before_anything_runs(tmp_path):
    save_file({"a.weight": torch.zeros(2, 2)}, tmp_path / "toy.safetensors")
    with pytest.raises(WeightsError, match="does not fit toy"):
        find_weights([declaring()], None, Access(), read_starts([f"x={tmp_path}"]))
