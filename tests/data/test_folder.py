"""Folders in every layout that is promised, and every way they can be wrong."""

import unicodedata
from pathlib import Path

import datasets
import pytest
from PIL import Image

from harness import Access, DataError, UsageError
from harness.data.folder import FolderDataset, parse_data_option
from harness.data.on_disk.samples import Listed, read_lists

ACCESS = Access(cache=Path("unused"))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "images"


def put(folder, *files):
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(path)


def write_manifest(folder, *rows, header="file,label", name="manifest.csv"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join([header, *rows]) + "\n")


def load(folder, **settings):
    tables = FolderDataset(name="own", modality="xray", path=folder, **settings).load(ACCESS)
    return {split: table[:] for split, table in tables.items()}


def test_classes_without_splits(folder):
    put(folder, "b/2.png", "a/1.jpg", "a/3.tif", "b/1.bmp")
    tables = FolderDataset(name="own", modality="xray", path=folder).load(ACCESS)
    assert set(tables) == {"train"}
    table = tables["train"]
    assert table.features["image"] == datasets.Image(decode=False)
    assert table[:] == {
        "image": [
            {"bytes": None, "path": str(folder / file)}
            for file in ("a/1.jpg", "a/3.tif", "b/1.bmp", "b/2.png")
        ],
        "label": ["a", "a", "b", "b"],
        "group": ["a/1.jpg", "a/3.tif", "b/1.bmp", "b/2.png"],
        "id": ["a/1.jpg", "a/3.tif", "b/1.bmp", "b/2.png"],
    }


@pytest.mark.parametrize("validation", ["validation", "val", "valid", "Validation"])
def test_classes_in_splits(validation, folder):
    put(folder, *(f"{s}/{c}/1.png" for s in ("train", validation, "test") for c in "ab"))
    tables = load(folder)
    assert {split: table["label"] for split, table in tables.items()} == {
        split: ["a", "b"] for split in ("train", "validation", "test")
    }
    assert tables["validation"]["id"] == [f"{validation}/a/1.png", f"{validation}/b/1.png"]


def test_splits_as_some_sets_call_them(folder):
    put(folder, *(f"{s}/{c}/1.png" for s in ("Training", "Testing") for c in "ab"))
    assert {split: table["id"] for split, table in load(folder).items()} == {
        "train": ["Training/a/1.png", "Training/b/1.png"],
        "test": ["Testing/a/1.png", "Testing/b/1.png"],
    }


@pytest.mark.parametrize("written", ["scans/IM1.PNG", "im1.png", "scans/im1", "im1.jpg"])
def test_a_listed_file_that_is_there_under_another_name_is_named(folder, written):
    put(folder, "scans/im1.png", "scans/im2.png", "scans/im3.png")
    rows = f"file,label\n{written},a\nscans/im2.png,b\n"
    (folder / "manifest.csv").write_text(rows)
    with pytest.raises(DataError, match=r"\(scans/im1\.png is there, and not listed\)"):
        load(folder)


def test_notes_and_hidden_files_are_passed_over(folder):
    put(folder, "a/1.png", "a/2.png", "b/1.png", "b/2.png", "b/.hidden.png", ".trash/c/1.png")
    put(folder, "__MACOSX/a/1.png")
    for name in ("a/.DS_Store", "a/notes.txt", "b/mask.json", "README", "more.zip", "b/Thumbs.db"):
        (folder / name).write_text("")
    assert load(folder)["train"]["id"] == ["a/1.png", "a/2.png", "b/1.png", "b/2.png"]


