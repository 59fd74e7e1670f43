"""Carry out the table of mutants."""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))


@click.command(help="Put each fault of the table into a copy of the package and run its tests.")
@click.option("-k", "word", default="", help="only mutants whose line holds this text")
@click.option("--jobs", default=2, show_default=True, help="processes at a time")
@click.option("--verbose", is_flag=True, help="name the mutants that are found, and slow tests")
def main(word, jobs, verbose):
    from mutants import carry_out
    from table import MUTANTS

    sys.exit(0 if carry_out(MUTANTS, word, jobs, verbose=verbose) else 1)


if __name__ == "__main__":
    main()
