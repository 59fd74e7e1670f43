"""The generators of benchmarks/simulations, for small versions of its tables."""

import sys

from places import SIMULATIONS

sys.path.append(str(SIMULATIONS))

import gate
import truth
import worlds

__all__ = ["gate", "truth", "worlds"]
