"""The generators of benchmarks/simulations, for small versions of its tables."""

import sys

from places import SIMULATIONS

sys.path.append(str(SIMULATIONS))

import collapse
import gate
import truth
import worlds

__all__ = ["collapse", "gate", "truth", "worlds"]
