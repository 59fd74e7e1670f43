"""Fetching: locked, verified, resumed; and every way the Hub or the line to it can fail."""

import errno
import hashlib
import threading
import time

import hub_server
import pytest
from hub_server import TOKEN, Fault, Repo, parquet, picture

from harness import Access, Backbone, DataError, HubDataset, Weights, WeightsError
from harness.data import fetch as fetching
from harness.data.fetch import PARTS, check_weights, fetch_dataset, fetch_weights
from harness.data.lock import LockedWeights, read, update
from harness.data.requirements import find_weights
from harness.plugins.registry import load_plugins
from harness.utils.progress import Meter, size_of
from harness.utils.text import megabytes
from harness.weights import WeightsFile
from harness.weights.starts import beginnings
from harness_brain_tumor import BRAIN_TUMOR
from harness_chest_xray import CHEST_XRAY
from harness_ham10000 import HAM10000

SHARDS = sorted(
    path
    for path in hub_server.tiny_repos()[CHEST_XRAY.repo].revisions[CHEST_XRAY.revision]
    if path.startswith("data/")
)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    hub = hub_server.running()
    hub.reset(hub_server.tiny_repos())
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    return hub


@pytest.fixture
def impatient(monkeypatch):
    """Waits between attempts are cut short, and so is patience with a line that is silent."""
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))


@pytest.fixture
def access(tmp_path):
    return Access(cache=tmp_path / "cache", lock=tmp_path / "harness.lock")


def fetch(dataset, access):
    return fetch_dataset(dataset, access, Meter(live=False))


def refused(dataset, access):
    with pytest.raises(DataError) as caught:
        fetch(dataset, access)
    message = str(caught.value)
    assert "\n" not in message
    assert f"'{dataset.name}'" in message
    return message


def in_place(access):
    """Names of the parquet files that lie where the dataset is read from."""
    folder = CHEST_XRAY.folder(access, CHEST_XRAY.revision)
    return {path.name for path in folder.rglob("*.parquet")}


def parts(access):
    """Parts that have come so far of files: path in the repository -> its place."""
    folder = CHEST_XRAY.folder(access, CHEST_XRAY.revision)
    staging = folder.parent / PARTS / folder.name
    found = [path for path in staging.rglob("*") if path.is_file()]
    return {path.relative_to(staging).as_posix(): path for path in found}


def left_over(access):
    """Everything in the place of a dataset's files that is none of them in full."""
    found = [path for path in (access.cache / "hub").rglob("*") if path.is_file()]
    return [
        path.name
        for path in found
        if PARTS not in path.parts
        and path.suffix not in {".parquet", ".zip", ".jpeg", ".jpg"}
        and path.name not in {"fetched.json", ".lock"}
    ]


# -- what a fetch leaves behind ---------------------------------------------------------------


def test_files_lie_in_place_and_the_lock_says_what_they_are(hub, access):
    entry = fetch(CHEST_XRAY, access)

    served = hub.repos[CHEST_XRAY.repo].revisions[CHEST_XRAY.revision]
    assert [file.path for file in entry.files] == SHARDS
    for file in entry.files:
        assert file.sha256 == hashlib.sha256(served[file.path]).hexdigest()
        assert file.bytes == len(served[file.path])
        place = CHEST_XRAY.folder(access, entry.revision) / file.path
        assert place.read_bytes() == served[file.path]
    assert read(access.lock).datasets == {"chest-xray-pneumonia": entry}
    assert entry.revision == CHEST_XRAY.revision
    assert left_over(access) == []


def test_a_second_call_asks_nothing_of_the_network(hub, access):
    first = fetch(CHEST_XRAY, access)
    hub.requests.clear()

    assert fetch(CHEST_XRAY, access) == first
    assert hub.requests == []


def test_offline_a_fetch_only_checks(hub, access):
    fetch(CHEST_XRAY, access)
    hub.requests.clear()
    offline = Access(cache=access.cache, lock=access.lock, offline=True)

    assert fetch(CHEST_XRAY, offline).revision == CHEST_XRAY.revision
    message = refused(HAM10000, offline)
    assert "offline nothing is fetched" in message
    assert "'harness data fetch ham10000' with a network" in message
    assert hub.requests == []


