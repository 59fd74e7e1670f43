"""Random folders: refused with a message that names the cause, or every label, group and split as
written."""

import json
import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from harness import Access, DataError, FolderDataset
from harness.data.table import read_table

FORMATS = ("csv", "semicolon", "tsv", "utf-16", "jsonl", "parquet")
WORDS = ("a", "b", "A ", "1", "1.0", "01", "2", "bö", "bo\u0308", "nan", "NA", "-", "none", "x|y")
GROUPS = ("p1", "p2", "P2", "6", "6.0", "06", "7", "", "None", "#N/A", "?")
# What a person reads in these, written out: by no code of the project.
SAME = {"A": "a", "1.0": "1", "01": "1", "bo\u0308": "bö", "6.0": "6", "06": "6", "P2": "p2"}
STAND_FOR_NOTHING = ("", "nan", "NA", "-", "none", "None", "#N/A", "?")
SPLIT_TEXTS = ("train", "val", "Valid", "test", "validation", "tset", "dev", "")
MEANT = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation"}
MEANT |= {"test": "test"}
NAMES = {
    "file": ("file", "file_name", "File", "image_path"),
    "label": ("label", "LABEL", "dx", "diagnosis"),
    "split": ("split", "fold", "subset", "spilt", None),
    "group": ("group", "patient_id", "Subject", "gruop", None),
    "age": ("age", "site", None, None, None),
}


@st.composite
def folders(draw):
    """A list as somebody writes it, and which of its columns are declared."""
    clean = draw(st.integers(0, 5)) > 0  # else anything goes
    count = draw(st.integers(4, 8))

    def texts(all_of, sound):
        return draw(
            st.lists(st.sampled_from(sound if clean else all_of), min_size=count, max_size=count)
        )

    names = {role: draw(st.sampled_from(spelt)) for role, spelt in NAMES.items()}
    names = {role: name for role, name in names.items() if name}
    below = texts(("", "a/", "deep/er/"), ("", "deep/er/"))
    columns = {
        "file": [f"{folder}{number}.png" for number, folder in enumerate(below)],
        "label": texts(WORDS, ("a", "b")),
        "split": texts(SPLIT_TEXTS, ("train", "val", "test")),
        "group": texts(GROUPS, ("p1", "p2", "6", "7")),
        "age": texts(("40", "", "nan"), ("40", "41")),
    }
    undeclared = draw(st.sampled_from([(), (), (), ("group",), ("split",), ("age",), ("label",)]))
    roles = {"age": "metadata"}
    declared = {
        roles.get(role, role): name for role, name in names.items() if role not in undeclared
    }
    return {
        "format": draw(st.sampled_from(FORMATS)),
        "stem": draw(st.sampled_from(["manifest", "metadata", "Manifest"])),
        "names": names,
        "columns": {role: columns[role] for role in names},
        "declared": declared,
        "join": draw(st.booleans()),
        "extra": draw(
            st.sampled_from([None, None, None, None, "labels.xlsx", "metadata.ndjson", "other.csv"])
        ),
    }


def write(place, drawn):
    for number, file in enumerate(drawn["columns"]["file"]):
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2), number).save(place / file)
    header = list(drawn["names"].values())
    rows = list(zip(*drawn["columns"].values(), strict=True))
    stem, kind = place / drawn["stem"], drawn["format"]
    if kind == "parquet":
        table = {name: [row[at] for row in rows] for at, name in enumerate(header)}
        pq.write_table(pa.table(table), stem.with_suffix(".parquet"))
    elif kind == "jsonl":
        lines = [json.dumps(dict(zip(header, row, strict=True))) for row in rows]
        stem.with_suffix(".jsonl").write_text("\n".join(lines), encoding="utf-8")
    else:
        separator = {"semicolon": ";", "tsv": "\t"}.get(kind, ",")
        text = "\r\n".join(separator.join(row) for row in [header, *rows])
        encoding = "utf-16" if kind == "utf-16" else "utf-8"
        stem.with_suffix(".tsv" if kind == "tsv" else ".csv").write_bytes(text.encode(encoding))
    if drawn["extra"]:
        (place / drawn["extra"]).write_text("file,label\n")


