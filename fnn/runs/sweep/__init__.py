"""Sweeps: one experiment with many configs, each an ordinary run in a folder of its own.

    python experiments/parity.py sweep --grid learning_rate=0.1,0.01 --grid n=2,3 --seeds 5

trains every combination with every seed, and ends with a table: a row per grid point, mean and standard
error of every number over the seeds, the best row marked. Members are runs like any other, below
`out/parity-sweep`: they resume, replay and report. In Python it is two functions:

    configs = grid(Config(), {"learning_rate": (0.1, 0.01), "n": (2, 3)}, seeds=5)
    done = sweep(train, configs, out="out/parity-sweep")

Members run in processes, one BLAS thread each, or in any `concurrent.futures.Executor`. The same
command goes on where a sweep stopped: what is finished is not run again, what failed, was killed or was
interrupted is resumed from its newest checkpoint.
"""

from fnn.runs.sweep.grids import grid
from fnn.runs.sweep.sweeps import Member, Sweep, sweep
from fnn.runs.sweep.verb import command

__all__ = ["Member", "Sweep", "command", "grid", "sweep"]
