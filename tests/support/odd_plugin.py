"""A plugin of one odd strategy or metric, written to a file: the line is all that is odd."""

from command import Cli, processes
from places import TOY

STRATEGY = '''
import os, sys
import random
import warnings
import locale
import signal
import numpy as np
import torch
import torch.nn.functional as F
from harness import Phase, Strategy, hookimpl

class Odd(Strategy):
    """Full fine-tuning after a line of somebody's."""

    name = "a-odd"

    def phases(self, model, epochs):
        {line}
        yield Phase("ft", epochs, {{"*": 1.0}})

@hookimpl
def harness_strategies():
    return [Odd]
'''

METRIC = """
import sys
from harness import Metric, hookimpl
from harness.api.records import MetricValue

class Odd(Metric):
    def compute(self, logits, targets, classes):
        {line}
        return MetricValue(value=0.5)

@hookimpl
def harness_metrics():
    return [Odd(name="odd", build=lambda: None)]
"""


def odd_bench(folder, template, line, *args, jobs=1, exit_code=1, out="out"):
    """`harness bench toy` with the toy plugin and one with this line."""
    plugin = folder / "odd.py"
    plugin.write_text(template.format(line=line))
    call = ("bench", "toy", "--out", folder / out, *processes(jobs), *args)
    return Cli((TOY, str(plugin)))(*call, exit_code=exit_code)
