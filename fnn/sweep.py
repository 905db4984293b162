"""Sweeps as scripts use them; `fnn.runs.sweep` says what they are.

from fnn.sweep import grid, sweep
"""

from fnn.runs.sweep import Member, Sweep, command, grid, sweep

__all__ = ["Member", "Sweep", "command", "grid", "sweep"]
