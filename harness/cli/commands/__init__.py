"""The commands of `harness`: each module defines one, named `command`."""
