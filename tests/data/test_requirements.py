"""What a call needs from elsewhere, and how it is told."""

import pytest

from harness import Access, Backbone, Dataset, Weights
from harness.data.requirements import Requirement, data_needs, missing_message, weights_needs


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
    assert data_needs({"mine": Elsewhere(here=True)}, Access()) == {}


def test_a_dataset_with_its_own_way_says_where_it_is_from():
    need = data_needs({"mine": Elsewhere()}, Access())["mine"]

    assert not need.fetchable
    assert str(need) == "data mine: get it from the archive"


@pytest.mark.parametrize("where", ["none", "/some/folder"])
def test_weights_from_elsewhere_are_not_fetched(where):
    published = Net(weights=Weights(name="V1", enum="ResNet50_Weights.IMAGENET1K_V2"))
    assert weights_needs([published], where) == {}


def test_packaged_weights_are_here():
    assert weights_needs([Net(weights=Weights(name="own", file="x")), Net()], None) == {}


def test_weights_that_cannot_be_had_say_why():
    unknown = Net(weights=Weights(name="V1", enum="ResNet50_Weights.V9"))
    need = weights_needs([unknown], None)["net"]

    assert not need.fetchable
    assert "torchvision knows no weights named ResNet50_Weights.V9" in str(need)


def test_nothing_missing_is_no_refusal():
    assert missing_message("s", [Requirement("data", "a", "x", ready=True)], ["fetch"]) == ""


def test_the_command_stands_only_where_it_helps():
    a = Requirement("data", "a", "CC0, here", ready=False, bytes=2_500_000)
    b = Requirement("data", "b", "by request", ready=False, fetchable=False)

    assert missing_message("s", [b], ["fetch", "it"]).splitlines() == [
        "suite s needs what is not here:",
        "  data b: by request",
    ]
    assert missing_message("s", [a, b], ["fetch", "my it"]).splitlines() == [
        "suite s needs what is not here:",
        "  data a: 2.5 MB, CC0, here",
        "  data b: by request",
        "this fetches it, checks it and locks it:",
        "  fetch 'my it'",
    ]
