"""What a report calls things: data, sets and options as the run says them."""

from __future__ import annotations

import json

import pytest
from report_cases import Parsed, make_run

from fnn.runs.report import read, write
from fnn.runs.report.series import labels_of, measured_on, role

FIT = {"loss": "softmax_cross_entropy", "optimizer": "sgd(0.1)", "epochs": 60, "batch_size": 100}


def page_of(folder, *more, about=None, **options):
    """Return the page and the Markdown of a run that says this, or of several."""
    folders = [make_run(folder / "run", about=about, model=False, seen=False, **options), *more]
    html_file, markdown_file = write(folders, folder / "out")
    return Parsed(html_file.read_text("utf-8")), markdown_file.read_text("utf-8")


def names(page):
    """Return the names of the lines."""
    return sorted({text for tag, text in page.texts if tag == "text" and text.isalpha()} - {"epoch"})


@pytest.mark.parametrize(
    ("fits", "called"),
    [
        (None, "validation"),
        ([FIT], "validation"),
        ([{**FIT, "validation": None}], "validation"),
        ([{**FIT, "validation": "test"}], "test"),
        ([{**FIT, "validation": "holdout"}, FIT], "holdout"),
        ([{**FIT, "validation": "test"}, {**FIT, "validation": "other"}], "validation"),
        ([{**FIT, "validation": ["a"]}, 3], "a"),
        ("nonsense", "validation"),
    ],
)
def test_a_validation_set_is_called_what_the_run_calls_it(tmp_path, fits, called):
    page, _ = page_of(tmp_path, about={} if fits is None else {"fits": fits})
    assert names(page) == sorted(["training", called])


def test_sets_are_told_apart_by_their_metrics():
    assert [role(name) for name in ("val_loss", "test_loss", "train_loss", "loss", "test_")] == [
        ("loss", "validation"), ("loss", "test"), ("loss", "training"), ("loss", "training"),
        ("test_", "training"),
    ]  # fmt: skip
    three = ["loss", "validation_loss", "test_loss"]
    assert labels_of(three, "loss", "validation") == ["training", "validation", "test"]
    # Were the validation set called "test", two lines would have one name.
    assert labels_of(three, "loss", "test") == ["training", "validation", "test"]
    assert labels_of(["val_a", "validation_a"], "a", "test") == ["val a", "validation a"]
    assert labels_of(["rate"], "rate", "test") == ["rate"]
    assert measured_on("validation_loss", "test") == "test loss"
    assert measured_on("loss", "test") == "training loss"
    assert measured_on("rate", "test") == "rate"


def test_runs_that_call_their_sets_otherwise_are_compared_as_validation(tmp_path):
    other = make_run(tmp_path / "other", rate=0.3, model=False, seen=False)
    page, _ = page_of(tmp_path, other, about={"fits": [{**FIT, "validation": "test"}]})
    assert {"Validation loss", "Training loss"} <= set(page.words("h3"))
    page, _ = page_of(tmp_path / "b", other)
    assert "Validation loss" in page.words("h3")


SOURCE = "Data: the bundled digits, for MNIST is not in data/mnist"


def test_the_page_begins_with_the_data_that_it_is_about(tmp_path):
    page, markdown = page_of(tmp_path, about={"source": SOURCE})
    head = [text for tag, text in page.texts if tag in ("h1", "p")]
    assert SOURCE in head[:3]
    assert SOURCE in markdown.split("##")[0]


def test_runs_on_other_data_are_not_compared_in_silence(tmp_path):
    other = make_run(tmp_path / "other", rate=0.3, about={"source": "Data: MNIST"}, model=False)
    page, _ = page_of(tmp_path, other, about={"source": SOURCE})
    assert f"These runs were not on the same data: {SOURCE}; Data: MNIST" in page.words("p")
    page, _ = page_of(tmp_path / "b", other, about={"source": "Data: MNIST"})
    assert page.words("p").count("Data: MNIST") == 1


def test_options_stand_beside_what_they_came_to(tmp_path):
    folder = make_run(
        tmp_path / "run",
        about={"fits": [FIT], "used": {"data": "digits", "learning_rate": 0.1, "other": 3}},
    )
    content = json.loads((folder / "run.json").read_text())
    content["config"] |= {"epochs": None, "batch_size": 100}
    (folder / "run.json").write_text(json.dumps(content))
    assert read(folder).used == {"epochs": 60, "data": "digits"}
    _, markdown_file = write([folder])
    text = markdown_file.read_text("utf-8")
    assert "| option | value | used |" in text
    assert "| epochs | – | 60 |" in text
    assert "| learning rate | 0.1 |  |" in text
    assert "| optimizer | sgd(0.1) |" in text


def test_two_trainings_are_told_apart(tmp_path):
    _, markdown = page_of(tmp_path, about={"fits": [FIT, {**FIT, "epochs": 5}]})
    assert "| training 2, epochs | 5 |" in markdown
    assert "| epochs | 6 | 60, 5 |" in markdown


def test_without_a_difference_there_is_no_third_column(tmp_path):
    _, markdown = page_of(tmp_path, about={"fits": [{**FIT, "epochs": 6}]})
    assert "| option | value |\n" in markdown


def test_runs_are_grouped_by_what_their_options_came_to(tmp_path):
    folders = []
    for i, (told, came) in enumerate([(None, 60), (60, 60), (None, 30)]):
        about = {"fits": [{**FIT, "epochs": came}]}
        folders.append(make_run(tmp_path / f"{i}", seed=i, about=about, model=False, seen=False))
        content = json.loads((folders[-1] / "run.json").read_text())
        content["config"]["epochs"] = told
        (folders[-1] / "run.json").write_text(json.dumps(content))
    _, markdown_file = write(folders, tmp_path / "out")
    text = markdown_file.read_text("utf-8")
    assert "| epochs 60 | 2 |" in text
    assert "| epochs 30 | 1 |" in text
    assert "| run | epochs | seed |" in text
