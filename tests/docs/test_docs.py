"""Every fenced block of the docs parses; the pages that say they run are run from top to bottom.

A block that begins ```python title="FILE" is written to FILE.  Of ```console and ```bash blocks
the lines that call `harness` are run, and `python FILE`.  A block below `<!-- not run: REASON -->`
is only parsed.
"""

import ast
import json
import math
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
import yaml
from command import Cli, python
from places import ROOT

import harness.testing
from harness.plugins.registry import load_plugins

DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "benchmarks").glob("**/README.md"),
        *DOCS.rglob("*.md"),
    ]
)
YAML = sorted([*DOCS.rglob("*.yml"), *DOCS.rglob("*.yaml")])
FENCE = re.compile(
    r"^(?P<note><!-- not run: .*?-->\n)?```(?P<head>.*)\n(?P<text>(?:.*\n)*?)```$", re.MULTILINE
)
TITLE = re.compile(r'title="([^"]+)"')
REGENERATE = "it does not follow from the code any more: run `python docs/generate.py`"


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: Path
    line: int
    language: str
    file: str | None
    run: bool
    text: str

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page):
    text = page.read_text(encoding="utf-8")
    found = list(FENCE.finditer(text))
    assert text.count("\n```") + text.startswith("```") == 2 * len(found), f"{page}: an odd fence"
    for one in found:
        language, _, more = one["head"].partition(" ")
        title = TITLE.search(more)
        yield Block(
            page=page,
            line=text.count("\n", 0, one.start("head")) + 1,
            language=language,
            file=title[1] if title else None,
            run=one["note"] is None,
            text=one["text"],
        )


BLOCKS = [block for page in PAGES for block in blocks(page)]


