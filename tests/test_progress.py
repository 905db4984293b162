"""Progress: a line per epoch wherever somebody reads, none too many, and never a reason to fail."""

import io
import sys

import numpy as np
import pytest

import fnn
from fnn.errors import OptionError
from fnn.progress import EpochLines

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


def test_the_epoch_at_which_a_callback_stops_is_said(capsys):
    fit(epochs=50, callbacks=lambda now, history: len(history) == 7)
    assert capsys.readouterr().err.splitlines()[-1].startswith("epoch  7/50  ")


@pytest.mark.parametrize("progress", [False, "bar"])
def test_without_lines_a_pipe_sees_nothing(capsys, progress):
    fit(progress=progress)
    assert capsys.readouterr() == ("", "")


def test_progress_of_other_kinds_is_refused():
    with pytest.raises(OptionError, match="progress: expected True, False or 'bar', got 'line'"):
        fit(progress="line")


class Refusing(io.StringIO):
    def write(self, text):
        raise OSError("no space left")


@pytest.mark.parametrize("stream", [None, Refusing()])
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
