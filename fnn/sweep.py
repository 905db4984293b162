"""Sweeps as scripts import them; `fnn.runs.sweep` says what they are.

from fnn.sweep import grid, sweep
"""

from fnn.runs.sweep import *  # noqa: F403
from fnn.runs.sweep import __all__ as __all__
