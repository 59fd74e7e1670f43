"""Sound files, damaged: hypothesis strategies that take the bytes of one and give those of another.

`READERS` names every kind of file that the harness reads from a results folder, beside it or with a
dataset, with the strategy that damages it and what reads it then.
"""

import hashlib
import io
import json
import re
import tempfile
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from damaged_bytes import JSON_VALUES, bytes_damaged, directory_damaged
from damaged_tables import ARRAYS_NPZ, SOUND_TABLES, TABLES, array_set, arrays_damaged
from hypothesis import strategies as st
from safetensors.numpy import load, save
from small_folder import records, small_folder

from harness import Access
from harness.benchmark.suite.file import read_suite
from harness.data import lock
from harness.data.on_disk.samples import read_lists
from harness.errors import HarnessError
from harness.leaderboard import boards, statistics
from harness.leaderboard.html import html_page, page_data
from harness.leaderboard.render import formats
from harness.publish.build import build
from harness.results import package
from harness.results.gate import report
from harness.results.gate.compare import compare_folders, rules_of
from harness.results.gate.sarif import sarif
from harness.results.merge import opened
from harness.results.rescore import score
from harness.results.store import Store
from harness.results.verify import verify

LONGEST = 3000  # characters of a message
TOML_VALUES = [
    "inf", "-inf", "nan", "1e999", "1" * 400, "1" * 5000, "-1", "0", "1.5", "true", "[]", "{}", '""',
    '"x"', '"\\u0000"', '"../x"', "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "[" * 20_000,
    "[" * 50 + "]" * 50, "{a = {b = 1}}", "[1, 'a', {}]", "['*']", '"*"', "'''a\nb'''", "[[1], [2.5]]",
    "= =", '["full-ft", "no-such"]',
]  # fmt: skip
SUITE = """
extends = "demo"
title = "mine"
datasets = ["demo-mri"]
seeds = [0, 1]
notes = ["a"]
weights = "none"
primary = "accuracy"
claims = []

[data]
own = "images"

[protocol]
lr = 0.001
epochs = 3
optimizer = "adam"
mean = [0.4, 0.4, 0.4]
augment = ["flip-horizontal"]
schedule = {kind = "cosine", warmup = 1.0}

[settings.l2-sp]
alpha = 0.1

[tolerances]
"*" = 1.0
cost = 0.2

[assumed]
lr = "somewhere"
"""
LOCK = {
    "schema_version": 1,
    "datasets": {
        "a": {
            "repo": "o/n",
            "revision": "0" * 40,
            "files": [{"path": "a/b.parquet", "sha256": "0" * 64, "bytes": 7}],
        }
    },
    "weights": {"b": {"file": "b.pth", "sha256": "1" * 64, "bytes": 9, "source": "x"}},
}


def paths(value, place=()):
    """The place of every value in JSON."""
    yield place
    parts = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, one in parts:
        yield from paths(one, (*place, key))


@st.composite
def json_damaged(draw, content):
    """A value of another kind, gone, twice, or under another name; or bytes damaged."""
    kind = draw(st.sampled_from(["value", "value", "value", "gone", "twice", "name", "bytes"]))
    if kind == "bytes":
        return draw(bytes_damaged(content))
    value = json.loads(content)
    # Few of thousands of samples: every field by its name is as likely as another.
    places = sorted(
        {re.sub(r"\d+", "0", repr(path)): path for path in paths(value) if path}.values(), key=repr
    )
    place = draw(st.sampled_from(places))
    holder = value
    for key in place[:-1]:
        holder = holder[key]
    last, raw = place[-1], draw(st.sampled_from(JSON_VALUES))
    old = holder[last]
    if kind == "gone":
        del holder[last]
        return json.dumps(value).encode()
    if kind == "name" and isinstance(holder, dict):
        holder[f"{last}x"] = holder.pop(last)
        return json.dumps(value).encode()
    holder[last] = "@damaged@"
    if kind == "twice" and isinstance(last, str):
        raw = f"{json.dumps(old)}, {json.dumps(last)}: {raw}"
    return json.dumps(value).replace('"@damaged@"', raw).encode("utf-8", "surrogatepass")


@st.composite
def toml_damaged(draw, content):
    if draw(st.integers(0, 4)) == 0:
        return draw(bytes_damaged(content))
    lines = content.decode().splitlines()
    places = [n for n, line in enumerate(lines) if "=" in line or line.startswith("[")]
    place = draw(st.sampled_from(places))
    name, value = lines[place].strip("[]").partition(" = ")[0], draw(st.sampled_from(TOML_VALUES))
    lines[place] = draw(
        st.sampled_from([f"{name} = {value}", f"{name}x = {value}", lines[place] * 2])
    )
    return "\n".join(lines).encode()


ARRAYS = {
    "float64": lambda a: a.astype(np.float64),
    "int8": lambda a: a.astype(np.int8),
    "uint8": lambda a: a.astype(np.uint8),
    "bool": lambda a: a.astype(bool),
    "half": lambda a: a.astype(np.float16),
    "shorter": lambda a: a[:-1],
    "one": lambda a: a[:1],
    "none": lambda a: a[:0],
    "flat": lambda a: a.reshape(-1),
    "deeper": lambda a: a[None],
    "scalar": lambda a: a.reshape(-1)[0],
    "turned": lambda a: a.T,
    "wider": lambda a: np.concatenate([a, a], axis=-1),
    "no classes": lambda a: a[..., :0],
    "nan": lambda a: np.full_like(a, np.nan) if a.dtype.kind == "f" else a * 0,
    "inf": lambda a: np.full_like(a, np.inf) if a.dtype.kind == "f" else a + 1,
    "huge": lambda a: a * 1_000_003,
    "negative": lambda a: -a - 1,
    "large": lambda a: a + 100,
    "same": lambda a: a * 0,
}


@st.composite
def logits_damaged(draw, content):
    kind = draw(st.sampled_from(["array", "array", "array", "gone", "name", "bytes"]))
    if kind == "bytes":
        return draw(bytes_damaged(content))
    tensors = load(content)
    size = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + size])["__metadata__"]
    name = draw(st.sampled_from(sorted(tensors)))
    if kind == "array":
        tensors[name] = np.ascontiguousarray(
            ARRAYS[draw(st.sampled_from(sorted(ARRAYS)))](tensors[name])
        )
    elif kind == "gone":
        del tensors[name]
    else:
        tensors[draw(st.sampled_from(["x", "", "a.b.c", "test.", ".rows"]))] = tensors.pop(name)
    return save(tensors, metadata=draw(st.sampled_from([metadata, {}, {"run_id": "other"}])))


