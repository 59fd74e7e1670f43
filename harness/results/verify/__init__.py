"""A results folder held against what it says: everything is computed again from the stored logits.

`verify` reads; it never writes to the folder.
"""

from harness.results.verify.consistency import NOT_SHOWN
from harness.results.verify.folder import Replay, verify
from harness.results.verify.report import Problem, Replayed, VerificationReport

__all__ = ["NOT_SHOWN", "Problem", "Replay", "Replayed", "VerificationReport", "verify"]
