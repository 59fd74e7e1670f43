"""A dataset under test: its tables, loaded once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from harness.api.dataset import SPLITS, Access, Dataset
from harness.testing.promise import Broken, Unchecked, listed

if TYPE_CHECKING:
    import datasets


class DatasetCase:
    """A dataset and its tables, loaded once for all promises but two."""

    def __init__(self, dataset: Dataset, access: Access | None = None) -> None:
        self.dataset = dataset
        self.access = access or Access()

    @cached_property
    def _loaded(self) -> object:
        try:
            return self.dataset.load(self.access)
        except Exception as error:  # noqa: BLE001 - one promise is blamed for it
            return error

    @property
    def tables(self) -> Mapping[str, datasets.Dataset]:
        """What `load` gives.

        Raises:
            Unchecked: it fails, or is no mapping of split to table.
        """
        if problem := self.problem:
            raise Unchecked("there are no tables to look at, see 'tables'") from problem
        loaded: Any = self._loaded
        found: Mapping[str, datasets.Dataset] = loaded
        return found

    @cached_property
    def problem(self) -> Exception | None:
        """Why there are no tables."""
        import datasets

        loaded = self._loaded
        if isinstance(loaded, Exception):
            return loaded
        if not isinstance(loaded, Mapping):
            return Broken(f"load() returns {type(loaded).__name__}, no mapping of split to table")
        if unknown := [split for split in loaded if split not in SPLITS]:
            return Broken(f"it has a split {listed(unknown)}; the splits are {', '.join(SPLITS)}")
        for split, table in loaded.items():
            if not isinstance(table, datasets.Dataset):
                return Broken(f"{split} is a {type(table).__name__}, no datasets.Dataset")
        return None if "train" in loaded else Broken("it has no split 'train'")

    def column(self, split: str, name: str) -> list[Any]:
        """A column of one split.

        Raises:
            Unchecked: there is none.
        """
        table = self.tables[split]
        if name not in table.column_names:
            raise Unchecked(f"{split} has no column {name!r}, see 'columns'")
        return list(table.select_columns([name]).with_format(None)[:][name])

    def labels(self, split: str) -> list[Any]:
        """Class names of one split, where the table holds names or a ClassLabel."""
        import datasets

        values = self.column(split, "label")
        kind = self.tables[split].features["label"]
        if isinstance(kind, datasets.ClassLabel):
            return [kind.names[v] if v is not None and v >= 0 else None for v in values]
        classes = self.dataset.classes
        if isinstance(kind, datasets.Value) and "int" in kind.dtype:
            return [classes[v] if v is not None and 0 <= v < len(classes) else v for v in values]
        return values
