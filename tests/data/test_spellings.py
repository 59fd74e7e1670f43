"""Values as people and programs write them: missing ones, and those that read the same."""

import json
import unicodedata

import datasets
import pytest
from PIL import Image

from harness import Access, DataError, Dataset, FolderDataset
from harness.data.table import read_table
from harness.utils.names import find_spellings, is_placeholder, spelling_key

MISSING = ["NA", "N/A", "n/a", "nan", "NaN", "-nan", "None", "null", "NULL", "#N/A", "<NA>", "NaT"]
MISSING += ["-", "--", "?", "#VALUE!", "#REF!", "#DIV/0!", "", "."]


@pytest.mark.parametrize("text", MISSING)
def test_placeholders(text):
    assert is_placeholder(text)
    assert is_placeholder(f" {text} ")
    assert not is_placeholder(f"x{text}x")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "1.0"),
        ("1", "01"),
        ("-2", "-2.00"),
        ("0", "-0.0"),
        ("0.5", ".5"),
        ("1,5", "1.50"),
        ("100", "1e2"),
        ("Benign", "benign "),
        ("non tumor", "Non  Tumor"),
        ("a\u00a0b", "a b"),
        ("b\u00f6se", unicodedata.normalize("NFD", "b\u00f6se")),
        ("STRASSE", "stra\u00dfe"),
        ("a\u200bb", "ab"),
    ],
)
def test_texts_that_a_person_reads_as_the_same(one, other):
    assert spelling_key(one) == spelling_key(other)
    assert find_spellings([one, one, other, "zz"]) == [(one, other)]


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "10"), ("1.0", "1.01"), ("p1", "p01"), ("1" * 40, "1" * 39 + "2"), ("a b", "ab")],
)
def test_texts_that_are_not_the_same(one, other):
    assert spelling_key(one) != spelling_key(other)


def write(folder, rows, header="file,label,group"):
    for number, row in enumerate(rows):
        path = folder / row[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), number).save(path)
    text = "\n".join([header, *map(",".join, rows)]) + "\n"
    (folder / "manifest.csv").write_text(text, encoding="utf-8")


def table(folder, **settings):
    own = FolderDataset(name="own", modality="m", path=folder, **settings)
    return read_table(own, Access(cache=folder / ".cache"))


@pytest.mark.parametrize("text", MISSING)
@pytest.mark.parametrize("column", ["label", "group"])
def test_a_missing_value_is_refused_by_row(column, text, tmp_path):
    rows = [["1.png", "a", "p"], ["2.png", "a", "q"], ["3.png", "b", "r"], ["4.png", "b", "s"]]
    rows[2][1 if column == "label" else 2] = text
    write(tmp_path, rows)
    message = r"manifest\.csv, line 4: 3\.png has (the|no) " + column
    with pytest.raises(DataError, match=message):
        table(tmp_path)


@pytest.mark.parametrize("name", ["nan", "NaN", "None", "null", "-"])
def test_a_folder_of_missing_labels_is_no_class(name, tmp_path):
    for file in ("a/1.png", "a/2.png", f"{name}/1.png", f"{name}/2.png"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / file)
    with pytest.raises(DataError, match=f"lies in '{name}', which stands for a missing value"):
        table(tmp_path)


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        ("1", "1.0", "'1' and '1.0' .2 and 1 images"),
        ("Benign", "benign", "'Benign' and 'benign'"),
        ("b\u00f6se", "bo\u0308se", r"'b\\xf6se' and 'bo\\u0308se'"),
    ],
)
def test_labels_that_read_the_same_are_refused_or_joined(first, second, shown, tmp_path):
    rows = [("1.png", first, "p"), ("2.png", first, "q"), ("3.png", second, "r")]
    write(tmp_path, [*rows, ("4.png", "x", "s"), ("5.png", "x", "t")])
    with pytest.raises(DataError, match=f"{shown}.*one class with --join-labels"):
        table(tmp_path)
    found = table(tmp_path, join_labels=True)
    assert found.classes == (first, "x")
    assert any(note.startswith("labels joined") for note in found.notes)


def test_groups_are_compared_as_what_they_are(tmp_path):
    rows = [("1.png", "a", "6"), ("2.png", "a", "6.0"), ("3.png", "b", "7.0"), ("4.png", "b", "P1")]
    write(tmp_path, [*rows, ("5.png", "b", "p1")])
    found = table(tmp_path)
    assert [sample.group for sample in found.samples] == ["6", "6", "7.0", "P1", "p1"]
    joined, apart = found.notes
    assert joined == "groups joined, which read the same: '6' and '6.0'"
    assert apart.startswith("groups kept apart that read the same")
    assert apart.endswith(": 'P1' and 'p1'")


class Tables(Dataset):
    columns: dict[str, list[tuple]]

    def load(self, access):
        found = {}
        for split, rows in self.columns.items():
            label, group, name = zip(*rows, strict=True)
            image = [{"bytes": name.encode(), "path": None} for name in map(str, name)]
            columns = {"image": image, "label": label, "group": group, "id": name}
            found[split] = datasets.Dataset.from_dict(columns).cast_column(
                "image", datasets.Image(decode=False)
            )
        return found


def both(train, test):
    dataset = Tables(name="hub", modality="m", columns={"train": train, "test": test})
    return read_table(dataset, Access())


def test_ids_of_every_table_are_compared_as_what_they_are():
    found = both([("a", 6, "1"), ("b", 7, "2")], [("a", 6.0, "3"), ("b", 8.0, "4")])
    assert [sample.group for sample in found.samples] == ["6", "7", "6", "8.0"]
    with pytest.raises(DataError, match="1 ids name more than one sample: 1"):
        both([("a", "p", 1), ("b", "q", 2)], [("a", "p", 1.0), ("b", "q", 3.0)])
    with pytest.raises(DataError, match="sample '4' has the group 'nan', which stands for"):
        both([("a", 6, "1")], [("b", 6.0, "3"), ("b", float("nan"), "4")])
    with pytest.raises(DataError, match="1 rows of 2 have no group: row 2 of their table"):
        both([("a", "p", "1")], [("b", "q", "3"), ("b", None, "4")])
    with pytest.raises(DataError, match="labels that read the same: 'A' and 'a'"):
        both([("a", "p", "1"), ("A", "q", "2")], [("b", "r", "3")])
    with pytest.raises(DataError, match="the label 'NA' stands for a missing value"):
        both([("a", "p", "1"), ("NA", "q", "2")], [("b", "r", "3")])


def test_names_on_the_disk_in_another_form_than_in_the_list(tmp_path):
    def named(number, form):
        return unicodedata.normalize(form, f"l\u00e9sion {number}.png")

    for number in range(4):
        Image.new("L", (4, 4), number).save(tmp_path / named(number, "NFD"))
    rows = [{"file": named(n, "NFC"), "label": "ab"[n % 2]} for n in range(4)]
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = table(tmp_path)
    assert [sample.id for sample in found.samples] == [named(n, "NFD") for n in range(4)]
    assert not found.unreadable
