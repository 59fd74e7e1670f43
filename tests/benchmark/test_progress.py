import re

import pytest
from made import made_result, made_spec

from harness.api.execution import Outcome
from harness.api.records import EpochRecord
from harness.benchmark.listeners.progress import ProgressReporter
from harness.plugins.registry import load_plugins

EPOCH = EpochRecord(phase="ft", epoch=2.0, train_loss=0.5, score=0.75, lr=1e-3, seconds=1.0)


@pytest.fixture
def loaded():
    return load_plugins(environ={})


def told(loaded, *, live, failed=False):
    kept = []
    spec = made_spec()
    result = made_result(status="failed") if failed else made_result()
    with ProgressReporter(
        loaded, 2, lambda outcome: kept.append(outcome) or outcome.result, live=live
    ) as r:
        r.run_start(spec)
        r.epoch_end(spec, EPOCH)
        r.run_end(spec, Outcome(result))
        r.run_start(spec)
        r.run_end(spec, Outcome(result))
    return kept


def test_plain_lines_when_piped(loaded, capsys):
    kept = told(loaded, live=False)
    lines = capsys.readouterr().err.splitlines()

    assert len(kept) == 2
    assert re.match(r"2/2 runs, [\d.e-]+ s a run, \d+ s, about 0 s left; ", lines[-1])
    assert lines[-1].endswith("done")
    assert "\x1b" not in "".join(lines)


def test_a_failed_run_is_named_at_once(loaded, capsys):
    told(loaded, live=False, failed=True)
    assert "failed: demo-xray / resnet50-mini / full-ft (seed 0): " in capsys.readouterr().err


def test_a_live_bar_shows_cell_phase_score_and_rate(loaded, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    seen = []
    monkeypatch.setattr("rich.progress.Progress.update", lambda self, task, **k: seen.append(k))
    told(loaded, live=True)

    said = [one["description"] for one in seen]
    assert "demo-xray / resnet50-mini / full-ft: ft, epoch 2: balanced-accuracy 0.750" in said
    assert said[-1] == "done"
    assert seen[0]["rate"] == ""
    assert seen[-1]["rate"].endswith(" s a run")
