"""docs/add-a-hub-dataset.md, from top to bottom, against the local Hub."""

import re
import shlex
import tomllib

import hub_server
import pytest
from hub_server import Repo, parquet, picture
from places import DOCS

from harness import HubDataset

pytestmark = pytest.mark.slow

PAGE = DOCS / "add-a-hub-dataset.md"
REVISION = "4d5f1c0f5a7be6de0f8a7d6f1b0c2a9e8d7c6b5a"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def shard(count, first):
    import datasets

    text = datasets.Value("string")
    rows = [
        {
            "image": {"bytes": picture(n % 2, first + n), "path": f"{n}.jpg"},
            "diagnosis": ("benign", "malignant")[n % 2],
            "patient": f"p{(first + n) // 4}",
        }
        for n in range(count)
    ]
    return parquet(rows, diagnosis=text, patient=text)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    hub = hub_server.running()
    files = {"data/train-0.parquet": shard(32, 0), "data/test-0.parquet": shard(8, 100)}
    hub.reset({"example/skin-lesions": Repo.of(files, REVISION)})
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.chdir(tmp_path)
    return hub


def test_every_block_does_what_the_page_says(hub, tmp_path, harness_cli):
    (plugin,) = blocks("python")
    (tmp_path / "skin_lesions.py").write_text(plugin)
    said = {}
    for line in "".join(blocks("bash")).splitlines():
        program, *args = shlex.split(line, comments=True)
        assert program == "harness"
        small = ["--epochs", "1", "--backbones", "vgg19-mini", "--in-process"] * ("bench" in args)
        said[line] = harness_cli(*args, *small).stdout

    fetch, bench, cache, prune, older = said.values()
    assert f"skin-lesions: 2 files, {size(hub)}, CC-BY-4.0, revision {REVISION}" in fetch
    assert (tmp_path / "harness.lock").is_file()
    assert "1 runs made" in bench
    board = (tmp_path / "results" / "demo" / "leaderboard.md").read_text(encoding="utf-8")
    assert "CC-BY-4.0" in board
    assert "all images come from one camera" in board
    assert "1 entries" in cache
    for removed in (prune, older):
        assert "0 entries, 0 bytes, removed from" in removed


def size(hub):
    total = sum(map(len, hub.repos["example/skin-lesions"].revisions[REVISION].values()))
    return f"{total / 1000:.3g} kB"


def test_the_table_names_fields_that_there_are():
    table = re.findall(r"^\| (`.*?) \|", PAGE.read_text(), re.MULTILINE)
    fields = {name for row in table for name in re.findall(r"`(\w+)`", row)}

    assert fields <= set(HubDataset.model_fields)
    assert {"repo", "files", "group_pattern", "unique_column", "images"} <= fields


def test_the_entry_point_is_one():
    (text,) = blocks("toml")
    assert tomllib.loads(text)["project"]["entry-points"]["harness"] == {
        "skin-lesions": "skin_lesions"
    }
