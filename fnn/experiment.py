"""Experiments as scripts import them; `fnn.runs.experiment` says how a script becomes one.

from fnn.experiment import Run, main, option
"""

from fnn.runs import experiment as _experiment
from fnn.runs.command_line import main as main
from fnn.runs.experiment import *  # noqa: F403

__all__ = [*_experiment.__all__, "main"]
