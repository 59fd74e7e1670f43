"""Golden plans: what the phases of a run were, a line each, for a reviewer to read in a change."""

from places import DATA_FILES


def assert_as_recorded(name, result):
    """The phases of a run are those of `golden/plans/NAME.txt`."""
    plan = ""
    for p in result.phases:
        learning = " ".join(stage for stage, rate in p.rates.items() if rate)
        line = (
            f"{p.name:<10} {p.epochs_planned:6.4f} epochs {p.steps:3d} steps {p.trainable:6d} learning "
            f"{p.cached_stages} cached  {learning}"
        )
        plan += " ".join([line.rstrip(), *map("{:g}".format, p.shares)]) + "\n"
    golden = DATA_FILES / "golden" / "plans" / f"{name}.txt"
    assert plan == golden.read_text(encoding="utf-8")
