"""Whether a results folder holds what it says: everything is computed again from the stored logits.

`verify` reads; it never writes to the folder.
"""

from harness.verify.folder import verify
from harness.verify.replay import PROBABILITY, Replay, Replayed
from harness.verify.report import Problem, Report

__all__ = ["PROBABILITY", "Problem", "Replay", "Replayed", "Report", "verify"]
