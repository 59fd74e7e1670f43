"""Ray: `bench --launcher ray`, an actor for each worker, on this machine or on a cluster.

Nothing of Ray is imported unless it is asked for.  What was tried: docs/launchers.md.
"""

from __future__ import annotations

import os

from harness import Launcher, LaunchSetup, UsageError, hookimpl

NAME = "ray"
RESOURCES = "HARNESS_RAY_RESOURCES"


@hookimpl
def harness_launch(setup: LaunchSetup) -> Launcher | None:
    """Start actors."""
    if setup.name != NAME:
        return None
    if setup.device not in ("cpu", "cuda"):
        raise UsageError(
            f"--launcher ray --device {setup.device}: say cpu or cuda, for what its workers have is "
            "declared here and looked for there; Ray gives each its card"
        )
    try:
        from harness_ray.actors import RayLauncher
    except ImportError as error:
        raise UsageError(
            f"--launcher ray needs Ray ({error}): pip install 'finetune-harness[ray]', on every node"
        ) from error
    return RayLauncher(setup, wanted(setup, os.environ.get(RESOURCES, "")))


def wanted(setup: LaunchSetup, declared: str) -> dict[str, float]:
    """Resources that a worker takes of a node: `CPU`, and a `GPU` or what was declared, as `card=1,CPU=2`.

    Raises:
        UsageError: the declaration cannot be read.
    """
    found = {"CPU": float(setup.threads)}
    if setup.device == "cuda" and not declared:
        found["GPU"] = 1.0
    for part in filter(None, map(str.strip, declared.split(","))):
        name, _, number = part.partition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            raise UsageError(
                f"{RESOURCES}={declared}: give NAME=NUMBER, with commas between several"
            ) from None
    return found
