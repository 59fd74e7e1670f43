"""Places of things that tests read."""

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
DOCS = ROOT / "docs"
DATA_FILES = TESTS / "data_files"
SIMULATIONS = ROOT / "benchmarks" / "simulations"
TOY = str(TESTS / "support" / "toy_plugin.py")
