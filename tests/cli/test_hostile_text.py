"""Names and texts of anybody's records, manifests and plugins do nothing to a terminal or a log."""

import json
import re
import shutil
import unicodedata
import zipfile
from io import BytesIO

import pytest
from command import python
from PIL import Image
from small_folder import records, small_folder

from harness.data.cache import cache
from harness.data.cache.entry import entry_for
from harness.data.images import PixelForm
from harness.results import package

pytestmark = pytest.mark.slow

HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\n::error::injected\n  ::warning::x\u202eb\x9b31m\u2028##[error]y\x7f\u200b"
# What must hold for a record to be read at all, and what names files.
KEPT = {
    "schema_version", "run_id", "dataset", "backbone", "strategy", "sha256", "file", "split_file",
    "split_sha256", "fingerprint", "data", "weights", "status", "metric", "optimizer", "kind",
    "checkpoint", "norm", "class_weights", "augment", "precision", "layout", "compile", "engine",
    "primary", "datasets", "backbones", "strategies", "claims", "classes", "finished", "split",
    "label", "id", "group", "left_out", "source", "protocol",
}  # fmt: skip


def assert_harmless(text):
    for line in text.split("\n"):
        strange = {c for c in line if unicodedata.category(c)[0] == "C" or c in "\u2028\u2029"}
        assert not strange - {"\t"}, line
        assert not line.strip().startswith("::"), line
        assert "##[" not in line, line


def test_a_harmful_text_is_told():
    """Each part by itself: without this, the tests below might see nothing."""
    for text in (
        "\x1b[2J",
        "a\r",
        "a\n  ::error::b",
        "a\u202eb",
        "\x9b31m",
        "a\u2028",
        "##[error]",
        "\x7f",
    ):
        with pytest.raises(AssertionError):
            assert_harmless(text)
    assert_harmless("a: :error\tb ::error")


