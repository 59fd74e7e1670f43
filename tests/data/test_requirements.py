"""Data and weights that a call needs from elsewhere, and the message where they are not here."""

from pathlib import Path

import pytest

from harness import Access, Backbone, DataError, Dataset, Weights
from harness.data.requirements import Requirement, list_requirements, require


class Elsewhere(Dataset):
    """A dataset with a way of its own."""

    name: str = "mine"
    modality: str = "ct"
    source: str = "the archive"
    here: bool = False

    def load(self, access):
        raise NotImplementedError

    def at_hand(self, access):
        return self.here


class Net(Backbone):
    name: str = "net"
    stages: tuple[str, ...] = ("stem", "head")

    def build(self, classes):
        raise NotImplementedError


def test_a_dataset_that_is_here_needs_nothing():
    assert list_requirements({"mine": Elsewhere(here=True)}, [], None, Access()) == []


def test_a_dataset_with_its_own_way_says_where_it_is_from():
    (need,) = list_requirements({"mine": Elsewhere()}, [], None, Access())

    assert not need.fetchable
    assert str(need) == "data mine: get it from the archive"


@pytest.mark.parametrize("where", ["none", "/some/folder"])
def test_weights_from_elsewhere_are_not_fetched(where):
    published = Net(weights=Weights(name="V1", enum="ResNet50_Weights.IMAGENET1K_V2"))
    assert list_requirements({}, [published], where, Access()) == []


def test_packaged_weights_are_here():
    backbones = [Net(weights=Weights(name="own", file="x")), Net()]
    assert list_requirements({}, backbones, None, Access()) == []


def test_weights_that_cannot_be_had_say_why():
    unknown = Net(weights=Weights(name="V1", enum="ResNet50_Weights.V9"))
    (need,) = list_requirements({}, [unknown], None, Access())

    assert not need.fetchable
    assert "torchvision knows no weights named ResNet50_Weights.V9" in str(need)


def message(*needs, **given):
    with pytest.raises(DataError) as error:
        require("s", needs, Access(**given.pop("access", {})), **given)
    return str(error.value).splitlines()


A = Requirement("data", "a", "CC0, here", ready=False, bytes=2_500_000)
B = Requirement("data", "b", "by request", ready=False, fetchable=False)
HERE = Requirement("data", "c", "x", ready=True)
NET = Requirement("weights", "net", "BSD", ready=False)


def test_nothing_missing_is_no_refusal():
    require("s", [HERE], Access())


def test_the_command_stands_only_where_it_helps():
    assert message(HERE, B) == ["suite s needs what is not here:", "  data b: by request"]
    assert message(A, B, HERE) == [
        "suite s needs what is not here:",
        "  data a: 2.5 MB, CC0, here",
        "  data b: by request",
        "this fetches it, checks it and locks it:",
        "  harness data fetch a",
    ]


def test_the_command_names_what_was_asked_for():
    assert message(A, NET)[-1] == "  harness data fetch a --backbones net"
    assert (
        message(A, NET, fetch_suite="my s.toml")[-1] == "  harness data fetch --suite 'my s.toml'"
    )
    locked = {"lock": Path("elsewhere.lock")}
    assert message(A, access=locked)[-1] == "  harness data fetch a --lock elsewhere.lock"