@st.composite
def archive_damaged(draw, content):
    kind = draw(
        st.sampled_from(
            ["bytes", "bytes", "out", "absolute", "link", "twice", "long", "below a file", "bomb",
             "encrypted", "method", "size", "no manifest", "directory"]
        )
    )  # fmt: skip
    if kind == "bytes":
        return draw(bytes_damaged(content))
    if kind in {"encrypted", "method", "size"}:
        return directory_damaged(content, kind, draw(st.integers(0, 10_000)))
    into = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as new,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        for entry in old.infolist():
            if not (kind == "no manifest" and entry.filename == package.MANIFEST):
                new.writestr(entry, old.read(entry))
        add_entry(new, kind)
    return into.getvalue()


def add_entry(archive, kind):
    names = {
        "out": "../out.txt", "absolute": "/tmp/out.txt", "long": "a" * 5000, "bomb": "bomb",
        "twice": "plan.json", "below a file": "plan.json/x", "link": "link", "directory": "../d/",
    }  # fmt: skip
    if kind not in names:
        return
    entry = zipfile.ZipInfo(names[kind])
    entry.compress_type = zipfile.ZIP_DEFLATED
    if kind == "link":
        entry.external_attr = 0o120777 << 16
    archive.writestr(entry, b"\0" * 30_000_000 if kind == "bomb" else b"/etc/passwd")


METRICS = ("balanced-accuracy", "per-class-recall")


@dataclass
class Bench:
    """A place to read damaged files in: sound again before each."""

    root: Path
    loaded: object

    def __post_init__(self):
        # Metrics read no file, and all nine are most of the time of a case.
        offered = self.loaded._offers["metrics"]
        self.loaded._offers["metrics"] = {name: offered[name] for name in METRICS}
        self.sound = small_folder(self.root / "sound")
        package.write_manifest(self.sound, "0.1.0")
        self.folder = self.root / "damaged"
        self.content = {
            p.relative_to(self.sound): p.read_bytes()
            for p in sorted(self.sound.rglob("*"))
            if p.is_file()
        }
        package.pack(self.sound, self.root / "sound.zip")
        first = records(self.sound)[0].relative_to(self.sound)
        failed = next(path for path in self.content if path.parts[0] == "failed")
        self.files = {
            "record": first,
            "failure": failed,
            "plan": Path("plan.json"),
            "split": Path("splits/demo-mri.json"),
            "manifest": Path(package.MANIFEST),
            "logits": first.with_suffix(".safetensors"),
        }
        (self.root / "images").mkdir()

    def sound_bytes(self, reader):
        if reader in self.files:
            return self.content[self.files[reader]]
        return {
            "suite": SUITE.encode(),
            "lock": json.dumps(LOCK).encode(),
            "archive": (self.root / "sound.zip").read_bytes(),
            **SOUND_TABLES,
        }[reader]

    def read(self, reader, content, only=None):
        """The outcome of reading it: a name for each command."""
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            if reader in self.files:
                return {
                    name: self._folder(reader, content, name)
                    for name in ([only] if only else FOLDER)
                }
            place = self.root / PLACES[reader]
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(content)
            told = place.name if reader in SOUND_TABLES else ""
            return {reader: outcome(lambda: ALONE[reader](place, self.loaded), told)}

    def _folder(self, reader, content, command):
        for path in self.folder.rglob("*"):
            if path.is_file() and path.relative_to(self.folder) not in self.content:
                path.unlink()
        for name, sound in self.content.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if name == self.files[reader] else sound)
        if reader != "manifest":  # whose hashes would be all that is found
            (self.folder / package.MANIFEST).unlink()
        if reader == "logits":  # damaged, and its hash kept
            record = self.folder / self.files["record"]
            value = json.loads(record.read_bytes())
            value["predictions"]["sha256"] = hashlib.sha256(content).hexdigest()
            record.write_text(json.dumps(value))
        return outcome(lambda: FOLDER[command](self))