def hostile(value, name=""):
    if isinstance(value, dict):
        return {key: hostile(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [hostile(one, name) for one in value]
    return f"{value}{HOSTILE}" if isinstance(value, str) and name not in KEPT else value


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every free text of every record is hostile, and so are the names of some files."""
    place = small_folder(tmp_path_factory.mktemp("hostile") / "out")
    for path in place.rglob("*.json"):
        value = hostile(json.loads(path.read_text()))
        if value.get("error"):
            value["error"]["message"] = HOSTILE
        if path.parent.name == "splits":
            continue
        if value.get("data"):
            value["data"]["source"] = HOSTILE
        path.write_text(json.dumps(value))
    plan = json.loads((place / "plan.json").read_text())
    plan["suites"] = {HOSTILE: plan["suites"].pop("demo") | {"name": HOSTILE}}
    (place / "plan.json").write_text(json.dumps(plan))
    return place


def named(folder, target):
    """The same with a run whose id, file and cell are hostile."""
    shutil.copytree(folder, target)
    name = HOSTILE.replace("/", "")
    record = records(target)[0]
    value = json.loads(record.read_text())
    value["run_id"] = name
    value["spec"]["dataset"] = value["spec"]["strategy"] = name
    record.rename(record.with_name(f"{name}.json")).write_text(json.dumps(value))
    (target / "splits" / f"{name}.json").write_text("{}")
    (target / "runs" / f"{name}.txt").touch()
    package.write_manifest(target, "0")
    manifest = json.loads((target / "manifest.json").read_text())
    manifest["files"][HOSTILE] = HOSTILE
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target


# Command; its exit code for hostile texts, and for hostile names; which of the two it prints.
COMMANDS = [
    (("board", "{0}", "--format", "terminal"), 0, 0, "both"),
    (("board", "{0}", "--format", "md"), 0, 0, "both"),
    (("board", "{0}", "--format", "csv"), 0, 0, "both"),
    (("board", "{0}", "--format", "claims"), 0, 0, "texts"),
    (("board", "{0}", "--format", "json"), 0, 0, "both"),
    (("board", "{0}", "--format", "latex"), 0, 0, "both"),
    (("board", "{0}", "--format", "html"), 0, 0, "both"),
    (("verify", "{0}"), 1, 1, "names"),
    (("verify", "{0}", "--json"), 1, 1, "names"),
    (("score", "{0}", "--metric", "brier", "--replace"), 0, 1, "names"),
    (("check", "{0}", "{0}", "--all"), 0, 0, "texts"),
    (("compare", "{0}", "{0}"), 0, 0, "texts"),
    (("compare", "{0}", "{0}", "--format", "md"), 0, 0, "texts"),
    (("compare", "{0}", "{0}", "--format", "json"), 0, 0, "texts"),
    (("why", "{run}", "--results", "{0}"), 0, 0, "both"),
    (("publish", "{0}", "--to", "{0}-published", "--dry-run"), 0, 2, "names"),
    (("submit", "{0}", "--to", "{0}.zip"), 0, 2, "names"),
    (("check", HOSTILE, HOSTILE), 2, 2, "both"),
    (("list", HOSTILE), 2, 2, "both"),
    ((HOSTILE,), 2, 2, "both"),
]


@pytest.mark.parametrize("given", COMMANDS, ids=lambda given: given[0][0][:7])
@pytest.mark.parametrize("kind", ["texts", "names"])
def test_every_command_that_prints_what_records_hold(folder, harness_cli, tmp_path, given, kind):
    command, texts, names, shows = given
    place = tmp_path / "out"
    if kind == "texts":
        shutil.copytree(folder, place)
    else:
        named(folder, place)
    run = records(place)[-1].stem
    done = harness_cli(
        *(part.replace("{0}", str(place)).replace("{run}", run) for part in command),
        exit_code={"texts": texts, "names": names}[kind],
        GITHUB_ACTIONS="",
    )
    assert isinstance(done.exception, SystemExit | None)
    assert ("owned" in done.output) == (shows in {kind, "both"})
    assert_harmless(done.output)


def test_every_file_of_a_board(folder, harness_cli, tmp_path):
    place = tmp_path / "out"
    shutil.copytree(folder, place)
    harness_cli("board", place)
    for path in place.glob("leaderboard.*"):
        text = path.read_text()
        if path.suffix != ".html":
            assert_harmless(text)
        assert "owned" in text
        assert "##[error]" not in text
    page = (place / "leaderboard.html").read_text()
    assert "\x1b" not in page.split('type="application/json"')[1].split("</script")[0]
    board = json.loads((place / "leaderboard.json").read_text())
    assert board["weights"][0]["licence"].endswith(HOSTILE)  # JSON holds all, as escapes


def test_what_goes_to_others(folder, harness_cli, tmp_path):
    harness_cli("publish", folder, "--to", tmp_path / "published")
    harness_cli("submit", folder, "--to", tmp_path / "sent.zip")
    texts = [
        path.read_text()
        for path in (tmp_path / "published").rglob("*")
        if path.suffix in {".md", ".yaml", ".csv", ".tex"}
    ]
    with zipfile.ZipFile(tmp_path / "sent.zip") as archive:
        texts.append(archive.read("README.md").decode())
    assert len(texts) == 6
    for text in texts:
        assert "owned" in text
        assert_harmless(text)


def test_the_gate_in_ci(folder, harness_cli, tmp_path):
    """Annotations are the gate's own, one line each; so are all files that CI reads."""
    worse = tmp_path / "worse"
    shutil.copytree(folder, worse)
    for path in records(worse):
        value = json.loads(path.read_text())
        value["status"] = "failed"
        value["error"] = {"kind": HOSTILE, "message": HOSTILE}
        (worse / "failed" / path.name).write_text(json.dumps(value))
        path.unlink()
    files = {name: tmp_path / name for name in ("junit", "markdown", "figures", "sarif")}
    options = [part for name, path in files.items() for part in (f"--{name}", path)]
    summary = tmp_path / "summary.md"
    done = harness_cli(
        "check", folder, worse, *options, exit_code=1,
        GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary),
    )  # fmt: skip
    lines = done.output.split("\n")
    commands = [line for line in lines if line.strip().startswith("::")]
    assert commands
    own = re.compile("^::(error|notice) title=harness check::")
    assert all(map(own.match, commands))
    assert_harmless("\n".join(own.sub("", line) for line in lines))
    for path in (*files.values(), summary):
        assert_harmless(path.read_text())


PLUGIN = """
import click
from harness import DataError, Dataset, Metric, Phase, Protocol, Strategy, Suite, hookimpl
TEXT = {text!r}

class Mine(Strategy):
    name = "mine"
    paper = TEXT
    note: str = TEXT

    def phases(self, model, epochs):
        yield Phase("all", epochs, {{"*": 1.0}})

Mine.__doc__ = TEXT

class Images(Dataset):
    def load(self, access):
        raise DataError(TEXT)

@hookimpl
def harness_strategies():
    return [Mine]

@hookimpl
def harness_datasets():
    return [Images(name="images", modality=TEXT, licence=TEXT, source=TEXT, classes=(TEXT,))]

@hookimpl
def harness_metrics():
    return [Metric("error-rate", build=dict, higher_is_better=False, title=TEXT, high=2)]

@hookimpl
def harness_suites():
    return [Suite(name="small", title=TEXT, description=TEXT, protocol=Protocol(name=TEXT))]

@hookimpl
def harness_commands(cli):
    @cli.command()
    def shout():
        click.echo(TEXT)
        print(TEXT)

    @cli.command()
    def fall():
        raise ValueError(TEXT)
"""
BROKEN = "raise RuntimeError({text!r})\n"


@pytest.mark.parametrize(
    "args",
    [
        ("list",), ("list", "--json"), ("plugins",), ("plugins", "--json"), ("--help",),
        ("plugins", "check", "mine", "--light"), ("plugins", "check", "images"), ("shout",),
        ("bench", "small", "--dry-run"), ("data", "audit", "images"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_plugins(harness_cli, tmp_path, args):
    (tmp_path / "plugin.py").write_text(PLUGIN.format(text=HOSTILE))
    name = HOSTILE.split("\r", maxsplit=1)[0].replace("/", "")
    (tmp_path / f"{name}.py").write_text(BROKEN.format(text=HOSTILE))
    given = ("-p", tmp_path / "plugin.py", "-p", tmp_path / f"{name}.py")
    done = harness_cli(*given, *args, exit_code=None)
    assert isinstance(done.exception, SystemExit | None)
    assert_harmless(done.output)
    assert "owned" in done.output


@pytest.fixture
def images(tmp_path):
    """Two classes, one with a hostile name, and files with hostile names."""
    name = HOSTILE.replace("/", "")
    for split, count in (("train", 6), ("validation", 3), ("test", 3)):
        for number, label in enumerate(("plain", name)):
            for image in range(count):
                path = tmp_path / "images" / split / label / f"{image}{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                shade = (40 * number + 7 * image + len(split), image, 9)
                Image.new("RGB", (16, 16), shade).save(path, "png")
    return tmp_path / "images"


@pytest.mark.parametrize(
    ("command", "shows"),
    [("data audit", True), ("bench --backbones resnet50-mini --dry-run", False)],
)
def test_folders(harness_cli, tmp_path, images, command, shows):
    args = (*command.split(), "--data", f"mine={images}")
    done = harness_cli(*args, HARNESS_CACHE=str(tmp_path / "cache"))
    assert ("owned" in done.output) == shows
    assert_harmless(done.output)


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["table", "json"])
def test_a_cache(harness_cli, tmp_path, more):
    """Of a dataset that no plugin may call so, but a folder of the cache can."""
    file = BytesIO()
    Image.new("RGB", (4, 4)).save(file, "png")
    entry = entry_for(HOSTILE, ["0" * 64], PixelForm(4, 4))
    cache.decoded(tmp_path, entry, lambda run: [file.getvalue() for _ in run])
    done = harness_cli("data", "cache", *more, HARNESS_CACHE=str(tmp_path))
    assert "owned" in done.output
    assert_harmless(done.output)


def test_a_message_of_several_lines_is_one_message(harness_cli, tmp_path):
    (tmp_path / "plugin.py").write_text(BROKEN.format(text="a\nharness: error: forged"))
    done = harness_cli("-p", tmp_path / "plugin.py", "plugins")
    assert "harness: error: forged" in done.stderr
    assert not [line for line in done.stderr.splitlines() if line.startswith("harness: error")]


def test_a_traceback(tmp_path):
    """Of a fault that nobody foresaw, printed as Python would, in a process of its own."""
    (tmp_path / "plugin.py").write_text(PLUGIN.format(text=HOSTILE))
    done = python("-m", "harness", "-p", tmp_path / "plugin.py", "fall", exit_code=1)
    assert "Traceback" in done.stderr
    assert_harmless(done.stderr)
    assert "owned" in done.stderr