def lines_of(text):
    """The commands of a shell block, one a line; comments and continuations undone."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        command = []
        for word in [*words, "&&"]:
            if word in {"&&", "||", ";", "|"}:
                if command:
                    yield command
                command = []
            else:
                command.append(word)


def harness_calls(text):
    """Arguments of every call of `harness`, without what the shell does with its output."""
    for command in lines_of(text):
        if Path(command[0]).name == "harness":
            ends = [n for n, word in enumerate(command) if re.fullmatch(r"\d?>>?(&\d)?", word)]
            words = command[1 : min(ends, default=len(command))]
            yield [word for word in words if not word.endswith("[@]}")]  # an array of the shell


def parse_only(monkeypatch, args):
    """Let click parse a call, and stop before anything is done."""
    with monkeypatch.context() as patch:
        patch.setattr(click.Command, "invoke", lambda self, ctx: None)
        Cli()(*args)


# -- every block ----------------------------------------------------------------------------------


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_block_parses(block, monkeypatch):
    if block.language == "python":
        compile(block.text, str(block), "exec")
    elif block.language == "json":
        json.loads(block.text)
    elif block.language == "toml":
        tomllib.loads(block.text)
    elif block.language in {"yaml", "yml"}:
        yaml.safe_load(block.text)
    elif block.language in {"bash", "console"}:
        for args in harness_calls(block.text):
            parse_only(monkeypatch, args)
    else:
        assert block.language in {"", "text"}, f"{block}: name the block's language"


def test_a_call_that_does_not_parse_is_told(monkeypatch):
    with pytest.raises(AssertionError, match="No such option"):
        parse_only(monkeypatch, ["bench", "--epoks", "3"])


def test_calls_are_found_behind_others():
    text = 'a && .venv/bin/harness bench \\\n  --limit 3 >> "$X"  # told\nnothing\nharness list | head\n'
    assert list(harness_calls(text)) == [["bench", "--limit", "3"], ["list"]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            there = page.parent / path if path else page
            assert there.exists(), f"{page.name} links to {target}"
            if anchor and there.suffix == ".md":
                assert anchor in anchors(there), f"{page.name} links to {target}"


def anchors(page):
    heads = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_the_site_has_every_page():
    """`mkdocs build --strict` in CI says so too, and looks at every link."""

    def pages(entries):
        for entry in entries:
            (target,) = entry.values()
            yield from [target] if isinstance(target, str) else pages(target)

    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    there = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert sorted(pages(site["nav"])) == sorted(there), "mkdocs.yml: `nav` names every page once"
    assert set(site["validation"]["links"].values()) == {"warn"}
    assert site["theme"]["font"] is False


def test_the_citation_is_that_of_the_project():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert cited["cff-version"] == "1.2.0"
    assert cited["message"]
    assert [author["name"] for author in cited["authors"]] == [
        author["name"] for author in project["authors"]
    ]
    for key, value in {"title": "name", "version": "version", "license": "license"}.items():
        assert cited[key] == project[value]
    assert set(cited["keywords"]) <= set(project["keywords"])


def test_the_glossary_names_modules_that_are_there():
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(harness(?:\.\w+)+)`", text))
    assert len(named) > 20
    assert not [name for name in named if find_spec(name) is None]


# -- YAML files -----------------------------------------------------------------------------------


def scripts(value):
    """Shell texts of a workflow, an action or a pipeline."""
    if isinstance(value, dict):
        for key, one in value.items():
            texts = [one] if isinstance(one, str) else one
            if key in {"run", "script", "before_script"}:
                yield "\n".join(texts)
            else:
                yield from scripts(one)
    elif isinstance(value, list):
        for one in value:
            yield from scripts(one)


@pytest.mark.parametrize("file", YAML, ids=lambda file: str(file.relative_to(ROOT)))
def test_yaml_holds_calls_that_parse(file, monkeypatch):
    texts = list(scripts(yaml.safe_load(file.read_text(encoding="utf-8"))))
    calls = [args for text in texts for args in harness_calls(text)]
    assert calls
    for args in calls:
        parse_only(monkeypatch, args)


def test_the_action_gets_its_inputs_from_the_environment():
    """`${{ inputs.x }}` inside a script would let a name in a pull request run as a command."""
    action = yaml.safe_load((DOCS / "ci" / "action.yml").read_text(encoding="utf-8"))
    steps = action["runs"]["steps"]
    used = {
        name for step in steps for text in (step.get("env") or {}).values()
        for name in re.findall(r"inputs\.([\w-]+)", str(text))
    } | {
        name for step in steps for text in [*(step.get("with") or {}).values(), step.get("if", "")]
        for name in re.findall(r"inputs\.([\w-]+)", str(text))
    }  # fmt: skip

    assert action["runs"]["using"] == "composite"
    assert all("${{" not in step.get("run", "") for step in steps)
    assert all(step["shell"] == "bash" for step in steps if "run" in step)
    assert used == set(action["inputs"])


@pytest.mark.parametrize(
    ("inputs", "more"),
    [
        ({}, []),
        ({"BEYOND": "false"}, []),
        (
            {"TOLERANCE": "xray/*=2", "COST": "0.2", "ALLOWED": "mri/* x", "BEYOND": "true",
             "SPREAD": "1.5"},
            ["--tolerance", "xray/*=2", "--cost", "0.2", "--allow-not-comparable", "mri/* x",
             "--beyond-images", "--seed-spread", "1.5"],
        ),
    ],
)  # fmt: skip
def test_the_action_calls_the_gate(tmp_path, inputs, more):
    """Its script, in bash, with a `harness` that notes its arguments and fails."""
    action = yaml.safe_load((DOCS / "ci" / "action.yml").read_text(encoding="utf-8"))
    step = action["runs"]["steps"][0]
    given = {"BASELINE": "a b", "CANDIDATE": "$(c)", "METRIC": "accuracy", "REPORT": "out"}
    given |= dict.fromkeys(("TOLERANCE", "COST", "ALLOWED", "BEYOND", "SPREAD"), "") | inputs
    assert step["env"].keys() == given.keys()
    fake = tmp_path / "harness"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > called\nexit 1\n')
    fake.chmod(0o755)
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-euo", "pipefail", "-c", step["run"]],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", **given},
        check=False,
    )
    reports = [("junit", "xml"), ("markdown", "md"), ("figures", "json"), ("sarif", "sarif")]
    named = [word for name, end in reports for word in (f"--{name}", f"out/gate.{end}")]

    assert done.returncode == 1
    assert (tmp_path / "called").read_text().splitlines() == [
        *("check", "a b", "$(c)", "--metric", "accuracy"), *named, *more
    ]  # fmt: skip
    assert (tmp_path / "out").is_dir()


# -- generated pages ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generate():
    sys.path.insert(0, str(DOCS))
    try:
        import generate
    finally:
        sys.path.remove(str(DOCS))
    return generate


def test_hooks_page_is_current(generate):
    assert (DOCS / "hooks.md").read_text() == generate.hooks_page(), REGENERATE


def test_cli_page_is_current(generate):
    assert (DOCS / "cli.md").read_text() == generate.cli_page(), REGENERATE


def test_the_page_of_the_notebook_is_current(generate):
    page = generate.notebook_page.page()
    assert (DOCS / "notebook.md").read_text().endswith(page), REGENERATE
    assert page.count("```python") > 6
    assert "<script" not in page


def test_the_reference_is_current_and_has_every_name(generate):
    text = (DOCS / "reference.md").read_text()
    kit = {f"harness.testing.{name}" for name in harness.testing.__all__}
    listed = re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE)

    assert text.endswith(generate.reference_page.page()), REGENERATE
    assert sorted(listed) == sorted({f"harness.{name}" for name in harness.__all__} | kit)


def test_cli_page_has_every_command_and_option(generate):
    page = generate.cli_page()
    for name in ("bench", "data fetch", "plugins new", "check", "why", "slurm submit"):
        assert f"## `harness {name}" in page
    for option in (
        "--shards",
        "--skip-bad-images",
        "--junit",
        "--older-than",
        "--kind",
        "--replay",
    ):
        assert f"| `{option}" in page
    assert page.count(" Required. |") > 4  # of publish, submit, predict, export, ...


def test_every_hook_has_an_example_that_loads(generate):
    from types import ModuleType

    from harness.api import hooks

    specified = {name for name in vars(hooks) if name.startswith("harness_")}
    assert set(generate.EXAMPLES) == specified
    for name, text in generate.EXAMPLES.items():
        module = ModuleType(f"example_of_{name}")
        exec(compile(text, name, "exec"), vars(module))
        loaded = load_plugins([module])
        assert not loaded.broken, loaded.broken
        assert hasattr(module, name)


# -- pages that run -------------------------------------------------------------------------------


def run_page(page, folder, monkeypatch):
    """Write the files and carry out the commands of a page, in order; what each command said."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HARNESS_CACHE", str(folder / "cache"))
    said = {}
    for block in blocks(page):
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
        elif block.run and block.language in {"bash", "console"}:
            for command in lines_of(block.text):
                said[shlex.join(command)] = carry_out(command, str(block))
    return said


