"""Who may import what.  The rules stand in docs and ADRs; here they are kept."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness import testing

PUBLIC = {"harness": harness.__all__, "harness.testing": testing.__all__}
ROOT = Path(harness.__file__).parent
PLUGINS = ROOT.parent / "plugins"

# A module imports only from those above it.  A package is one entry: inside it all may meet.
# "harness" is `harness/__init__.py`, the public API.
ROWS = (
    "deprecation errors suggest files parallel aside ahead filetypes dataset manifest folder arrays records lock rows pattern hub",
    "strategy backbone metric execution leaderboard hooks harness",
    "engine local",
    "schema predictions_file profile store",
    "images decode cache cluster stratify split table likeness twins data",
    "weights_file weights meter remote fetch inventory",
    "discovery soundness plugins",
    "device modes sizing provenance suite_file suite uploads setup executor events slots pool planning progress preparation settling call",
    "statistics claims gate split_file comparison gate_report gate_sarif",
    "tracks scores labels ranking ledger face board page_data render audit why",
    "package plans merge rescore privacy verify publish",
    "analysis standings testing scaffold",
    "app console commands cli __main__",
)
LAYERS = [name for row in ROWS for name in row.split()]

# What `import harness`, `harness --help` and `harness list` must not wait for.
HEAVY = {"torch", "torchvision", "datasets", "evaluate", "sklearn", "scipy", "pandas", "pyarrow"}


def imports(tree, *, typing=False):
    """(module, name or None) of every import, `if TYPE_CHECKING:` left out unless `typing`."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test).endswith("TYPE_CHECKING") and not typing:
        children = tree.orelse
    else:
        children = list(ast.iter_child_nodes(tree))
    if isinstance(tree, ast.Import):
        yield from ((alias.name, None) for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom):
        module = "." * tree.level + (tree.module or "")
        yield from ((module, alias.name) for alias in tree.names)
    for child in children:
        yield from imports(child, typing=typing)


def layer(module, name=None):
    """The entry of LAYERS an import of `module`, or of `name` from it, stands for."""
    parts = module.split(".")
    if parts == ["harness"] and name in LAYERS:  # a submodule, not a name of the API
        return name
    return parts[1] if len(parts) > 1 else "harness"


def upward(source, own):
    """Imports of `harness` in `source`, a module of layer `own`, that are not from above it."""
    for module, name in imports(ast.parse(source)):
        if module.startswith("."):
            yield f"relative import of {module}"
        elif module.partition(".")[0] == "harness":
            target = layer(module, name)
            if target != own and target not in LAYERS[: LAYERS.index(own)]:
                yield target


def outside_api(source, package):
    """What a built-in plugin imports but anybody else's could not."""
    for module, name in imports(ast.parse(source), typing=True):
        root = module.partition(".")[0]
        if name in PUBLIC.get(module, ()):
            continue
        if root == "harness" or (root.startswith("harness_") and root != package):
            yield module if name is None else f"{module}:{name}"


def optimizers(source):
    """Uses of torch.optim, in whatever way it is written."""
    tree = ast.parse(source)
    for module, name in imports(tree, typing=True):
        if f"{module}.{name}.".startswith("torch.optim."):
            yield module
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.optim":
            yield "torch.optim"


def sources(folder):
    found = sorted(folder.rglob("*.py"))
    assert found, f"nothing to check in {folder}"
    return [pytest.param(path, id=str(path.relative_to(folder))) for path in found]


def own_layer(path):
    first = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return "harness" if first == "__init__" else first


def test_every_module_has_its_layer():
    found = {own_layer(param.values[0]) for param in sources(ROOT)}
    assert sorted(found - set(LAYERS)) == [], "modules without a layer: add them to LAYERS"
    assert sorted(set(LAYERS) - found) == [], "layers without a module: take them out of LAYERS"
    assert len(LAYERS) == len(set(LAYERS))


@pytest.mark.parametrize("path", sources(ROOT))
def test_layers_import_downwards_only(path):
    own = own_layer(path)
    assert own in LAYERS, "a module without a layer"
    assert list(upward(path.read_text(encoding="utf-8"), own)) == []


@pytest.mark.parametrize("path", sources(PLUGINS))
def test_built_in_plugins_use_only_the_public_api(path):
    package = path.relative_to(PLUGINS).parts[0]
    assert list(outside_api(path.read_text(encoding="utf-8"), package)) == []


@pytest.mark.parametrize("path", [*sources(ROOT), *sources(PLUGINS)])
def test_only_the_engine_owns_an_optimizer(path):
    if ROOT / "engine" not in path.parents:
        assert list(optimizers(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("args", [None, ["--help"], ["list"], ["list", "--json"], ["plugins"]])
def test_start_up_imports_nothing_heavy(args, tmp_path):
    call = "import harness" if args is None else f"from harness.cli import cli; cli({args})"
    code = (
        f"import sys\ntry:\n    {call}\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print(sorted({HEAVY} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"HARNESS_NO_AUTOLOAD": "1", "HARNESS_PLUGINS": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.splitlines()[-1] == "[]"


# The checks themselves, on sources that break the rules


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from harness.api.records import Suite", []),
        ("from harness import Suite, hookimpl", []),
        ("from harness.utils import files", []),
        ("import harness.errors", []),
        ("from harness.benchmark.run import line", ["app"]),
        ("from harness.benchmark import run as app", ["app"]),
        ("import harness.cli.commands.list", ["commands"]),
        ("def f():\n    from harness.cli import cli", ["cli"]),
        ("from .records import Suite", ["relative import of .records"]),
        ("if TYPE_CHECKING:\n    from harness.benchmark.run import line", []),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    from harness.benchmark.run import line", ["app"]),
    ],
)
def test_upward_imports_are_found(source, found):
    assert list(upward(source, "store")) == found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from harness import Strategy, hookimpl", []),
        ("from harness.testing import promises", []),
        ("from harness.testing import toys", ["harness.testing:toys"]),
        ("from harness_own.canvas import draw", []),
        ("from . import canvas", []),
        ("import torch", []),
        ("import harness", ["harness"]),
        ("from harness import engine", ["harness:engine"]),
        ("from harness.api.records import Suite", ["harness.api.records:Suite"]),
        ("if TYPE_CHECKING:\n    from harness.engine import x", ["harness.engine:x"]),
        ("def f():\n    import harness_full_ft", ["harness_full_ft"]),
    ],
)
def test_imports_beyond_the_public_api_are_found(source, found):
    assert list(outside_api(source, "harness_own")) == found


@pytest.mark.parametrize(
    "source",
    [
        "import torch.optim",
        "import torch.optim.lr_scheduler as s",
        "from torch import optim",
        "from torch.optim import Adam",
        "import torch\ntorch.optim.Adam(p)",
    ],
)
def test_optimizers_are_found(source):
    assert list(optimizers(source))
    assert not list(optimizers("import torch\nfrom torch import nn\nx.optim.y"))