def test_an_unpinned_dataset_is_settled_once(hub, access):
    before = hub.repos[BRAIN_TUMOR.repo]
    first = fetch(BRAIN_TUMOR, access).revision
    newer = Repo("f" * 40, before.revisions | {"f" * 40: before.revisions[first]})
    hub.repos[BRAIN_TUMOR.repo] = newer

    assert fetch(BRAIN_TUMOR, access).revision == first == before.revision
    elsewhere = Access(cache=access.cache / "empty", lock=access.lock)
    assert fetch(BRAIN_TUMOR, elsewhere).revision == first
    access.lock.unlink()
    assert fetch(BRAIN_TUMOR, access).revision == "f" * 40


def test_a_lock_of_an_older_pin_is_brought_up_to_the_plugins(hub, access):
    old = fetch(HAM10000, access).model_copy(update={"revision": "0" * 40})
    update(access.lock, datasets={"ham10000": old})

    assert fetch(HAM10000, access).revision == HAM10000.revision
    assert read(access.lock).datasets["ham10000"].revision == HAM10000.revision


def test_small_files_are_held_against_gits_hash(hub, access):
    files = {f"{'ab'[n % 2]}/{n}.jpeg": picture(n % 2, n) for n in range(4)}
    hub.repos["made/up"] = Repo.of(files)
    dataset = HubDataset(name="made-up", modality="mri", repo="made/up", files={"train": ("*",)})
    hub.faults = [Fault("b/3.jpeg", "flip", times=1)]

    assert "b/3.jpeg of made/up arrived with git hash" in refused(dataset, access)
    assert len(fetch(dataset, access).files) == 4


