"""Folders with what file systems allow and images do not: each refused by name, nothing opened."""

import os
import socket
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from harness import Access, DataError, FolderDataset, PatternDataset
from harness.data.on_disk.listing import as_on_disk, walk


@pytest.fixture
def folder(tmp_path):
    for label in "ab":
        for number in range(3):
            path = tmp_path / "images" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), number).save(path)
    return tmp_path / "images"


def load(folder):
    return FolderDataset(name="own", modality="xray", path=folder).load(Access())


def test_folders_and_files_in_order_and_hidden_ones_are_passed_over(folder):
    (folder / ".git" / "x").mkdir(parents=True)
    (folder / "a" / ".hidden.png").symlink_to("nowhere")
    files = ["0.png", "1.png", "2.png"]
    assert list(walk(folder)) == [("", ["a", "b"], []), ("a", [], files), ("b", [], files)]


# -- links --------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["..", ".", "../..", "../b/all"])
def test_links_that_lead_back_are_refused_at_once(target, folder):
    (folder / "b" / "all").symlink_to("../a")
    (folder / "a" / "all").symlink_to(target)
    with pytest.raises(
        DataError, match=r"(leads back to|is the same folder as|is not there|cannot)"
    ):
        load(folder if target != "../.." else folder.parent)


def test_the_message_names_the_link_to_remove(folder):
    for label in "ab":
        (folder / label / "all").symlink_to("..")
    with pytest.raises(DataError) as raised:
        load(folder)
    link = folder / "a" / "all"
    assert str(raised.value) == (
        f"{link} leads back to {folder}: each image counts once, so remove the link {link}"
    )


@pytest.mark.parametrize("name", ["0", "c"])  # listed before or after the folder itself
def test_a_folder_that_is_there_twice_is_refused(name, folder):
    (folder / name).symlink_to("b")
    with pytest.raises(DataError, match=rf"is the same folder as .*remove the link .*/{name}$"):
        load(folder)


@pytest.mark.parametrize("place", ["c", "a/more"])
def test_a_link_that_leads_nowhere_is_refused(place, folder):
    (folder / place).symlink_to("/no/such/place")
    with pytest.raises(DataError, match=r"is a link to /no/such/place, which is not there; put it"):
        load(folder)


def test_a_link_to_itself_is_refused(folder):
    (folder / "c").symlink_to("c")
    with pytest.raises(DataError, match="c is a link to c, which Too many levels"):
        load(folder)


# -- what is no file ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a/pipe.png", "a/pipe", "metadata.csv", "b/notes.txt"])
def test_a_pipe_is_refused_and_never_opened(name, folder):
    os.mkfifo(folder / name)  # opened, it would block for ever
    with pytest.raises(DataError, match=f"{name} is a named pipe and no file; remove it"):
        load(folder)


def test_sockets_and_devices_are_refused(folder):
    (folder / "a" / "null.png").symlink_to("/dev/null")
    with pytest.raises(DataError, match=r"null\.png is a device and no file"):
        load(folder)
    (folder / "a" / "null.png").unlink()
    before = Path.cwd()
    os.chdir(folder / "b")  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind("s.png")
            with pytest.raises(DataError, match=r"s\.png is a socket and no file"):
                load(folder)
    finally:
        os.chdir(before)


def test_a_folder_that_cannot_be_listed_is_refused(folder, monkeypatch):
    scandir = os.scandir

    def refusing(path):
        if path.name == "b":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match="b cannot be listed: Permission denied"):
        load(folder)


def pattern(place):
    return PatternDataset(
        name="own", modality="xray", pattern=r"(?P<label>[ab])/(?P<group>.+)\.png", path=place
    )


def test_images_by_a_pattern_are_looked_at_too(folder):
    os.mkfifo(folder / "a" / "pipe.png")
    with pytest.raises(DataError, match=r"pipe\.png is a named pipe"):
        pattern(folder).load(Access())
    (folder / "a" / "pipe.png").rename(folder / "a" / os.fsdecode(b"\xe9.png"))
    with pytest.raises(DataError, match=r"names that are no UTF-8 .*a/\\xe9\.png"):
        pattern(folder).load(Access())


# -- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [b"a/l\xe9sion.png", b"b\xff/1.png", b"l\xe9sion.png"])
def test_names_that_are_no_utf8_are_shown_escaped(place, folder):
    path = folder / os.fsdecode(place)
    path.parent.mkdir(exist_ok=True)
    (folder / "a" / "0.png").rename(path)
    with pytest.raises(DataError) as raised:
        load(folder)
    first = place.split(b"/")[0] if place.startswith(b"b") else place
    shown = first.decode("utf-8", "backslashreplace")
    assert f"names that are no UTF-8 (bytes are shown as \\x..): {shown}; rename" in str(
        raised.value
    )
    str(raised.value).encode()  # can be printed anywhere


def test_a_folder_whose_own_name_is_no_utf8(folder):
    folder.rename(folder.parent / os.fsdecode(b"images\xe9"))
    with pytest.raises(DataError, match=r"images\\xe9"):
        load(folder.parent / os.fsdecode(b"images\xe9"))


@pytest.mark.parametrize(("listed", "stored"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC")])
def test_composed_and_decomposed_names_are_one(listed, stored, folder):
    rows = ["file,label"]
    for label in "ab":
        for number in range(3):
            name = f"{label}/l\u00e9sion {number}.png"
            path = folder / unicodedata.normalize(stored, name)
            (folder / label / f"{number}.png").rename(path)
            rows.append(f"{unicodedata.normalize(listed, name)},{label}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    table = load(folder)["train"][:]
    assert all(Path(cell["path"]).exists() for cell in table["image"])
    assert table["label"] == ["a"] * 3 + ["b"] * 3
    # Both spellings of a name in a list are two rows of one file.
    rows.append(f"{unicodedata.normalize('NFD' if listed == 'NFC' else 'NFC', name)},b")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="1 files are listed more than once"):
        load(folder)


def test_a_name_with_two_files_stays_as_it_is():
    composed, apart = (unicodedata.normalize(form, "\u00e9\u00e8") for form in ("NFC", "NFD"))
    half = "\u00e9" + apart[2:]
    assert as_on_disk([composed, half], [composed, apart]) == [composed, half]
    assert as_on_disk([half], [apart]) == [apart]
