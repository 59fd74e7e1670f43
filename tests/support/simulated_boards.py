"""The boards and claims of benchmarks/simulations, for small versions of their tables."""

import sys

from places import SIMULATIONS

sys.path.append(str(SIMULATIONS))

import answers
import boards
import splits

__all__ = ["answers", "boards", "splits"]
