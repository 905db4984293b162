"""Progress: a line per epoch wherever somebody reads, none too many, and never a reason to fail."""

import contextlib
import io
import sys

import numpy as np
import pytest

import fnn
from fnn.errors import OptionError
from fnn.training.display import EpochLines

NET = fnn.serial(fnn.Dense(3))


def fit(epochs=3, progress=True, **options):
    x = np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
    train = fnn.Dataset(x, np.arange(20) % 3)
    return fnn.fit(
        NET, fnn.softmax_cross_entropy, fnn.sgd(0.1), train,
        epochs=epochs, batch_size=10, key=fnn.Key.of(0), progress=progress, **options,
    )  # fmt: skip


def test_a_pipe_sees_the_first_epoch_and_the_last(capsys):
    history = fit(epochs=30, validation=None, metrics=fnn.accuracy).history
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first == f"epoch  1/30  loss {history[0]['loss']:.4f}  accuracy {history[0]['accuracy']:.4f}"
    assert last.startswith("epoch 30/30  loss ")


def test_lines_are_at_least_a_second_apart_but_for_the_first_and_the_last(capsys, monkeypatch):
    times = iter([0.0, 0.5, 1.0, 1.9, 2.0, 2.1])
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    lines = EpochLines(6)
    for epoch in range(1, 7):
        lines.show({"epoch": epoch, "step": epoch, "loss": 1.0}, is_last=epoch == 6)
    said = [line.split()[1] for line in capsys.readouterr().err.splitlines()]
    assert said == ["1/6", "3/6", "5/6", "6/6"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whatever_ends_a_training_the_last_finished_epoch_is_said(capsys, error):
    def ends(now, history):
        if len(history) == 7:
            raise error

    with contextlib.suppress(RuntimeError):
        fit(epochs=50, callbacks=ends)
    assert capsys.readouterr().err.splitlines()[-1].startswith("epoch  7/50  ")


def test_a_resumed_run_that_has_nothing_left_says_nothing(capsys):
    places = []
    fit(save=places.append, progress=False)
    fit(start=places[-1])
    assert capsys.readouterr().err == ""
    fit(start=places[0])
    assert [line[:9] for line in capsys.readouterr().err.splitlines()] == ["epoch 2/3", "epoch 3/3"]


def test_numbers_far_from_one_and_names_of_any_characters_stay_one_short_line(capsys):
    metrics = {"a\nb\x1b[31m": lambda p, t: 1e30, "small": lambda p, t: 1e-9, "zero": lambda p, t: 0}
    result = fit(epochs=1, metrics=metrics)
    said = f"loss {result.history[0]['loss']:.4f}  a\\nb\\x1b[31m 1e+30  small 1e-09  zero 0.0000"
    assert capsys.readouterr().err == f"epoch 1/1  {said}\n"
    assert len(str(result.history).splitlines()) == 2


def test_the_epoch_at_which_a_callback_stops_is_said(capsys):
    fit(epochs=50, callbacks=lambda now, history: len(history) == 7)
    assert capsys.readouterr().err.splitlines()[-1].startswith("epoch  7/50  ")


@pytest.mark.parametrize("progress", [False, "bar"])
def test_without_lines_a_pipe_sees_nothing(capsys, progress):
    fit(progress=progress)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("progress", ["line", 1, None, np.ones(2)])
def test_progress_of_other_kinds_is_refused(progress):
    with pytest.raises(OptionError, match="progress: expected True, False or 'bar', got "):
        fit(progress=progress)


def test_numpy_s_true_is_true(capsys):
    fit(progress=np.True_)
    assert capsys.readouterr().err.startswith("epoch 1/3")


class Refusing(io.StringIO):
    def write(self, text):
        raise OSError("no space left")


class Terminal(io.StringIO):
    """A terminal that takes some writes and is then gone."""

    def __init__(self, left):
        super().__init__()
        self.left = left

    def isatty(self):
        return True

    def write(self, text):
        self.left -= 1
        if self.left < 0:
            raise BrokenPipeError
        return super().write(text)


class Bare:
    """A stream of somebody's own that can be written to, and no more."""

    def write(self, text):
        """Take it."""


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize(
    "stream", [None, Refusing(), closed(), Bare(), *map(Terminal, [0, 1, 2, 3, 5, 8])]
)
def test_a_stderr_that_takes_nothing_ends_no_training(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    assert len(fit().history) == 3


def test_a_stderr_of_few_characters_gets_the_others_escaped(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, "ascii"))
    fit(metrics={"größe": lambda pred, target: 1.0})
    sys.stderr.flush()
    assert b"gr\\xf6\\xdfe 1.0000" in raw.getvalue()


# --- what a fit and a history look like


def test_a_fit_is_short_in_a_repr_and_a_table_as_a_text():
    result = fit(epochs=3)
    assert repr(result) == "Fit(3 epochs, 6 steps, best after epoch 3)"
    head, first, *_ = str(result.history).splitlines()
    assert head.split() == ["epoch", "step", "loss"]
    assert first.split() == ["1", "2", f"{result.history[0]['loss']:.4g}"]
    assert str(result) == f"{result!r}\n{result.history}"
    assert repr(fit(epochs=0)) == "Fit(0 epochs, 0 steps)"


def test_the_columns_of_a_table_are_aligned_and_its_middle_left_out():
    history = fit(epochs=30, progress=False).history
    lines = history.table(most=6).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [line.split()[0] for line in lines] == ["epoch", "1", "2", "3", "…", "28", "29", "30"]
    assert len(history.table(most=30).splitlines()) == 31
    assert str(fnn.History()) == "no epochs"
    with pytest.raises(OptionError, match=r"History\.table: most"):
        history.table(most=1)


def test_a_history_of_other_values_than_numbers_has_a_table():
    history = fnn.History(
        [{"epoch": 1, "note": "good\n", "seen": [1, 2], "is_best": True}, {"epoch": 2}]
    )
    lines = [line.split() for line in str(history).splitlines()]
    assert lines[1:] == [["1", "good\\n", "[1,", "2]", "True"], ["2", "…", "…", "…"]]
