"""The declaration of a backbone: a chain of named stages, and where its weights come from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, PositiveFloat, field_validator

from harness.api.records import Name, Preprocessing
from harness.errors import UsageError
from harness.utils.hub_address import HubFile

if TYPE_CHECKING:
    from torch import Tensor, nn


class Weights(BaseModel):
    """The source of pre-trained weights.

    Attributes:
        name: shown on the board: `IMAGENET1K_V2`, or the name of a packaged file.
        enum: torchvision's name, as `torchvision.models.get_weight` takes it; the file is its URL's.
        file: path of a file that ships with the plugin, instead of `enum`.
        hub: a file of the Hugging Face Hub, instead: `hf://ORG/NAME@REVISION/FILE`.  A revision that
            is no commit is settled by `harness data fetch`, in the lock file.
        sha256: of that file; checked before use.
        licence, source: for the board.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    enum: str | None = None
    file: str | None = None
    hub: str | None = None
    sha256: str | None = None
    licence: str = ""
    source: str = ""

    @field_validator("hub")
    @classmethod
    def _address(cls, hub: str | None) -> str | None:
        try:
            return hub and str(HubFile.read(hub))
        except UsageError as error:
            raise ValueError(str(error)) from error


class Compiling(BaseModel):
    """Cost and gain of compiling a training step, as measured.

    Attributes:
        seconds: to compile a step of the whole network, at the first use of a batch size.
        recorded, compiled: images trained on per second, not compiled and compiled.
        measured: on what, and how.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: PositiveFloat
    recorded: PositiveFloat
    compiled: PositiveFloat
    measured: str


class Backbone(BaseModel):
    """A network as a chain of named stages that cover every parameter exactly once.

    Attributes:
        name: kebab-case id; `NAME.safetensors` or `NAME.pth` in `--weights FOLDER` fills it.
        stages: stage names in forward order; the last is `head`.
        classifier: the stages that torchvision calls the classifier, `head` among them.
        weights: the default starting point; None: there is none.
        starts: further ones, `(("radimagenet", Weights(...)),)`, by the name that `--starts` takes.
        title, paper: for people.
        miniature: a small copy for demonstrations: same stages and blocks, narrower and less deep.
        compiling: figures by which a plan decides whether its steps are compiled; None: they are not.
        preprocessing: images as it was trained to see them; used where the protocol's
            `preprocessing` is 'backbone'.  None: it takes any size, and the protocol's values.
        sources: other code that makes it, beside the plugin's own: its name, with a version or a
            sha256.  It is part of a run's identity.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    stages: tuple[str, ...]
    classifier: tuple[str, ...] = ("head",)
    weights: Weights | None = None
    starts: tuple[tuple[Name, Weights], ...] = ()
    title: str = ""
    paper: str = ""
    miniature: bool = False
    compiling: Compiling | None = None
    preprocessing: Preprocessing | None = None
    sources: tuple[tuple[str, str], ...] = ()

    @abstractmethod
    def build(self, classes: int) -> nn.Sequential:
        """A freshly initialised `nn.Sequential` whose children are the stages, by name and order.

        Takes float images [B, 3, H, W], of every size unless `preprocessing` says otherwise, and
        gives logits [B, classes].  The head's last module with
        parameters is the linear layer that is new for every dataset.
        """

    def published_name(self, name: str) -> str:
        """The name in published weight files of a parameter or buffer of `build`'s chain."""
        return name

    def modernise(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A published file's tensors under today's published names (for old key styles)."""
        return dict(state)

    def source_head(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The pre-trained classifier layer of a published file: its tensors by published name."""
        layer = self.head_layer()
        last = {self.published_name(f"{layer}.{leaf}") for leaf in ("weight", "bias")}
        return {name: tensor for name, tensor in self.modernise(state).items() if name in last}

    def head_layer(self) -> str:
        """Name, in `build`'s chain, of the linear layer that is new for every dataset."""
        key = (type(self), repr(self))
        if key not in _HEADS:
            _HEADS[key] = _last_linear(self)
        return _HEADS[key]


# Every run asks, and the answer takes a whole chain: 10 to 70 ms of a core for the miniatures.
_HEADS: dict[tuple[type[Backbone], str], str] = {}


def _last_linear(backbone: Backbone) -> str:
    import torch

    with torch.device("meta"):
        chain = backbone.build(2)
    return [str(n) for n, m in chain.named_modules() if isinstance(m, torch.nn.Linear)][-1]
