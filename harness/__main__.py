"""`python -m harness`: the command `harness`."""

import sys
from pathlib import Path

from harness.cli import main

if __name__ == "__main__":
    # `-m` puts the current folder on the path, the command does not: nothing that lies there, a
    # plugin's metadata included, may be taken for installed.
    if not sys.flags.safe_path and Path(sys.path[0]) == Path.cwd():
        del sys.path[0]
    main()
