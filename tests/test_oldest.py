"""Versions that `nox -s oldest` installs."""

import pytest
from oldest import oldest
from places import ROOT


def test_lower_bounds_become_versions():
    text = """
    [project]
    dependencies = ["click>=8.2", "numpy >= 2.0,<3", "vl-convert-python>=1.9"]
    [project.optional-dependencies]
    wandb = ["wandb>=0.30"]
    dicom = ["pylibjpeg[all]>=2.1"]
    dev = ["pytest==9.2.0"]
    """
    assert oldest(text) == [
        "click==8.2",
        "numpy==2.0",
        "vl-convert-python==1.9",
        "pylibjpeg[all]==2.1",
    ]


@pytest.mark.parametrize("one", ["click", "click<9", "click==8.2", "click~=8.2"])
def test_a_dependency_without_a_lower_bound_is_refused(one):
    with pytest.raises(ValueError, match=f"no lower bound: {one};"):
        oldest(f'[project]\ndependencies = ["{one}"]', extras=())


def test_pyproject_promises_an_oldest_version_of_everything():
    found = oldest((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "torch==2.9" in found
    assert len(found) > 17