def test_names_as_people_have_them_are_kept(folder):
    """Capitals, spaces, commas, quotes, signs of LaTeX, line feeds; what macOS and Windows leave."""
    classes = ("10_50%_{A} & B", '2 "x", y\'s')
    for name in classes:
        put(folder, f"{name}/Fall, 1.JPG", f"{name}/two\nlines.png")
        (folder / name / "._Fall, 1.JPG").write_bytes(b"\0\x05\x16\x07" + bytes(60))
        (folder / name / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    found = load(folder)["train"]
    assert found["label"] == [classes[0], classes[0], classes[1], classes[1]]
    assert found["id"] == [
        f"{name}/{file}" for name in classes for file in ("Fall, 1.JPG", "two\nlines.png")
    ]


def test_two_class_folders_of_one_name_are_refused(folder):
    """Composed and decomposed: an eye sees one class."""
    composed, decomposed = (unicodedata.normalize(form, "bösartig") for form in ("NFC", "NFD"))
    put(
        folder,
        f"{composed}/1.png",
        f"{composed}/2.png",
        f"{decomposed}/3.png",
        f"{decomposed}/4.png",
    )
    put(folder, "gutartig/5.png", "gutartig/6.png")
    with pytest.raises(DataError, match=r"'b\\xf6sartig'.*one class with --join-labels") as error:
        load(folder)
    assert "'bo\\u0308sartig'" in str(error.value)
    joined = load(folder, join_labels=True)["train"]["label"]
    assert len(set(joined)) == 2
    assert joined.count("gutartig") == 2


def test_linked_class_folders_are_followed(folder, tmp_path):
    put(tmp_path / "elsewhere", "a/1.png", "a/2.png")
    put(folder, "b/1.png", "b/2.png")
    (folder / "a").symlink_to(tmp_path / "elsewhere" / "a")
    assert load(folder)["train"]["label"] == ["a", "a", "b", "b"]


# -- with a list --------------------------------------------------------------------------------


def test_a_manifest_says_all_and_images_lie_anywhere(folder):
    put(folder, "x.png", "deep/er/y.png", "z.png", "w.png")
    write_manifest(
        folder,
        "x.png,benign,train,p1",
        "deep/er/y.png,malignant,train,p3",
        "z.png,benign,test,p2",
        "w.png,malignant,test,p2",
        header="file,label,split,group",
    )
    tables = load(folder)
    assert tables["train"]["label"] == ["malignant", "benign"]
    assert tables["train"]["group"] == ["p3", "p1"]
    assert tables["test"]["group"] == ["p2", "p2"]
    assert set(tables) == {"train", "test"}


def test_a_manifest_adds_groups_to_folders(folder):
    files = [f"{s}/{c}/1.png" for s in ("train", "test") for c in "ab"]
    put(folder, *files)
    write_manifest(
        folder, *(f"{f},{f[-7]},g{n}" for n, f in enumerate(files)), header="file,label,group"
    )
    tables = load(folder)
    assert tables["train"]["group"] == ["g0", "g1"]
    assert tables["test"]["group"] == ["g2", "g3"]


def test_metadata_as_the_hub_has_it(folder):
    put(folder, *(f"{s}/{c}/1.png" for s in ("train", "test") for c in "ab"))
    for split in ("train", "test"):
        write_manifest(
            folder / split,
            "a/1.png,g1,a",
            "b/1.png,g2,b",
            header="file_name,group,label",
            name="metadata.csv",
        )
    tables = load(folder)
    assert tables["test"]["label"] == ["a", "b"]
    assert tables["test"]["group"] == ["g1", "g2"]


# -- what is wrong ------------------------------------------------------------------------------


def test_a_folder_that_is_missing_or_a_file(folder):
    with pytest.raises(DataError, match=r"dataset 'own': .*images does not exist"):
        load(folder)
    folder.write_text("")
    with pytest.raises(DataError, match="is no folder"):
        load(folder)


def test_a_folder_without_images(folder):
    folder.mkdir()
    with pytest.raises(DataError, match=r"holds no image; lay it out as class/image\.jpg or train"):
        load(folder)
    for number in range(3):
        (folder / f"{number}.npz").write_text("")
    with pytest.raises(DataError, match=r"holds no image \(only 3 x \.npz\)"):
        load(folder)


def test_files_that_are_no_images_among_images(folder):
    put(folder, "a/1.png", "b/1.png")
    for number in range(7):
        (folder / "a" / f"{number}.dcm").write_text("")
    with pytest.raises(
        DataError, match=r"7 files are no images .*a/0\.dcm, .* and 2 more; convert"
    ):
        load(folder)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ["1.png", "a/1.png", "b/1.png"],
            r"1 images do not lie at class/image: 1\.png; lay it out",
        ),
        (["a/p1/1.png", "b/p1/1.png"], r"2 images do not lie at class/image: a/p1/1\.png, b/p1"),
        (["Exam/a/1.png", "Learn/b/1.png"], "do not lie at class/image: Exam/a"),
        (["train/1.png", "test/a/1.png"], r"do not lie at split/class/image: train/1\.png"),
        (["train/a/1.png", "dev/a/1.png"], "unknown split 'dev'; use train, validation or test"),
        (["train/a/1.png", "tets/a/1.png"], r"unknown split 'tets'; did you mean 'test'\?"),
        (["train/a/1.png", "val/a/1.png", "valid/a/1.png"], "val and valid are both validation"),
        (["a/1.png", "a/2.png"], "has a single class, a"),
        (["a/1.png", "a/2.png", "b/1.png"], "a single image in class b; a class needs two"),
        (["train/a/1.png", "test/a/1.png", "test/b/1.png"], "a single image in class b"),
    ],
)
def test_a_wrong_layout_is_told(files, message, folder):
    put(folder, *files)
    with pytest.raises(DataError, match=message):
        load(folder)


