"""The launcher of a call, by its name, and what cannot be asked of it."""

from __future__ import annotations

from harness.api.launcher import Launcher, LaunchSetup
from harness.benchmark.launch.workers import LOCAL, LocalLauncher
from harness.benchmark.request import BenchOptions
from harness.benchmark.sizing import choose_device
from harness.errors import PluginError, UsageError
from harness.plugins.registry import PluginRegistry
from harness.utils.memory import held


def find_launcher(options: BenchOptions, loaded: PluginRegistry, *, live: bool = True) -> Launcher:
    """The launcher that the options name; `live`: runs are to follow.

    Raises:
        UsageError: no plugin has it, it cannot be had here, or options contradict each other.
    """
    _check(options)
    setup = LaunchSetup(
        name=options.launcher,
        device=options.device,
        jobs=options.jobs,
        threads=options.threads,
        address=options.ray_address,
        live=live,
    )
    if options.in_process:  # all cards are for several processes
        device = "cuda:0" if options.device == "cuda" else options.device
        return LocalLauncher(choose_device(device), options.threads)
    found = loaded.manager.hook.harness_launch(setup=setup)
    if found is None:
        raise UsageError(
            f"--launcher {options.launcher}: no plugin starts such workers. 'local', processes of this "
            "machine, comes with the harness; `pip install 'finetune-harness[ray]'` adds 'ray'"
        )
    if not isinstance(found, Launcher):
        raise PluginError(f"harness_launch returned {found!r:.200} for {options.launcher}")
    return found


def _check(options: BenchOptions) -> None:
    """Refuse options that could only be passed over."""
    given = {
        "--timeout": options.timeout is not None,
        "--memory-limit": options.memory_limit is not None,
        f"--launcher {options.launcher}": options.launcher != LOCAL,
        f"--jobs {options.jobs}": options.jobs not in (None, 1),
    }
    for option, there in given.items():
        if options.in_process and there:
            raise UsageError(
                f"--in-process makes every run in this process, so {option} cannot hold: leave one of "
                "the two out"
            )
    if options.ray_address is not None and options.launcher != "ray":
        raise UsageError("--ray-address is for --launcher ray: add that, or leave the address out")
    if options.memory_limit is not None and options.launcher == LOCAL and held() is None:
        raise UsageError("--memory-limit: this system does not say what a process holds")
