"""A new virtual environment that sees the libraries of this one, without fetching or copying them."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

OFFLINE = ("--no-index", "--no-deps", "--disable-pip-version-check", "-q")


class Environment:
    """Its interpreter, and a home of its own.

    Libraries come by a `.pth` file that names this environment's site-packages: packages of the new
    one go first, and what is installed here in editable mode is not seen (its own `.pth` file is
    not read).
    """

    def __init__(self, folder):
        venv = folder / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
        self.python = venv / "bin" / "python"
        self.home = folder / "home"
        self.home.mkdir()
        paths = {"base": str(venv), "platbase": str(venv)}
        self.site = Path(sysconfig.get_path("purelib", vars=paths))

    def see(self, *more):
        """Let it import what this environment has installed, and what lies in `more`."""
        places = dict.fromkeys(
            [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *more]
        )
        (self.site / "libraries.pth").write_text("".join(f"{place}\n" for place in places))

    def install(self, *wheels):
        """Install wheels by this environment's pip: the new one has none, and sees no library yet."""
        pip(*wheels, command="install", python=self.python)

    def run(self, *args, cwd, code=0, **variables):
        """`python ARGS` in it; the harness's cache and results stay in its home."""
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("HARNESS_", "PYTHON", "COV_"))
        }
        own = {"HOME": self.home, "HARNESS_CACHE": self.home / "cache", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [self.python, *map(str, args)],
            cwd=cwd,
            env=kept | {key: str(value) for key, value in (own | variables).items()},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, f"{args}\n{done.stdout}\n{done.stderr}"
        return done


def pip(*args, command, python=sys.executable):
    where = [] if python == sys.executable else ["--python", str(python)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *where, command, *OFFLINE, *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
