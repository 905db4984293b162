"""What `fit` tells: a history that is a value, and a bar where somebody looks."""

import copy
import pickle
import sys

import pytest
from test_loop import examples, fit

import fnn
from fnn.errors import OptionError
from fnn.training.history import Record


def test_a_history_has_columns_slices_and_records_and_is_a_value():
    history = fnn.History([{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}])
    assert history["loss"] == [2.0, 1.0]
    assert history[-1] == {"epoch": 2, "loss": 1.0}
    assert history[:1] == fnn.History([{"epoch": 1, "loss": 2.0}])
    assert history != history[:1]
    assert list(reversed(history)) == [history[1], history[0]]
    assert repr(history) == "History(2 epochs of epoch, loss)"
    assert fnn.History()["loss"] == []
    with pytest.raises(OptionError, match=r"expected one of .'epoch', 'loss'., got 'los'"):
        history["los"]
    for other in (pickle.loads(pickle.dumps(history)), copy.deepcopy(history)):
        assert other == history
        assert type(other[0]) is Record
    with pytest.raises(TypeError, match="immutable"):
        history[0]["loss"] = 0
    result = fit()
    assert pickle.loads(pickle.dumps(result)) == result


class Terminal:
    """A standard error that says it is a terminal and keeps what is written."""

    def __init__(self):
        self.written = []

    def isatty(self):
        return True

    def write(self, text):
        self.written.append(text)

    def flush(self):
        pass


def test_a_bar_is_drawn_on_a_terminal_only_and_changes_nothing(monkeypatch, capfd):
    pytest.importorskip("tqdm")
    plain = fit(validation=examples(33, seed=1), metrics=fnn.accuracy, progress="bar")
    assert capfd.readouterr() == ("", "")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert fit(validation=examples(33, seed=1), metrics=fnn.accuracy, progress="bar") == plain
    assert "epoch 1/3" in "".join(terminal.written)
    terminal.written.clear()
    assert fit(progress=False).history["loss"] == plain.history["loss"]
    assert terminal.written == []