def carry_out(command, where):
    program, *args = command
    if program == "python":
        runpy.run_path(args[0], run_name="__main__")
        return ""
    assert program == "harness", f"{where}: {program} is not run by the tests; mark the block"
    return Cli()(*args).output


@pytest.mark.slow
def test_the_tutorial_leads_to_a_row_on_the_board(tmp_path, monkeypatch):
    said = run_page(DOCS / "write-a-strategy.md", tmp_path, monkeypatch)
    text = " ".join(said.values())
    board = (tmp_path / "results" / "small" / "leaderboard.md").read_text()

    assert "17 of 17 promises kept" in text
    assert "3 runs made, 0 were there already" in text
    assert "1 runs made, 2 were there already" in text
    assert "bias-only" in board
    assert "rate=3" in board or "rate = 3" in board


@pytest.mark.slow
def test_the_metric_page_leads_to_a_board_ranked_by_it(tmp_path, monkeypatch):
    said = run_page(DOCS / "write-a-metric.md", tmp_path, monkeypatch)
    ranked = said["harness -p ./g_mean.py board results/mine --metric g-mean --format md"]
    records = [
        json.loads(path.read_text()) for path in (tmp_path / "results/mine/runs").rglob("*.json")
    ]

    assert any("13 of 13 promises kept" in text for text in said.values())
    assert "g-mean, higher is better" in ranked
    assert len(records) == 2
    for record in records:
        recalls = record["metrics"]["per-class-recall"]["by_class"].values()
        mean = math.prod(recalls) ** (1 / len(recalls))
        assert mean > 0
        assert record["metrics"]["g-mean"]["value"] == pytest.approx(mean)


@pytest.mark.slow
def test_the_page_on_launchers_leads_to_a_run(tmp_path, monkeypatch):
    (said,) = run_page(DOCS / "launchers.md", tmp_path, monkeypatch).values()
    assert "1 runs made, 0 were there already" in said
    assert len(list((tmp_path / "results/here/runs").rglob("*.json"))) == 1


@pytest.mark.slow
def test_the_backbone_page_leads_to_rows_on_the_board(tmp_path, monkeypatch):
    said = run_page(DOCS / "write-a-backbone.md", tmp_path, monkeypatch)
    records = (tmp_path / "results/tiny-net/runs/demo-mri/tiny-net").rglob("*.json")

    assert any("14 of 14 promises kept" in text for text in said.values())
    assert sorted(path.parent.name for path in records) == ["full-ft", "gradual-last-first"]


