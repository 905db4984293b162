"""How many threads the linear algebra under NumPy uses.

NumPy hands products of matrices to a library of its own (OpenBLAS, as a rule), which takes every core
it finds. One thread is faster where several processes share the cores, and the number of threads is a
condition of equal bits: sums are split among them.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from fnn.options import integer


class threads:  # noqa: N801 - called like a function, left like a block.
    """Use n threads from here on, or inside a `with` block.

        fnn.threads(1)  # from here on
        with fnn.threads(2):
            ...  # in here

    It holds for the whole process. `thread_count` says what is in use.

    Args:
        n: Number of threads, 1 or more.

    Raises:
        OptionError: If n is not an integer of 1 or more.
        ImportError: If threadpoolctl is not installed (extra "perf").
    """

    def __init__(self, n: int) -> None:
        self.n = integer("threads", "n", n)
        self._limits = _threadpoolctl().threadpool_limits(limits=int(self.n), user_api="blas")

    def __enter__(self) -> threads:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._limits.restore_original_limits()

    def __repr__(self) -> str:
        return f"threads({self.n})"


def thread_count() -> int | None:
    """Return how many threads linear algebra uses now, None where that cannot be told.

    Raises:
        ImportError: If threadpoolctl is not installed (extra "perf").
    """
    pools = _threadpoolctl().threadpool_info()
    counts = [pool["num_threads"] for pool in pools if pool["user_api"] == "blas"]
    return max(counts) if counts else None


def _threadpoolctl() -> Any:
    import numpy as np  # Its library has to be there to be asked.

    del np
    try:
        import threadpoolctl
    except ImportError as error:
        raise ImportError(
            'threads need threadpoolctl: pip install "fnn[perf]"; '
            "or set OPENBLAS_NUM_THREADS before Python starts"
        ) from error
    return threadpoolctl