def test_two_at_once_fetch_once(hub, access):
    threads = [threading.Thread(target=fetch, args=(CHEST_XRAY, access)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert read(access.lock).datasets["chest-xray-pneumonia"].bytes > 0
    assert sorted(hub.fetched()) == SHARDS
    assert left_over(access) == []


# -- what the Hub refuses ---------------------------------------------------------------------


def test_a_missing_revision(hub, access):
    gone = HAM10000.model_copy(update={"revision": "0" * 40})
    message = refused(gone, access)

    assert f"marmal88/skin_cancer has no revision {'0' * 40}" in message
    assert "correct 'revision'" in message


def test_a_missing_repository(hub, access):
    message = refused(HAM10000.model_copy(update={"repo": "no/body"}), access)
    assert "no/body does not exist on the Hub, or is private" in message


def test_a_missing_file(hub, access):
    message = refused(HAM10000.model_copy(update={"files": {"train": ("data/dev-*",)}}), access)

    assert "has no file data/dev-*" in message
    assert "data/train-00000-of-00002-aaaa.parquet" in message


def test_a_file_that_is_listed_but_gone(hub, access):
    hub.faults = [Fault(SHARDS[0], "gone")]
    assert f"the Hub lists {SHARDS[0]} but does not have it" in refused(CHEST_XRAY, access)


def test_a_gated_dataset_opens_with_a_token(hub, access, monkeypatch):
    hub.repos[HAM10000.repo] = Repo.of(hub_server.ham10000(), HAM10000.revision, gated=True)
    message = refused(HAM10000, access)
    assert "marmal88/skin_cancer is gated: accept its terms at https://huggingface.co/" in message
    assert "hf auth login" in message
    assert left_over(access) == []
    assert not access.lock.exists()

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert fetch(HAM10000, access).bytes > 0


def test_a_path_that_leads_out_is_refused(hub, access, tmp_path):
    hub.repos["made/up"] = Repo.of({"../../../../evil.parquet": b"x"})
    dataset = HubDataset(name="made-up", modality="mri", repo="made/up", files={"train": ("*",)})

    assert "no path inside a repository" in refused(dataset, access)
    assert not list(tmp_path.rglob("evil*"))


# -- a line that fails ------------------------------------------------------------------------


def test_a_download_that_is_cut_is_resumed(hub, access, impatient):
    hub.faults = [Fault(SHARDS[1], "cut", times=1), Fault(SHARDS[2], "reset", times=1)]
    entry = fetch(CHEST_XRAY, access)

    assert [file.path for file in entry.files] == SHARDS
    assert hub.fetched().count(SHARDS[1]) == 2


def test_a_line_that_goes_silent_is_resumed(hub, access, impatient, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 1)
    hub.faults = [Fault(SHARDS[1], "stall", times=1)]

    assert len(fetch(CHEST_XRAY, access).files) == 4
    assert hub.fetched().count(SHARDS[1]) >= 2


@pytest.mark.parametrize("kind", ["cut", "reset", "status"])
def test_a_line_that_stays_broken_is_one_message_and_no_half_file(hub, access, kind, impatient):
    hub.faults = [Fault(SHARDS[2], kind)]
    message = refused(CHEST_XRAY, access)

    assert f"{SHARDS[2]} of revision {CHEST_XRAY.revision} could not be fetched" in message
    assert "'harness data fetch chest-xray-pneumonia' again; what has come is kept" in message
    assert left_over(access) == []
    assert not CHEST_XRAY.at_hand(access)
    assert not access.lock.exists()

    kept = in_place(access)
    assert len(kept) >= 2
    hub.faults.clear()
    hub.requests.clear()
    fetch(CHEST_XRAY, access)
    assert not kept & {path.rpartition("/")[2] for path in hub.fetched()}


def test_a_server_that_stops_half_way(hub, access, impatient):
    hub.files_left = 2
    message = refused(CHEST_XRAY, access)
    assert "could not be fetched" in message
    assert left_over(access) == []
    assert not CHEST_XRAY.at_hand(access)
    kept = in_place(access)
    assert len(kept) == 2

    hub.files_left = None
    hub.requests.clear()
    assert len(fetch(CHEST_XRAY, access).files) == 4
    assert not kept & {path.rpartition("/")[2] for path in hub.fetched()}
    assert len(CHEST_XRAY.load(access)["train"]) == 30


def test_a_server_that_is_not_there(access, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    message = refused(HAM10000, access)

    assert "could not be fetched (" in message
    assert "refused" in message
    assert "see to the network" in message


@pytest.fixture
def half_way(hub, access, impatient, monkeypatch):
    """A call that ended in the middle of a file; gives how much of that file has come."""
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    hub.faults = [Fault(SHARDS[2], "cut", times=1), Fault(SHARDS[2], "reset")]
    refused(CHEST_XRAY, access)
    hub.faults.clear()
    hub.requests.clear()
    hub.ranges.clear()
    return parts(access)[SHARDS[2]].stat().st_size


def test_the_next_call_goes_on_in_the_middle_of_a_file(hub, access, half_way):
    served = hub.repos[CHEST_XRAY.repo].revisions[CHEST_XRAY.revision][SHARDS[2]]
    assert 0 < half_way < len(served)

    fetch(CHEST_XRAY, access)
    assert hub.ranges == [(SHARDS[2], f"bytes={half_way}-")]
    place = CHEST_XRAY.folder(access, CHEST_XRAY.revision) / SHARDS[2]
    assert place.read_bytes() == served
    assert parts(access) == {}


@pytest.mark.parametrize("length", ["as it was", "too long"])
def test_a_part_that_is_damaged_is_fetched_anew_at_once(hub, access, half_way, length):
    part = parts(access)[SHARDS[2]]
    part.write_bytes(bytes(half_way if length == "as it was" else 1_000_000))

    assert len(fetch(CHEST_XRAY, access).files) == 4
    assert set(hub.fetched()) == {SHARDS[2], *(set(hub.fetched()) & {SHARDS[3]})}
    assert len(CHEST_XRAY.load(access)["train"]) == 30


def test_what_was_begun_at_another_revision_is_cleared(hub, access):
    other = CHEST_XRAY.folder(access, "x").parent / PARTS / ("0" * 40) / "data"
    other.mkdir(parents=True)
    (other / "half.parquet").write_bytes(b"x")
    fetch(CHEST_XRAY, access)

    assert not (CHEST_XRAY.folder(access, "x").parent / PARTS).exists()


def test_a_disk_that_fills_up_is_one_message_and_the_next_call_goes_on(
    hub, access, half_way, monkeypatch
):
    def full(url, stream, **_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.file_download.http_get", full)
        with pytest.raises(DataError, match=r"hub cannot be written \(.*No space left") as caught:
            fetch(CHEST_XRAY, access)
    assert "set HARNESS_CACHE" in str(caught.value)
    assert parts(access)[SHARDS[2]].stat().st_size == half_way
    assert not CHEST_XRAY.at_hand(access)

    assert len(fetch(CHEST_XRAY, access).files) == 4


def test_a_cache_below_a_file_is_told(hub, tmp_path):
    (tmp_path / "file").write_text("")
    access = Access(cache=tmp_path / "file" / "cache", lock=tmp_path / "harness.lock")
    with pytest.raises(DataError, match=r"hub cannot be written .*set HARNESS_CACHE"):
        fetch(CHEST_XRAY, access)
    assert hub.fetched() == []


# -- bytes that are not what they should be ---------------------------------------------------


def test_a_byte_that_changes_on_the_way_is_refused_by_name(hub, access):
    hub.faults = [Fault(SHARDS[3], "flip")]
    message = refused(CHEST_XRAY, access)

    assert f"{SHARDS[3]} of hf-vision/chest-xray-pneumonia arrived with sha256" in message
    assert "it was not kept" in message
    assert SHARDS[3].rpartition("/")[2] not in in_place(access)
    assert SHARDS[3] not in parts(access)
    hub.faults.clear()
    assert len(fetch(CHEST_XRAY, access).files) == 4


def test_a_source_that_changed_under_the_same_revision_is_refused(hub, access, tmp_path):
    fetch(CHEST_XRAY, access)
    files = hub.repos[CHEST_XRAY.repo].revisions[CHEST_XRAY.revision]
    changed = files | {SHARDS[0]: files[SHARDS[0]] + b"x"}
    hub.repos[CHEST_XRAY.repo] = Repo.of(changed, CHEST_XRAY.revision)
    elsewhere = Access(cache=tmp_path / "other", lock=access.lock)

    message = refused(CHEST_XRAY, elsewhere)
    assert SHARDS[0] in message
    assert "as the lock file pins it" in message


def test_a_changed_byte_on_disk_is_refused_by_load_and_healed_by_fetch(hub, access):
    entry = fetch(CHEST_XRAY, access)
    place = CHEST_XRAY.folder(access, entry.revision) / SHARDS[0]
    sound = place.read_bytes()
    place.write_bytes(sound[:-5] + b"12345")
    with pytest.raises(DataError, match=place.name):
        CHEST_XRAY.load(access)
    hub.requests.clear()

    assert fetch(CHEST_XRAY, access) == entry
    assert place.read_bytes() == sound
    assert hub.fetched() == [SHARDS[0]]


# -- weights ----------------------------------------------------------------------------------


class Net(Backbone):
    name: str = "net"
    stages: tuple[str, ...] = ("stem", "head")
    weights: Weights | None = Weights(name="V1", enum="Net_Weights.V1", source="torchvision")

    def build(self, classes):
        raise NotImplementedError


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A published file of `net`, found where torchvision would put it."""
    path = tmp_path / "net-0123abcd.pth"
    path.write_bytes(b"weights")

    def find(backbone, where=None, *, offline=False):
        return WeightsFile(path, hashlib.sha256(path.read_bytes()).hexdigest(), backbone.weights)

    monkeypatch.setattr(fetching.weights, "find_weights", find)
    return path


def test_weights_are_locked_too(weights, access):
    fetch_weights(Net(), access)

    assert read(access.lock).weights == {
        "net": LockedWeights(
            file="net-0123abcd.pth",
            sha256=hashlib.sha256(b"weights").hexdigest(),
            bytes=7,
            source="torchvision",
        )
    }


def test_other_weights_than_the_locked_are_refused_by_name(weights, access):
    fetch_weights(Net(), access)
    weights.write_bytes(b"changed")

    for call in (
        lambda: fetch_weights(Net(), access),
        lambda: find_weights([Net()], None, access),
    ):
        with pytest.raises(
            WeightsError, match=r"net-0123abcd\.pth has sha256 .* the lock file pins"
        ):
            call()
    # A file of one's own is not the lock's business: only that it holds weights.
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        find_weights([Small()], str(weights.parent), access)


class Small(Net):
    def build(self, classes):
        from torch import nn

        model = nn.Sequential()
        model.add_module("stem", nn.Linear(2, 2))
        model.add_module("head", nn.Linear(2, classes))
        return model


def test_a_lock_that_names_no_weights_says_nothing_about_them(access, tmp_path):
    (one,) = beginnings([Net()], None, (), read(access.lock).weights)
    check_weights(read(access.lock), one, tmp_path / "x", "0" * 64)


# -- the command ------------------------------------------------------------------------------


def test_the_command_fetches_by_name_and_glob(hub, access, tmp_path, harness_cli):
    lock = tmp_path / "my.lock"
    done = harness_cli("data", "fetch", "ham*", "brain-tumor-classification", "--lock", lock)

    served = hub.repos[HAM10000.repo].revisions[HAM10000.revision]
    kb = sum(len(content) for path, content in served.items() if path.endswith(".parquet")) / 1e3
    said = f"ham10000: 4 files, {kb:.1f} kB, CC-BY-NC-4.0, revision {HAM10000.revision}"
    assert said in done.stdout
    assert f"locked in {lock}" in done.stdout
    assert "ham10000: 4 files" in done.stderr
    assert set(read(lock).datasets) == {"ham10000", "brain-tumor-classification"}


def test_one_that_fails_does_not_stop_the_others(hub, tmp_path, harness_cli):
    hub.repos.pop(HAM10000.repo)
    done = harness_cli("data", "fetch", "ham10000", "chest*", "--lock", tmp_path / "l", exit_code=2)

    assert "does not exist on the Hub" in done.stderr
    assert "Traceback" not in done.output
    assert list(read(tmp_path / "l").datasets) == ["chest-xray-pneumonia"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "name datasets (`harness list datasets`), or give --suite or --backbones"),
        (["ham1000"], "unknown dataset 'ham1000'; did you mean 'ham10000'"),
        (["--suite", "paper-2042"], "did you mean 'paper-2024'"),
        (["--backbones", "resnet51"], "did you mean 'resnet50'"),
        (["breakhis-40x"], "get it from https://web.inf.ufpr.br"),
        (["demo-xray"], "dataset 'demo-xray' needs no fetching: drawn by harness_demo"),
        (["ham10000", "--offline"], "offline nothing is fetched"),
        (["--backbones", "resnet50", "--offline"], "resnet50-11ad3fa6.pth"),
    ],
)
def test_what_cannot_be_fetched_is_told(args, message, hub, tmp_path, monkeypatch, harness_cli):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "torch"))
    done = harness_cli("data", "fetch", *args, "--lock", tmp_path / "l", exit_code=2)

    assert message in done.stderr
    assert hub.requests == []


def test_a_suite_brings_data_and_weights_with_one_command(hub, weights, tmp_path, harness_cli):
    done = harness_cli("data", "fetch", "--suite", "paper-2024", "--lock", tmp_path / "l")

    locked = read(tmp_path / "l")
    suite = load_plugins().suites["paper-2024"]
    assert set(locked.datasets) == set(suite.datasets)
    assert set(locked.weights) == set(suite.backbones)
    assert (
        f"vgg19: net-0123abcd.pth, 7 bytes, sha256 {locked.weights['vgg19'].sha256}" in done.stdout
    )


def test_a_suite_without_published_parts_needs_nothing(hub, tmp_path, harness_cli):
    done = harness_cli("data", "fetch", "--suite", "demo", "--lock", tmp_path / "l")

    assert done.stdout == "nothing to fetch\n"


def test_a_suite_file_may_be_named(hub, tmp_path, harness_cli):
    suite = tmp_path / "s.toml"
    suite.write_text('extends = "demo"\nweights = "none"\ndatasets = ["ham10000", "demo-xray"]\n')
    harness_cli("data", "fetch", "--suite", suite, "--lock", tmp_path / "l")

    assert list(read(tmp_path / "l").datasets) == ["ham10000"]


# -- progress ---------------------------------------------------------------------------------


def test_a_log_gets_a_line_now_and_then(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("harness.utils.progress.LINE_EVERY", 0.01)
    (tmp_path / "half").write_bytes(b"x" * 2000)
    told = threading.Event()

    class Watched(Meter):
        def say(self, text):
            super().say(text)
            if text.startswith("set: 1 of 2 files"):
                told.set()

    meter = Watched(live=False)
    with meter.watching("set", tmp_path, 2, 10_000):
        meter.add(3000)
        assert told.wait(60)

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "set: 2 files, 10 kB"
    assert lines[-1].startswith("set: 1 of 2 files, 5 kB of 10 kB, ")


def test_a_terminal_gets_a_bar_that_goes_away(tmp_path, capsys, monkeypatch):
    from rich.progress import Progress

    shown = threading.Event()
    update = Progress.update

    def watched(self, task, **values):
        update(self, task, **values)
        self.refresh()
        shown.set()

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("harness.utils.progress.EVERY", 0.01)
    monkeypatch.setattr(Progress, "update", watched)
    with Meter(live=True).watching("set", tmp_path, 2, 10_000):
        assert shown.wait(60)

    line, bar = capsys.readouterr().err.split("\n", 1)
    assert line == "set: 2 files, 10 kB"
    assert "set: 0 of 2 files" in bar
    assert bar.endswith("\x1b[2K")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1500, "1.5 kB"),
        (98_100_000, "98.1 MB"),
        (1.2e10, "12 GB"),
    ],
)
def test_sizes_for_people(size, text):
    assert megabytes(size) == text


def test_a_folder_that_is_not_there_has_no_size(tmp_path):
    assert size_of(tmp_path / "nothing") == 0


def test_a_parquet_of_the_server_is_one():
    """The server's own files are sound: what the tests above hold the code against."""
    import datasets

    data = parquet(
        [{"image": {"bytes": picture(0, 0), "path": "x.jpg"}, "label": 0}],
        label=datasets.Value("int64"),
    )
    assert data[:4] == data[-4:] == b"PAR1"
