"""The harness from Python: what every command does, as a function that returns values.

Each command of `harness` calls one of these functions and prints what it returns, so that neither
can do what the other cannot.  They are reached as `harness.bench`, `harness.load`, ...
"""

import warnings

# Libraries load tqdm's bars, which nothing here shows: a notebook without widgets is no fault.
warnings.filterwarnings("ignore", message="IProgress not found")
