"""Names that are to leave the plugin API: for one version they work as before, and warn.

A name of `harness` stands here with where it lives and what takes its place.  A hook says so in its
specification, `@hookspec(warn_on_impl=DeprecationWarning("..."))`, and pluggy warns who implements
it.  The record of the API surface holds both, and what was not deprecated in one version must not
be missing in the next.
"""

from __future__ import annotations

import warnings
from importlib import import_module

# Name -> (where it lives now, what takes its place).  Nothing is deprecated in version 1.
NAMES: dict[str, tuple[str, str]] = {}


def deprecated(name: str) -> object:
    """The value of `harness.NAME`, with a warning at the line that asks for it.

    Raises:
        AttributeError: there is no such name.
    """
    if name not in NAMES:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    home, instead = NAMES[name]
    warnings.warn(
        f"harness.{name} leaves the plugin API with its next version; use {instead}",
        DeprecationWarning,
        stacklevel=3,  # `harness.__getattr__` lies between
    )
    module, _, attribute = home.rpartition(".")
    return getattr(import_module(module), attribute)