@pytest.mark.slow
def test_ten_minutes_of_a_newcomer(tmp_path, monkeypatch, capsys):
    said = run_page(DOCS / "ten-minutes.md", tmp_path, monkeypatch)
    told = {call.split(" --data")[0]: text for call, text in said.items()}

    assert "2 runs made, 0 were there already" in next(iter(said.values()))
    audit = told["harness data audit"]
    assert "left/03.png" in audit
    assert "right/copy.png" in audit
    plan, ran = [text for call, text in said.items() if call.startswith("harness bench --data")]
    assert "9 runs = " in plan
    assert "estimated time: " in plan
    assert "9 runs made, 0 were there already" in ran
    assert "harness board results/spots --full" in " ".join(ran.split())
    assert "everything holds" in said["harness verify results/spots"]
    assert "lp-ft" in capsys.readouterr().out  # of look.py
    lines = (tmp_path / "predicted.csv").read_text().splitlines()
    assert lines[0] == "file,predicted,p:left,p:middle,p:right,runs"
    assert len(lines) == 25


@pytest.mark.slow
def test_all_of_harness_runs_from_top_to_bottom(tmp_path, monkeypatch):
    said = run_page(DOCS / "all-of-harness.md", tmp_path, monkeypatch)

    assert (tmp_path / "results" / "tiny" / "leaderboard.html").is_file()
    gate = next(text for call, text in said.items() if call.startswith("harness check"))
    tolerances = {
        line.split()[0]: line.split()[-3] for line in gate.splitlines() if "equal " in line
    }
    assert "PASS: 4 equal" in gate
    assert tolerances["demo-mri/resnet50-mini/full-ft"] == "-2"  # as [tolerances] says
    assert tolerances["demo-xray/resnet50-mini/full-ft"] == "-1"
    assert any("everything holds" in text for text in said.values())


@pytest.mark.slow
def test_the_page_on_python_runs_as_a_script_without_a_guard(tmp_path):
    """Its workers are given tasks and never the script, which would begin again in each of them."""
    script = next(one for one in blocks(DOCS / "python.md") if one.file == "first.py")
    (tmp_path / script.file).write_text(script.text, encoding="utf-8")
    assert '"jobs": 2' in script.text
    assert "__main__" not in script.text
    done = python("first.py", cwd=tmp_path)

    first, *rest = done.stdout.splitlines()
    assert first == "2 of 2 runs to do in results/first"
    assert "2 runs made, 0 were there already" in done.stdout
    assert rest[-1] == "True"
    assert done.stdout.count(first) == 1
    assert "estimated time: " in done.stderr
    assert "everything holds" in Cli()("verify", tmp_path / "results" / "first").output


@pytest.mark.slow
def test_a_winner_is_used_from_top_to_bottom(tmp_path, monkeypatch):
    said = run_page(DOCS / "use-the-winner.md", tmp_path, monkeypatch)

    lines = (tmp_path / "predicted.csv").read_text().splitlines()
    assert lines[0].startswith("file,predicted,p:")
    assert [line.split(",")[0] for line in lines[1:]] == [
        f"new/grey-{g}.png" for g in (140, 40, 90)
    ]
    assert {len(line.split(",")[-1].split()) for line in lines[1:]} == {2}  # two runs
    assert any("mean of the probabilities of seeds 0, 1" in text for text in said.values())
    there = {path.name for path in (tmp_path / "xray-network").iterdir()}
    assert there == {"README.md", "config.json", "model.safetensors"}


# -- messages -------------------------------------------------------------------------------------


def messages_of_the_code():
    """Every text of the core, with `…` for what is filled in."""
    for file in sorted((ROOT / "harness").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (p.value if isinstance(p, ast.Constant) else "…" for p in node.values)
                yield "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


@pytest.mark.slow
def test_the_messages_are_those_of_the_code():
    heads = re.findall(r"^### (.*)$", (DOCS / "messages.md").read_text(), re.MULTILINE)
    texts = list(messages_of_the_code())
    gone = [head for head in heads if not any(says(text, head) for text in texts)]
    assert len(heads) > 20
    assert not gone, f"no message of the code any more: {gone}"


def says(text, head):
    """True if the fixed parts of a heading stand in a text, in order."""
    parts = [part for part in head.split("…") if part.strip(" :;,")]
    return re.search(".*".join(map(re.escape, parts)), text, re.DOTALL) is not None


def test_a_message_that_went_is_told():
    assert says("dataset …: no sample for … (… samples)", "dataset …: no sample for …")
    assert not says("dataset …: no sample for …", "dataset …: no image for …")