def test_an_empty_class_folder_is_told(folder):
    put(folder, "a/1.png", "a/2.png", "b/1.png", "b/2.png")
    (folder / "c").mkdir()
    with pytest.raises(DataError, match="no image in class folder c; fill or remove it"):
        load(folder)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a/1.png,a", "a/2.png,a"], r"2 images are not listed: b/1\.png, b/2\.png; add rows"),
        (
            ["a/1.png,a", "a/2.png,a", "b/1.png,b", "b/2.png,b", "b/3.png,b", "b/x.txt,b"],
            r"2 files are listed but there is no such image: b/3\.png, b/x\.txt; add them",
        ),
        (
            ["a/1.png,b", "a/2.png,a", "b/1.png,b", "b/2.png,b"],
            r"a/1\.png lies in 'a' but is listed",
        ),
    ],
)
def test_a_list_that_does_not_match_is_told(rows, message, folder):
    put(folder, "a/1.png", "a/2.png", "b/1.png", "b/2.png")
    (folder / "b" / "x.txt").write_text("")
    write_manifest(folder, *rows)
    with pytest.raises(DataError, match=message):
        load(folder)


def test_a_split_column_that_contradicts_the_folder(folder):
    put(folder, "train/a/1.png", "test/a/1.png")
    write_manifest(folder, "train/a/1.png,a,test", "test/a/1.png,a,test", header="file,label,split")
    with pytest.raises(DataError, match=r"train/a/1\.png lies in 'train' but is listed as 'test'"):
        load(folder)


def test_splits_for_some_only_and_labels_for_none(folder):
    put(folder, "train/1.png", "2.png")
    write_manifest(folder, "train/1.png,a", "2.png,b")
    with pytest.raises(DataError, match=r"some images have a split, others none: 2\.png"):
        load(folder)
    (folder / "manifest.csv").unlink()
    write_manifest(folder, "train/1.png", "2.png", header="file_name", name="metadata.csv")
    with pytest.raises(DataError, match=r"has no column label .*--columns label=@folder if the"):
        load(folder)
    with pytest.raises(DataError, match=r"train/1\.png has no label, neither in the list nor by"):
        load(folder, columns={"label": "@folder"})


# -- --data -------------------------------------------------------------------------------------


def test_the_data_option():
    found = parse_data_option("xray:nih=some/dir")
    assert (found.name, found.modality, found.path) == ("nih", "xray", Path("some/dir"))
    assert found.splits == "official"
    found = parse_data_option("my-set.v2=C:\\a=b")
    assert (found.name, found.modality, str(found.path)) == ("my-set.v2", "unknown", "C:\\a=b")


@pytest.mark.parametrize("text", ["", "a", "=b", "a=", ":a=b", "xray:=b", "/some/dir"])
def test_a_data_option_of_another_form(text):
    with pytest.raises(UsageError, match="write NAME=FOLDER or MODALITY:NAME=FOLDER"):
        parse_data_option(text)


@pytest.mark.parametrize("text", ["My Set=d", "a_=d", "X-ray:a=d", "a:b:c=d", "../x=d"])
def test_a_data_option_whose_name_is_no_id(text):
    with pytest.raises(UsageError, match="is no id; use lower-case letters, digits and hyphens"):
        parse_data_option(text)


# -- lists -----------------------------------------------------------------------------------------


def lists(folder, columns=None, **texts):
    for name, text in texts.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return read_lists(folder, columns)


def test_no_list_is_none(tmp_path):
    assert read_lists(tmp_path) is None


