"""Threads of linear algebra: set, restored, told, and refused in words."""

import builtins

import numpy as np
import pytest

import fnn
from fnn.kernels.blas import thread_count


@pytest.fixture
def before():
    pytest.importorskip("threadpoolctl")
    n = thread_count()
    if n is None:
        pytest.skip("NumPy's linear algebra is of a kind that cannot be asked")
    yield n
    fnn.threads(n)


def test_a_block_uses_its_number_of_threads_and_gives_back_the_old_one(before):
    with fnn.threads(1) as now:
        assert thread_count() == 1
        assert repr(now) == "threads(1)"
        np.ones((50, 50)) @ np.ones((50, 50))
    assert thread_count() == before
    with pytest.raises(ZeroDivisionError), fnn.threads(1):
        1 / 0  # noqa: B018
    assert thread_count() == before


def test_a_call_holds_from_there_on(before):
    fnn.threads(1)
    assert thread_count() == 1


@pytest.mark.parametrize("n", [0, -1, 1.5, "2", None])
def test_other_numbers_are_refused(n):
    with pytest.raises(fnn.OptionError, match="threads"):
        fnn.threads(n)


def test_without_threadpoolctl_it_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "threadpoolctl":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"fnn\[perf\]"):
        fnn.threads(1)
