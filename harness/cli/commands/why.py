"""`harness why`: the differences that keep a finished run from being reused."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.session import Session, example, pass_session, print_table, print_text


@click.command(epilog=example("harness why 1f0c2a --results results/demo"))
@click.argument("run")
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="The results folder of the run [results/*].",
)
@click.option("--weights", metavar="FOLDER", help="Where weights lie now, if not the default.")
@pass_session
def command(session: Session, run: str, results: Path | None, weights: str | None) -> None:
    """Say what is different now from when a run was made.

    RUN is its id, or the first digits of it.
    """
    from harness.api.dataset import Access
    from harness.benchmark import reuse
    from harness.utils.text import clean

    places = reuse.folders_to_search(results)
    store, result = reuse.find_run(places, run, named=results is not None)
    access = Access(offline=True)
    suite = store.plan().suites.get(result.suite)
    found = list(reuse.explain_reuse(result, session.plugins, access, weights, suite))
    changed = [one for one in found if isinstance(one, reuse.IdentityDifference)]
    place = f"run {result.run_id} in {store.folder}"
    print_text(clean(f"{place}: {result.spec.cell}, seed {result.spec.seed}"))
    if changed:
        print_table(("what", "then", "now", "meaning"), changed, 50)
    else:
        print_text("code, default settings, weights and data are as they were: reused if asked for")
    for one in found:
        if isinstance(one, reuse.UnknownPart):
            print_text(clean(f"not known: {one.what}: {one.reason}"))
    if newer := reuse.newer_run(store, result):
        print_text(
            f"\nrun {clean(newer.run_id)} of the same cell and seed was made later; it differs in"
        )
        print_table(
            ("what", "this run", "the later one"),
            reuse.spec_differences(result.spec, newer.spec),
            50,
        )