def test_columns_in_any_order_split_and_group_optional(tmp_path):
    text = "group,file,label,split,note\np1,a/x.png,b,val,hm\np2,y.png,c,Test,\n"
    assert lists(tmp_path, manifest=text, columns={"ignore": ("note",)}) == (
        Listed("a/x.png", "b", "validation", "p1"),
        Listed("y.png", "c", "test", "p2"),
    )
    assert read_lists(tmp_path, {"metadata": ("Note",)}) == (
        Listed("a/x.png", "b", "validation", "p1", (("note", "hm"),)),
        Listed("y.png", "c", "test", "p2"),
    )
    assert lists(tmp_path, manifest="file,label\nx.png,a\n") == (Listed("x.png", "a"),)


def test_what_spreadsheets_write_is_read(tmp_path):
    (tmp_path / "manifest.csv").write_bytes(
        '\ufeffFile, Label \r\n"a\\b, c.png"," é "\r\n\r\n./d.png,e\r\n'.encode()
    )
    assert read_lists(tmp_path) == (Listed("a/b, c.png", "é"), Listed("d.png", "e"))


def test_metadata_in_the_folder_and_in_its_splits(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "metadata.csv").write_text("file_name,label\nx.png,a\n")
    rows = lists(tmp_path, metadata="file_name,label,group\ntest/y.png,b,g\n")
    assert rows == (Listed("test/y.png", "b", group="g"), Listed("train/x.png", "a"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"no column file, label \(it has: nothing\)"),
        ("name,label\nx.png,a\n", r"no column file \(it has: name, label\)"),
        (
            "file label\nx.png a\n",
            r"no column file, label .*separated by commas, semicolons or tabs",
        ),
        (
            "file,label,note\nx.png,a,b\n",
            r"unknown column 'note'; say what it is: --columns meta",
        ),
        ("file,Atelectasis,Effusion\nx.png,0,1\n", "no column label"),
        ("file,label,label\nx.png,a,b\n", "column label more than once"),
        ("file,label\nx.png\n", "line 2: more or fewer cells"),
        ("file,label\nx.png,a,b\n", "line 2: more or fewer cells"),
        ("file,label\nx.png,a\ny.png,\n", r"line 3: y\.png has no label"),
        ("file,label\n,a\n", "line 2: '' is no path"),
        ("file,label\n../x.png,a\n", r"'\.\./x\.png' is no path from the folder"),
        ("file,label\n/etc/x.png,a\n", "'/etc/x.png' is no path"),
        (
            "file,label\nx.png,Mass|Nodule\n",
            r"x\.png has several labels \(Mass\|Nodule\); only sing",
        ),
        (
            "file,label\nx.png,a\nx.png,b\n",
            r"x\.png is listed as 'a' and as 'b'; only single-label",
        ),
        ("file,label\nx.png,a\n./x.png,a\n", r"1 files are listed more than once: x\.png"),
        ("file,label,split\nx.png,a,dev\n", "line 2: unknown split 'dev'; use train, validation"),
        ("file,label,split\nx.png,a,tset\n", r"unknown split 'tset'; did you mean 'test'\?"),
        ("file,label,split\nx.png,a,train\ny.png,a,\n", r"some rows have a split, others none: y"),
        ('file,label\n"x.png,a\n', "cannot be read as comma-separated"),
    ],
)
def test_a_bad_list_is_told(text, message, tmp_path):
    with pytest.raises(DataError, match=message):
        lists(tmp_path, manifest=text)


def test_bytes_that_are_no_text_are_told(tmp_path):
    (tmp_path / "manifest.csv").write_bytes(b"file,label\n\xff\xfe,a\n")
    with pytest.raises(DataError, match=r"manifest\.csv cannot be read as .*UTF-8"):
        read_lists(tmp_path)


def test_two_lists_are_too_many(tmp_path):
    with pytest.raises(DataError, match=r"both manifest\.csv and .*metadata\.csv: keep one"):
        lists(tmp_path, manifest="file,label\nx.png,a\n", metadata="file_name\nx.png\n")
    (tmp_path / "metadata.csv").unlink()
    (tmp_path / "manifest.JSONL").write_text("{}")
    with pytest.raises(DataError, match=r"both manifest\.JSONL and .*manifest\.csv: keep one"):
        read_lists(tmp_path)
