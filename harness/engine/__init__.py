"""Carries a run out: knows no plugins, no files, no command line.

The only part of the project that owns an optimizer, a batch, a device or a clock.
"""

from harness.engine.run import run

__all__ = ["run"]