def read_as(text):
    return SAME.get(text.strip(), text.strip())


def expected_to_fail(drawn, message):
    """True if the message names a cause that is there."""
    columns, names = drawn["columns"], drawn["names"]
    labels = [label.strip() for label in columns["label"]]
    groups = [group.strip() for group in columns.get("group", ())]
    splits = [split.strip() for split in columns.get("split", ())]
    known = {
        "file": ("file", "file_name"),
        "label": ("label",),
        "split": ("split",),
        "group": ("group",),
    }
    bare = [
        name
        for role, name in names.items()
        if name not in drawn["declared"].values() and name.lower() not in known.get(role, ())
    ]
    read_alike = len(set(labels)) > len(set(map(read_as, labels)))
    causes = {
        "has several labels": any("|" in label for label in labels),
        "has no label": "" in labels,
        "has the label": any(label in STAND_FOR_NOTHING for label in labels),
        "has the group": any(group in STAND_FOR_NOTHING for group in groups),
        "unknown split": bool({s.lower() for s in splits} - set(MEANT) - {""}),
        "some rows have a split, others none": "" in splits and any(splits),
        "labels that read the same": read_alike and not drawn["join"],
        "a single class": len(set(map(read_as, labels))) < 2,
        "a single image in class": any(
            [read_as(one) for one in labels].count(read_as(label)) == 1 for label in labels
        ),
        "lies in": any(file.startswith("a/") for file in columns["file"]),
        "looks like a list and is not read": drawn["extra"] in {"labels.xlsx", "other.csv"},
        "keep one of them": drawn["extra"] == "metadata.ndjson",
        "unknown column": any(repr(name) in message for name in bare),
        "has no column": any(name in message for name in bare),
    }
    return any(cause in message and there for cause, there in causes.items())


def check(drawn):
    place = Path(tempfile.mkdtemp())
    try:
        write(place, drawn)
        own = FolderDataset(
            name="own",
            modality="m",
            path=place,
            columns=drawn["declared"],
            join_labels=drawn["join"],
        )
        message = ""
        try:
            table = read_table(own, Access(cache=place / ".cache"))
        except DataError as error:
            table, message = None, str(error)
        if table is None:
            assert expected_to_fail(drawn, message), message
            return False
        by_id = {sample.id: sample for sample in table.samples}
        columns = drawn["columns"]
        rows = [by_id[file] for file in columns["file"]]
        assert len(rows) == len(by_id)
        found = {
            "label": [read_as(table.classes[row.label]) for row in rows],
            "split": [row.split for row in rows],
            "group": [read_as(row.group) for row in rows],
        }
        assert found["label"] == [read_as(label) for label in columns["label"]]
        if any(columns.get("split", ())):
            assert found["split"] == [MEANT[split.strip().lower()] for split in columns["split"]]
        if "group" in columns:
            assert found["group"] == [read_as(group) for group in columns["group"]]
            # 6, 6.0 and 06 are one patient; p2 and P2 may be two.
            patients = {float(g) if g[0].isdigit() else g for g in columns["group"] if g}
            assert len({row.group for row in rows} - {row.id for row in rows}) == len(patients)
        if "metadata" in drawn["declared"]:
            name = drawn["names"]["age"]
            said = [dict(table.metadata.get(row.id, {})).get(name, "") for row in rows]
            assert said == columns["age"]
        return True
    finally:
        shutil.rmtree(place)


@pytest.mark.slow
def test_every_group_and_split_is_as_written_or_refused_by_its_cause():
    outcomes = []

    @settings(max_examples=300, suppress_health_check=list(HealthCheck))
    @given(folders())
    def run(drawn):
        outcomes.append(check(drawn))

    run()
    assert outcomes.count(True) > 20  # both ways were tried
    assert outcomes.count(False) > 20
