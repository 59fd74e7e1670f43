"""Lists in every form that is read, columns and their roles, and lists that are not read."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harness import Access, DataError, FolderDataset, Protocol, UsageError
from harness.benchmark.request import BenchRequest
from harness.benchmark.suite.file import read_suite
from harness.benchmark.suite.resolve import resolve_suite
from harness.data.audit.audit import audit
from harness.data.audit.terminal import render
from harness.data.division.split import Splits
from harness.data.folder import parse_data_option, with_options, with_windows
from harness.data.on_disk.columns import parse_columns
from harness.data.on_disk.samples import Listed, read_lists
from harness.data.preparation.prepare import prepare_dataset
from harness.data.table import read_table
from harness.plugins.registry import load_plugins

ROWS = (("a/x.png", "1", "train", "p1"), ("y.png", "é", "test", "p2"))
LISTED = tuple(
    Listed(f, label, split, group)
    for (f, label, _, group), split in zip(ROWS, ("train", "test"), strict=True)
)
NAMES = ("file", "label", "split", "group")


def text(separator=",", names=NAMES):
    return "\n".join(separator.join(row) for row in (names, *ROWS)) + "\n"


def jsonl(names=NAMES):
    return "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in ROWS)


@pytest.mark.parametrize("stem", ["manifest", "metadata", "Metadata"])
@pytest.mark.parametrize(
    ("ending", "content"),
    [
        ("csv", text().encode()),
        ("csv", text(";").encode()),
        ("csv", text("\t").encode()),
        ("tsv", text("\t").encode()),
        ("csv", ("sep=;\r\n" + text(";")).encode()),
        ("CSV", text(";").encode("utf-8-sig")),
        ("csv", text().encode("utf-16")),
        ("csv", (text() + ",,,\n\n").encode()),
        ("csv", text(names=("file_name", "Label ", "SPLIT", "group")).encode()),
        ("jsonl", jsonl().encode()),
        ("ndjson", jsonl().encode("utf-8-sig")),
        ("jsonl", jsonl(("file_name", *NAMES[1:])).encode("utf-16")),
    ],
)
def test_whatever_a_spreadsheet_or_a_data_frame_leaves_is_read(stem, ending, content, tmp_path):
    (tmp_path / f"{stem}.{ending}").write_bytes(content)
    assert read_lists(tmp_path) == LISTED


@pytest.mark.parametrize("name", ["metadata.parquet", "manifest.pq", "train/metadata.parquet"])
def test_parquet_is_read(name, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    rows = [("x.png", 1, 6.0, 40, 7), ("y.png", 2, 7.0, None, 3)]
    columns = zip(*rows, strict=True)
    names = ("file_name", "label", "group", "age", "__index_level_0__")
    pq.write_table(pa.table(dict(zip(names, map(list, columns), strict=True))), path)
    below = path.parent.relative_to(tmp_path)
    assert read_lists(tmp_path, {"metadata": ("age",)}) == (
        Listed((below / "x.png").as_posix(), "1", None, "6.0", (("age", "40"),)),
        Listed((below / "y.png").as_posix(), "2", None, "7.0"),
    )
    path.write_bytes(b"PAR1 cut short")
    with pytest.raises(DataError, match=r"metadata|manifest.* cannot be read as a parquet file"):
        read_lists(tmp_path)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([2**31 - 1], pa.int32()).cast(pa.date32()),
        pa.array([2**62], pa.int64()).cast(pa.duration("s")),
        pa.array([0], pa.int64()).cast(pa.timestamp("us", "No/Where")),
        pa.array([b"\xff\xfe"], pa.binary()).view(pa.string()),
    ],
    ids=["date", "duration", "time zone", "text"],
)
def test_parquet_values_that_there_are_none_of(column, tmp_path):
    table = pa.table({"file": ["x.png"], "label": ["a"], "group": column})
    pq.write_table(table, tmp_path / "manifest.parquet")
    with pytest.raises(DataError, match=r"manifest\.parquet cannot be read as a parquet file: \S"):
        read_lists(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.csv", "x" * 200_000 + ",label\n"),
        ("manifest.jsonl", json.dumps({"x" * 200_000: 1}) + "\n"),
        ("manifest.jsonl", json.dumps({"file": "x.png", "label": "a|" * 9000}) + "\n"),
        ("manifest.jsonl", json.dumps({"file": "/" * 9000, "label": "a"}) + "\n"),
        ("manifest.csv", ",".join(f"name {number}" for number in range(2000)) + "\n"),
    ],
)
def test_messages_about_damaged_lists_can_be_read(name, content, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as error:
        read_lists(tmp_path)
    assert name in str(error.value)
    assert len(str(error.value)) < 2000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"file": "x.png", "label": "a"}\n{"file"', "line 2: .*; write one JSON object a line"),
        (b'{"file": "x.png", "file": "y.png"}', "line 1: a name stands there twice"),
        (b"[1]", "line 1: no JSON object"),
        (b"{}", "has no column file, label .it has: nothing"),
        (b'{"file": "x.png", "label": ["a", "b"]}', r"x\.png has several labels"),
        (b'{"file": "x.png", "label": NaN}', "has the label 'nan', which stands for a missing"),
        (b'{"file": "x.png", "label": null}', r"line 1: x\.png has no label"),
        (b'\xff{"file": "x.png"}', "cannot be read as JSON lines UTF-8 text: .*; save it as UTF-8"),
        ('{"file": "x.png"}'.encode("utf-16-le"), "holds zero bytes, as UTF-16 without"),
    ],
)
def test_bad_json_lines_are_named(content, message, tmp_path):
    (tmp_path / "metadata.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_lists(tmp_path)


# -- columns ---------------------------------------------------------------------------------------


def manifest(folder, header, *rows):
    folder.mkdir(exist_ok=True)
    (folder / "manifest.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    "name",
    [
        "patient",
        "patient_id",
        "PatientID",
        "Patient ID",
        "subject",
        "case_no",
        "lesion_id",
        "mrn",
        "MRN",
        "pateint",
        "gruop",
    ],
)
def test_a_column_that_looks_like_a_group_is_named_as_one(name, tmp_path):
    manifest(tmp_path, f"file,label,{name}", "x.png,a,1", "y.png,b,1")
    with pytest.raises(DataError, match=rf"'{name}' \(it looks like a group\)") as error:
        read_lists(tmp_path)
    assert f"group={name}" in str(error.value)
    assert read_lists(tmp_path, {"group": (name,)})[1].group == "1"


@pytest.mark.parametrize(
    "name", ["subset", "partition", "Set", "spilt", "fold", "phase", "usage", "q"]
)
def test_a_column_that_looks_like_a_split_is_named_as_one(name, tmp_path):
    manifest(tmp_path, f"file,label,{name}", "x.png,a,train", "y.png,b,val")
    with pytest.raises(DataError, match=rf"'{name}' \(it looks like a split\).*split={name}"):
        read_lists(tmp_path)
    assert read_lists(tmp_path, {"split": (name,)})[1].split == "validation"


def test_folds_are_no_splits(tmp_path):
    manifest(tmp_path, "file,label,fold", "x.png,a,0", "y.png,b,1")
    with pytest.raises(DataError, match=r"its values, 0, 1, are not train, .*metadata=fold"):
        read_lists(tmp_path)
    with pytest.raises(DataError, match="line 2: unknown split '0'"):
        read_lists(tmp_path, {"split": ("fold",)})


@pytest.mark.parametrize(
    ("header", "row", "columns", "message"),
    [
        ("image,dx", "x.png,a", {}, r"no column file, label .*file=image, --columns label=dx"),
        ("file,label,lable", "x.png,a,b", {}, r"'lable' \(did you mean 'label'\?\)"),
        ("file,label,a b", "x.png,a,b", {}, "--columns 'metadata=a b'"),
        (
            "file,label,group",
            "x.png,a,b",
            {"group": ("patient",)},
            "no column 'patient', which is de",
        ),
        ("file,label,group,pat", "x.png,a,b,c", {"group": ("pat",)}, "unknown column 'group'"),
        ("file,file_name,label", "x.png,x.png,a", {}, "the columns file and file_name: say which"),
        ("file,label,dx", "x.png,a,b", {"label": ("dx",)}, "unknown column 'label'"),
        ("file,label,", "x.png,a,P1", {}, "number 3, without a name"),
        ("file,label,Unnamed: 2", "x.png,a,0.5", {}, "'Unnamed: 2'"),
    ],
)
def test_columns_that_nothing_says_the_use_of(header, row, columns, message, tmp_path):
    manifest(tmp_path, header, row)
    with pytest.raises(DataError, match=message):
        read_lists(tmp_path, columns)


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_a_nameless_column_that_numbers_the_rows_is_passed_over_and_said(name, tmp_path):
    for folder, kind in (("a", 0), ("b", 90)):
        (tmp_path / folder).mkdir()
        for number in range(2):
            Image.new("L", (4, 4), number + kind).save(tmp_path / folder / f"{number}.png")
    rows = [f"{n},{c}/{n % 2}.png,{c}" for n, c in enumerate("aabb")]
    manifest(tmp_path, f"{name},file,label", *rows)
    table = read_table(
        FolderDataset(name="own", modality="m", path=tmp_path), Access(cache=tmp_path / "cache")
    )
    assert len(table.samples) == 4
    assert [note for note in table.notes if "only numbers the rows; passed over" in note]


def test_columns_as_options():
    assert parse_columns(["group=patient_id", "metadata=age, sex", "metadata=site"]) == {
        "": {"group": ("patient_id",), "metadata": ("age", "sex", "site")}
    }
    own, ham = with_options(
        [parse_data_option("own=x"), parse_data_option("xray:ham=y")],
        ["group=pid", "ham:label=dx", "ham:group=lesion"],
        join_labels=True,
    )
    assert own.columns == {"group": ("pid",)}
    assert ham.columns == {"group": ("lesion",), "label": ("dx",)}
    assert ham.join_labels


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["patient_id"], "write ROLE=COLUMN or NAME:ROLE=COLUMN"),
        (["group="], "write ROLE=COLUMN"),
        (["gruop=p"], r"unknown role 'gruop'; did you mean 'group'\?; roles are file, label"),
        (["group=a", "group=b"], "group is given twice"),
        (["group=a,b"], "group takes one column, not 2"),
        (["group=a", "metadata=A"], "column a has more than one role"),
        (["group=@folder"], "@folder can only be the label"),
        (["hma:label=dx"], r"no folder is called 'hma'; did you mean 'ham'"),
    ],
)
def test_columns_of_another_form(options, message):
    with pytest.raises(UsageError, match=message):
        with_options([parse_data_option("ham=y")], options)


def test_columns_without_a_folder_or_a_list(tmp_path):
    with pytest.raises(UsageError, match="--columns is about folders of your own"):
        with_options([], ["group=p"])
    with pytest.raises(UsageError, match="--join-labels is about folders"):
        with_options([], join_labels=True)
    for name in ("a/1.png", "b/1.png"):
        (tmp_path / name).parent.mkdir()
        Image.new("L", (4, 4)).save(tmp_path / name)
    own = FolderDataset(name="own", modality="m", path=tmp_path, columns={"group": "p"})
    with pytest.raises(DataError, match=r"columns are declared \(group=p\), but .* holds no list"):
        own.load(Access(cache=Path("unused")))


# -- lists that are not read -----------------------------------------------------------------------


@pytest.fixture
def images(tmp_path):
    for name in ("a/1.png", "a/2.png", "b/3.png", "b/4.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name)
    return tmp_path


def load(folder, **settings):
    own = FolderDataset(name="own", modality="m", path=folder, **settings)
    return own.load(Access(cache=Path("unused")))["train"][:]


NAMED = "1.png one\n2.png two\n"


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("manifest.xlsx", "", "save it as manifest.csv"),
        ("clinical.xls", "", "save it as manifest.csv"),
        ("metadata.json", "[]", "save it as manifest.csv"),
        ("metadata.feather", "", "save it as manifest.csv"),
        ("a/table.ods", "", "save it as manifest.csv"),
        ("labels.csv", "", "call it manifest.csv"),
        ("a/patients.tsv", "", "call it manifest.tsv"),
        ("data.parquet", "", "call it manifest.parquet"),
        ("Labels.txt", "", "save it as manifest.csv"),
        ("train_labels.npy", "", "save it as manifest.csv"),
        ("metadata.csv.gz", "", "save it as manifest.csv"),
        ("info.txt", NAMED, "save it as manifest.csv"),
        ("coco.json", json.dumps([{"file_name": "a/1.png"}, {"file_name": "b/3.png"}]), "save it"),
        ("all.xml", "<i>1.png</i><i>2.png</i>", "save it as manifest.csv"),
        ("labels", NAMED, "save it as manifest.csv"),
    ],
)
def test_what_looks_like_a_list_is_refused_by_name(name, content, remedy, images):
    (images / name).write_text(content)
    with pytest.raises(DataError, match="looks like a list and is not read") as error:
        load(images)
    assert str(images / name) in str(error.value)
    assert remedy in str(error.value)
    (images / "manifest.csv").write_text("file,label\n")
    with pytest.raises(DataError, match=r"is not read, beside .*manifest\.csv, which is: put what"):
        load(images)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("README.md", NAMED),
        ("notes.txt", "taken in 2019; 1.png is blurred"),
        ("a/1.json", '{"image": "1.png"}'),
        ("a/Thumbs.db", ""),
        ("~$manifest.xlsx", ""),
        (".~lock.manifest.csv#", ""),
        ("LICENSE", ""),
        ("more.zip", ""),
        ("classes.txt", "a\nb\n"),
    ],
)
def test_notes_are_no_lists(name, content, images):
    (images / name).write_text(content)
    assert load(images)["label"] == ["a", "a", "b", "b"]


def test_beside_a_list_a_folder_is_a_label_only_if_the_user_says_so(images):
    files = ("a/1.png", "a/2.png", "b/3.png", "b/4.png")
    rows = {"file_name": list(files), "group": ["p", "p", "q", "q"]}
    pq.write_table(pa.table(rows), images / "metadata.parquet")
    with pytest.raises(DataError, match=r"no column label .*--columns label=@folder if the folder"):
        load(images)
    found = load(images, columns={"label": "@folder"})
    assert (found["label"], found["group"]) == (["a", "a", "b", "b"], ["p", "p", "q", "q"])


def test_json_lines_in_the_folder_of_each_split(tmp_path):
    """As the Hub has it: names from the list's folder, patients, and folders for classes."""
    for split in ("train", "test"):
        lines = []
        for number in range(4):
            path = tmp_path / split / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), number).save(path)
            lines.append(
                {
                    "file_name": f"{'ab'[number % 2]}/{number}.png",
                    "patient": f"{split[:2]}{number // 2}",
                }
            )
        (tmp_path / split / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(
        DataError, match=r"no column label .*'patient' .it looks like a group"
    ) as error:
        load(tmp_path)
    assert "--columns group=patient, --columns label=@folder if" in str(error.value)
    given = {"group": "patient", "label": "@folder"}
    tables = FolderDataset(name="own", modality="m", path=tmp_path, columns=given).load(Access())
    assert {split: table[:]["group"] for split, table in tables.items()} == {
        "train": ["tr0", "tr1", "tr0", "tr1"],
        "test": ["te0", "te1", "te0", "te1"],
    }
    assert tables["test"][:]["label"] == ["a", "a", "b", "b"]


def test_metadata_stand_in_the_split_file_and_nowhere_else(images, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    for number, place in enumerate(sorted(images.rglob("*.png"))):
        Image.new("L", (8, 8), 60 * number).save(place)
    for number in range(5, 9):
        Image.new("L", (8, 8), 20 * number).save(images / f"a/{number}.png")
        Image.new("L", (8, 8), 20 * number + 9).save(images / f"b/{number}.png")
    files = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.png"))
    protocol = Protocol(name="p", resize=8, crop=8)

    def splits(header, row, columns):
        manifest(images, f"file,label{header}", *(f"{f},{f[0]}{row}" for f in files))
        own = FolderDataset(name="own", modality="m", path=images, columns=columns)
        access = Access(cache=cache)
        return prepare_dataset(own, protocol, access).splits, audit(own, access).report

    bare, _ = splits("", "", {})
    same, _ = splits(",age", ",41", {"ignore": "age"})
    more, report = splits(",age,sex", ",41,", {"metadata": ("age", "sex")})
    assert "metadata" not in bare.model_dump_json()
    assert same.sha256 == bare.sha256
    assert more.fingerprint == bare.fingerprint
    assert more.sha256 != bare.sha256
    assert {tuple(one.metadata.items()) for one in more.samples} == {(("age", "41"),)}
    assert Splits.model_validate_json(more.model_dump_json()) == more
    assert report.metadata == {"age": {"41": len(files)}}
    assert "metadata age: 41 (12)" in render(report)


def test_columns_from_the_command_line_and_a_suite_file(images, toy_cli, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    for number in range(5, 9):
        Image.new("L", (8, 8), 20 * number).save(images / f"a/{number}.png")
        Image.new("L", (8, 8), 20 * number + 9).save(images / f"b/{number}.png")
    files = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.png"))
    manifest(images, "file,label,patient_id", *(f"{f},{f[0]},{f}" for f in files))
    data = ("--data", f"own={images}")
    args = ("--dry-run", "--out", out / "runs", "--datasets", "own")
    message = toy_cli("bench", "toy", *data, *args, exit_code=2).output
    assert "(it looks like a group); say what it is: --columns group=patient_id" in message
    group = ("--columns", "own:group=patient_id")
    assert "data own" in toy_cli("bench", "toy", *data, *args, *group).output
    toy_cli("data", "audit", *data, *group)
    toy_cli("data", "audit", *data, exit_code=2)
    suite = out / "mine.toml"
    folder = f'path = "{images}", columns = {{group = "patient_id"}}, join_labels = true'
    suite.write_text(f'extends = "toy"\ndatasets = ["own"]\n[data]\nown = {{{folder}}}\n')
    assert "data own" in toy_cli("bench", suite, "--dry-run", "--out", out / "runs").output
    for wrong, said in {
        "colums = 1": "unknown key 'colums'; did you mean 'columns'?",
        'columns = {grup = "patient_id"}': "unknown role 'grup'; did you mean 'group'?",
        'columns = {group = ["a", "b"]}': "group takes one column, not 2",
        'window = "lnug"': "'lnug' is no window; did you mean 'lung'?",
        "window = 3": "window: Input should be a valid string",
        'join_labels = "perhaps"': "join_labels: Input should be a valid boolean",
    }.items():
        suite.write_text(f'extends = "toy"\n[data]\nown = {{path = "{images}", {wrong}}}\n')
        message = toy_cli("bench", suite, exit_code=2).output
        assert "suite file" in message
        assert "[data] own" in message
        assert said in message
    suite.write_text(f'extends = "toy"\n[data]\n"Bad Name" = "{images}"\n')
    message = toy_cli("bench", suite, exit_code=2).output
    assert "[data] Bad Name: 'Bad Name' is no id" in message
    suite.write_text('extends = "toy"\n[data]\nown = {path = "\\u0000"}\n')
    assert "write a folder, or a table" in toy_cli("bench", suite, exit_code=2).output


def test_a_suite_file_says_of_a_folder_what_the_command_line_says(images, tmp_path):
    """Modality, columns, joined labels and window; an option counts before it."""
    suite = tmp_path / "mine.toml"
    suite.write_text(
        f"""extends = "demo"
        [data."mri:own"]
        path = "{images}"
        columns = {{group = "patient_id", metadata = ["age", "sex"]}}
        join_labels = true
        window = "lung"
        """
    )
    _, (by_file,) = read_suite(suite, load_plugins([]))
    folder = parse_data_option(f"mri:own={images}")
    given = with_options(
        [folder], ["own:group=patient_id", "own:metadata=age,sex"], join_labels=True
    )
    assert [by_file] == with_windows(given, ["own:lung"])
    request = BenchRequest(
        suite=str(suite), datasets=("own",), window=("own:bone",), columns=("group=mrn",)
    )
    chosen = resolve_suite(request, load_plugins([])).datasets["own"]
    assert chosen.window == "bone"
    assert chosen.columns["group"] == ("mrn",)
    assert chosen.columns["metadata"] == ("age", "sex")


@pytest.mark.parametrize(
    ("modality", "options"),
    [("", {"window": ("lung",)}), ("", {"columns": ("group=a",)}), ("mri:", {})],
)
def test_what_a_plugin_declares_is_not_said_again(tmp_path, modality, options):
    """It was passed over in silence: a window and a modality."""
    request = BenchRequest(
        suite="demo",
        data=(f"{modality}bloodmnist={tmp_path}",),
        datasets=("bloodmnist",),
        **options,
    )
    with pytest.raises(UsageError, match="its plugin says"):
        resolve_suite(request, load_plugins([]))
