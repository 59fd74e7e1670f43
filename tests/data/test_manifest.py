import pytest

from harness import DataError
from harness.data.folder import Listed, read_lists


def lists(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return read_lists(folder)


def test_no_list_is_none(tmp_path):
    assert read_lists(tmp_path) is None


def test_columns_in_any_order_split_and_group_optional(tmp_path):
    text = "group,file,label,split,note\\np1,a/x.png,b,val,hm\\n,y.png,c,Test,\\n".replace(
        "\\n", "\n"
    )
    assert lists(tmp_path, manifest=text) == (
        Listed("a/x.png", "b", "validation", "p1"),
        Listed("y.png", "c", "test", None),
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
    rows = lists(tmp_path, metadata="file_name,group\ntest/y.png,g\n")
    assert rows == (Listed("test/y.png", group="g"), Listed("train/x.png", "a"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"no column file, label \(it has: nothing\)"),
        ("name,label\nx.png,a\n", r"no column file \(it has: name, label\)"),
        ("file;label\nx.png;a\n", r"no column file, label .*separated by commas"),
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


def test_two_lists_are_too_many_and_jsonl_is_not_read(tmp_path):
    with pytest.raises(DataError, match=r"both manifest\.csv and .*metadata\.csv: keep one"):
        lists(tmp_path, manifest="file,label\nx.png,a\n", metadata="file_name\nx.png\n")
    (tmp_path / "metadata.jsonl").write_text("{}")
    with pytest.raises(DataError, match=r"metadata\.jsonl is not read; write metadata\.csv"):
        read_lists(tmp_path)
