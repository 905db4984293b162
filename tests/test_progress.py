"""A bar is drawn where somebody looks, and nowhere else."""

import sys
import types

import pytest

from fnn import progress
from fnn.errors import DataError

# --- progress


class Meter:
    """A stand-in for tqdm that writes down what happens to it."""

    def __init__(self, **options):
        self.options, self.seen = options, []

    def update(self, n):
        self.seen.append(n)

    def set_postfix(self, numbers, refresh):
        self.seen.append(numbers)

    def close(self):
        self.seen.append("closed")


def _put_stderr(monkeypatch, stderr):
    # pytest puts its own sys.stderr back between a fixture and its test.
    monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stderr=stderr))


@pytest.fixture
def meters(monkeypatch):
    """Put the stand-in where tqdm is, and a terminal where stderr is; return the bars drawn."""
    meters = []

    def draw(**options):
        meters.append(Meter(**options))
        return meters[-1]

    monkeypatch.setitem(sys.modules, "tqdm", types.SimpleNamespace(tqdm=draw))
    _put_stderr(monkeypatch, types.SimpleNamespace(isatty=lambda: True))
    return meters


def test_a_bar_advances_with_the_batches_shows_numbers_and_closes(meters):
    bar = progress.bar("ab", 2, "epoch 1")
    bar.show(loss=1)
    for batch in bar:
        bar.show(loss=ord(batch) / 1000)
    assert meters[0].options["total"] == 2
    assert meters[0].options["desc"] == "epoch 1"
    assert meters[0].seen == [{"loss": "0.097"}, 1, {"loss": "0.098"}, 1, "closed"]


def test_a_bar_closes_when_its_loop_fails(meters):
    def batches():
        yield 1
        raise DataError("cut")

    with pytest.raises(DataError, match="cut"):
        list(progress.bar(batches(), None, ""))
    assert meters[0].seen == [1, "closed"]


@pytest.mark.parametrize("lacking", ["a terminal", "stderr", "tqdm"])
def test_without_a_terminal_or_tqdm_the_batches_pass_and_nothing_is_drawn(meters, monkeypatch, lacking):
    if lacking == "a terminal":
        _put_stderr(monkeypatch, types.SimpleNamespace(isatty=lambda: False))
    elif lacking == "stderr":
        _put_stderr(monkeypatch, None)
    else:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    bar = progress.bar([1, 2], 2, "epoch")
    for _ in bar:
        bar.show(loss=1.0)
    assert list(bar) == [1, 2]
    assert meters == []
