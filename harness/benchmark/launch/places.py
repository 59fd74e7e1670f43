"""Images by where they lie: what a worker is sent of a dataset, and opens once a run needs it."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace

from harness.api.dataset import Access, Dataset
from harness.api.execution import ImageSet
from harness.api.records import DataRecord, ExternalRecord, Protocol
from harness.data.division.split import Division
from harness.data.preparation.prepare import prepare_dataset
from harness.errors import DataError
from harness.utils import locks
from harness.utils.parallel import machine_name


@dataclass(frozen=True)
class Declaration:
    """Everything by which images that were decoded on another machine are made on this one.

    Attributes:
        protocol: with the resolution that the images have.
        access: how bad images and missing classes were dealt with; the cache is this machine's own.
        record, external: what the caller writes into results, where its split files lie say.
    """

    dataset: Dataset
    protocol: Protocol
    access: Access
    limit: int | None
    division: Division
    fingerprint: str
    record: DataRecord
    external: Mapping[str, ExternalRecord]

    def make(self) -> ImageSet:
        """Decode the images here, once for all processes of this machine.

        Raises:
            DataError: what lies here is other data.
            HarnessError: they are not here, or cannot be decoded.
        """
        access = replace(self.access, cache=Access().cache)
        own = self.division == Division(self.protocol.split_seed)
        with locks.locked(access.cache / "making"):
            prepared = prepare_dataset(
                self.dataset,
                self.protocol,
                access,
                limit=self.limit,
                divisions=[] if own else [self.division],
            ).divided(self.division)
        if prepared.fingerprint != self.fingerprint:
            raise DataError(
                f"dataset {self.dataset.name!r} on {machine_name()} is other data than the caller's: "
                f"fingerprint {prepared.fingerprint[:12]}, not {self.fingerprint[:12]}"
            )
        external = {
            name: replace(prepared.images.external[name], record=record)
            for name, record in self.external.items()
        }
        return replace(prepared.images, record=self.record, external=external)


class ImagesPlace:
    """The images of a dataset, divided in one way; another process is sent where they lie."""

    def __init__(self, images: ImageSet, declared: Declaration | None = None) -> None:
        self._images: ImageSet | None = images
        self._declared = declared
        self._sent: tuple[bytes, bytes | None] | None = None

    def open(self) -> ImageSet:
        """The images: mapped where they lie, else made on this machine.

        Raises:
            HarnessError: neither can be.
        """
        if self._images is None:
            self._images = self._opened()
        return self._images

    def _opened(self) -> ImageSet:
        assert self._sent is not None  # noqa: S101 - it came from another process
        images, declared = self._sent
        try:
            found: ImageSet = pickle.loads(images)  # noqa: S301 - the caller's own
        except OSError as error:
            if declared is None:
                raise DataError(
                    f"{error.filename} is not on {machine_name()}, and the dataset cannot be sent to "
                    "it: let all machines share HARNESS_CACHE"
                ) from error
        else:
            return found
        made: Declaration = pickle.loads(declared)  # noqa: S301 - the caller's own
        return made.make()

    def __getstate__(self) -> tuple[bytes, bytes | None]:
        if self._sent is None:
            declared = None
            if self._declared is not None:
                # A dataset of a plugin may hold anything; without it the cache has to be shared.
                with contextlib.suppress(pickle.PicklingError, TypeError, AttributeError):
                    declared = pickle.dumps(self._declared)
            self._sent = pickle.dumps(self._images), declared
        return self._sent

    def __setstate__(self, sent: tuple[bytes, bytes | None]) -> None:
        self._images, self._declared, self._sent = None, None, sent
