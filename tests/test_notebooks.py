"""What notebooks show: nested layers, tables, curves that grow; all of it escaped and well formed."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import fnn
from fnn import Key
from fnn.files import markup

NET = fnn.serial(fnn.named("trunk", fnn.residual(fnn.Dense(8), fnn.Tanh())), fnn.Dense(10))
DATA = fnn.digits("train").take(100)


def parsed(shown):
    """Return the HTML as a tree; it is well formed, and asks nothing of other places."""
    text = shown._repr_html_()
    assert not re.search(r"(src|href)=|https?://(?!www\.w3\.org/2000/svg)", text)
    return ET.fromstring(f"<div>{text}</div>".replace(" open style", ' open="" style'))


def words(tree):
    return " ".join("".join(tree.itertext()).split())


def fitted(**options):
    net = fnn.serial(fnn.Dense(8), fnn.Tanh(), fnn.Dense(10))
    return fnn.fit(
        net, fnn.softmax_cross_entropy, fnn.adam(0.01), DATA,
        epochs=3, batch_size=25, key=Key.of(0), validation=DATA, metrics=fnn.accuracy, **options,
    )  # fmt: skip


def test_a_network_is_its_layers_one_inside_the_other():
    tree = parsed(NET)
    assert words(tree).startswith("serialtrunk: residualdense_0: Dense(8)tanh_0: Tanh()")
    assert len(list(tree.iter("details"))) == 2
    assert parsed(fnn.Dense(3)).find(".//code").text == "Dense(3)"


def test_a_summary_is_a_table_with_the_cells_of_its_text():
    summary = fnn.summary(fnn.serial(fnn.Dense(64), fnn.Relu(), fnn.Dense(10)), (64,))
    tree = parsed(summary)
    rows = [["".join(cell.itertext()) for cell in row] for row in tree.iter("tr")]
    assert rows == [list(row) for row in summary.cells()]


def test_a_history_is_a_picture_for_each_measure_with_validation_beside_training():
    history = fitted(progress=False).history
    tree = parsed(history)
    pictures = list(tree.iter("{http://www.w3.org/2000/svg}svg"))
    assert len(pictures) == 2
    assert [len(list(each.iter("{http://www.w3.org/2000/svg}polyline"))) for each in pictures] == [2, 2]
    assert "loss" in words(tree)
    assert "validation accuracy" in words(tree)
    values = [v for name in ("loss", "validation_loss") for v in history[name]]
    assert f"{max(values):.3g}" in words(tree)
    line = next(tree.iter("{http://www.w3.org/2000/svg}polyline")).get("points").split()
    ys = [float(point.split(",")[1]) for point in line]
    assert len(ys) == 3
    assert ys == sorted(ys)  # The loss falls, and y counts from above.


def test_a_fit_and_a_diagnosis_are_shown_with_their_advice():
    fit = fitted(progress=False, watch=True)
    assert words(parsed(fit)).startswith("Fit(3 epochs")
    tree = parsed(fit.health[-1])
    assert len(list(tree.iter("table"))) == 2
    assert words(tree).endswith("nothing is wrong")


def test_nothing_that_a_name_says_becomes_markup():
    assert markup.table(["<b>"], [["</td><script>"]]).count("<script>") == 0
    assert "&lt;script&gt;" in markup.nested("<script>", "<script>")
    assert "<x>" not in markup.curves({"<x>": [1.0, 2.0]})


@pytest.mark.parametrize(
    "values", [[], [1.0], [np.nan, np.inf], [np.nan, 1.0, 2.0], [3.0, 3.0], [-1e300, 1e300]]
)
def test_any_numbers_make_a_picture_or_none(values):
    text = markup.curves({"loss": values})
    if not np.isfinite(values).any():
        assert text == ""
        return
    numbers = re.findall(r'points="([^"]*)"|c[xy]="([^"]*)"', text)
    assert numbers
    assert "nan" not in str(numbers)


class Handle:
    """What IPython's display returns; it keeps what it was told to show."""

    def __init__(self, told):
        self.told = told

    def update(self, shown):
        self.told.append(shown._repr_html_())


@pytest.fixture
def notebook(monkeypatch):
    """Pretend that a notebook runs, and return what it is told to show."""
    told = []

    def display(shown, *, display_id):
        assert display_id is True
        told.append(shown._repr_html_())
        return Handle(told)

    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    return told


def test_curves_grow_while_a_training_runs_in_a_notebook_and_no_lines_are_said(notebook, capsys):
    fit = fitted()
    assert capsys.readouterr().err == ""
    assert len(notebook) >= 2
    assert "validation accuracy" in notebook[-1]
    assert notebook[-1] == fit.history._repr_html_()


def test_outside_of_a_notebook_lines_are_said(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    fitted()
    assert "epoch 3/3" in capsys.readouterr().err


def test_a_notebook_that_is_gone_ends_no_training(monkeypatch):
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace())
    assert len(fitted().history) == 3
