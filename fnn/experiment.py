"""Experiments as scripts use them; `fnn.runs.experiment` says how a script becomes one.

from fnn.experiment import Run, main, option
"""

from fnn.runs.command_line import main
from fnn.runs.experiment import (
    MODEL,
    Replay,
    Run,
    config_from,
    execute,
    option,
    read_metrics,
    read_run,
    replay,
    resume,
)

__all__ = [
    "MODEL",
    "Replay",
    "Run",
    "config_from",
    "execute",
    "main",
    "option",
    "read_metrics",
    "read_run",
    "replay",
    "resume",
]