def outcome(read, told=""):
    """The outcome of reading; any error but a message, one that names the file, ends the case."""
    try:
        return read() or "read"
    except HarnessError as error:
        said = str(error)
    assert said.strip(), "a message that says nothing"
    assert len(said) < LONGEST, "a message that nobody reads"
    # What rows contradict is said of the folder: they may stand in several lists.
    assert told in said or "listed" in said, f"a message that names no file: {said}"
    return "refused"


def board(bench):
    with opened([bench.folder]) as store:
        ranked = boards.rank_folder(store, bench.loaded)
        tested = statistics.add_statistics(ranked, store)
        for name in formats.FORMATS:
            formats.render(tested, name)
        read = (store.results(), store.predictions)
        html_page.page(page_data.page_data(tested, *read, metrics=bench.loaded.metrics))


def ranks(bench):
    with opened([bench.folder]) as store:
        boards.render_board(boards.rank_folder(store, bench.loaded), "csv", bench.loaded)


def merged(bench):
    with opened([bench.sound, bench.folder]) as store:
        ranked = boards.rank_folder(store, bench.loaded)
        boards.render_board(boards.with_statistics(ranked, store), "md", bench.loaded)


def verified(bench):
    found, _ = verify(bench.folder, bench.loaded)
    list(map(str, found.problems))
    return "not held" if found.problems else "read"


def checked(bench):
    rules = rules_of(bench.folder, "balanced-accuracy")
    for one, other in ((bench.sound, bench.folder), (bench.folder, bench.sound)):
        found = compare_folders(one, other, rules)
        for render in (report.terminal, report.markdown, report.junit, report.benchmark_json):
            render(found)
        sarif(found, one)
        list(report.workflow_commands(found))


def scored(bench):
    done = score(Store(bench.folder), ["*"], bench.loaded, replace=True)
    return "not held" if done.faults else "read"


def published(bench):
    with tempfile.TemporaryDirectory(dir=bench.root) as place:
        build(
            bench.folder,
            Path(place),
            lambda store: boards.refresh_board(store, bench.loaded),
            keep_key=False,
        )


def unpacked(place, _):
    with package.unpacked(place) as folder:
        Store(folder).results()


def listed(place, _):
    read_lists(place.parent)


def arrays(place, _):
    # A cache of its own: copies of damaged files would be taken for those of the next.
    with tempfile.TemporaryDirectory(dir=place.parent) as cache:
        tables = array_set(place).load(Access(cache=Path(cache)))
        for table in tables.values():
            list(table)


FOLDER = {
    "board": board, "ranks": ranks, "merge": merged, "verify": verified, "check": checked,
    "score": scored, "publish": published,
}  # fmt: skip
ALONE = {
    "suite": lambda place, loaded: read_suite(place, loaded) and None,
    "lock": lambda place, _: lock.read(place) and None,
    "archive": unpacked,
    **dict.fromkeys(TABLES, listed),
    ARRAYS_NPZ: arrays,
}
PLACES = {
    "suite": "suite.toml",
    "lock": "harness.lock",
    "archive": "sent.zip",
    **{reader: f"list {number}/{TABLES[reader][0]}" for number, reader in enumerate(TABLES)},
    ARRAYS_NPZ: "arrays/own.npz",
}
READERS = {
    "record": json_damaged,
    "failure": json_damaged,
    "plan": json_damaged,
    "split": json_damaged,
    "manifest": json_damaged,
    "logits": logits_damaged,
    "suite": toml_damaged,
    "lock": json_damaged,
    "archive": archive_damaged,
    **{reader: damaged for reader, (_, damaged) in TABLES.items()},
    ARRAYS_NPZ: arrays_damaged,
}
