"""Confusion matrices and tables of classes, whatever their numbers and however many there are."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_cases import Parsed, evaluation, make_run
from test_report_drawings import decoded

import fnn
from fnn.runs.checkpoint import save_tree
from fnn.runs.report import page_of, read, write
from fnn.runs.report.classes import class_sections
from fnn.runs.report.matrix import confusion
from fnn.runs.report.reading import Evaluation, RunRecord


def with_classes(folder, predicted, target):
    make_run(folder)
    saved = {**evaluation(), "predicted": predicted, "target": target}
    save_tree(folder / "evaluation.npz", saved)
    return folder


def seen(predicted, target):
    """Return the record of a run that said nothing else."""
    nothing = np.zeros(0, int)
    told = Evaluation(np.asarray(predicted), np.asarray(target), nothing, nothing)
    return RunRecord(None, {"config": {}}, {}, None, None, told, ())


@pytest.mark.parametrize("n", [21, 60, 400, 401, 3000])
def test_many_classes_have_their_worst_pairs_and_a_table_that_scrolls(tmp_path, n):
    target = np.arange(3 * n) % n
    # Class 7 is taken for 8 twice, 9 for 10 once; all others are right.
    predicted = target.copy()
    predicted[[7, 7 + n, 9]] = [8, 8, 10]
    folder = with_classes(tmp_path / "run", predicted, target)
    html_file, markdown_file = write([folder])
    page = Parsed(html_file.read_text("utf-8"))
    assert page.faults == []
    assert {"Confusion matrix", "Most often confused", "Classes"} <= set(page.words("h2"))
    markdown = markdown_file.read_text("utf-8")
    assert "| 7 | 8 | 2 | 66.7 % |\n| 9 | 10 | 1 | 33.3 % |\n" in markdown
    assert "| 7 | 1.0000 | 0.3333 | 0.5000 | 3 |" in markdown
    text = html_file.read_text("utf-8")
    assert 'class="scroll tall"' in text
    assert f"{3 * n - 3:,} of {3 * n:,} right" in text
    # What is not drawn is said not to be.
    assert (f"Of {n:,} classes no matrix is drawn" in text) == (n > 400)
    assert (f"Left out: {n - 500:,} more rows." in text) == (n > 500)
    assert len(text) < 200_000


def test_a_matrix_of_many_classes_is_a_picture_with_a_pixel_per_pair(tmp_path):
    target = np.arange(120) % 30
    predicted = np.where(np.arange(120) == 3, 29, target)
    html_file, _ = write([with_classes(tmp_path / "run", predicted, target)])
    (image,) = Parsed(html_file.read_text("utf-8")).named("image")
    head, data = image["href"].split(",")
    assert head == "data:image/png;base64"
    pixels = decoded(base64.b64decode(data))
    assert pixels.shape == (30, 30, 4)
    assert pixels[0, 0].tolist() == [0, 114, 178, 255]
    # One of four: half of the root's way.
    assert pixels[3, 29].tolist() == [213, 94, 0, 128]
    assert not pixels[4, 5, 3]


def test_all_right_in_many_classes_leaves_no_pairs_to_show():
    titles = [section.title for section in class_sections(seen(np.arange(50), np.arange(50)))]
    assert titles == ["Confusion matrix", "Classes"]


@given(
    st.lists(st.tuples(st.integers(-3, 40), st.integers(-3, 40)), min_size=1, max_size=200),
    st.sampled_from([1, 10**12, -(10**17)]),
)
def test_the_numbers_of_the_classes_are_those_of_the_metrics(pairs, factor):
    predicted, target = (np.array(labels) * factor for labels in zip(*pairs, strict=True))
    sections = class_sections(seen(predicted, target))
    names = np.union1d(predicted, target)
    if names[0] >= 0 and names[-1] < 20:
        names = np.arange(names[-1] + 1)
    report = fnn.classification_report(
        np.searchsorted(names, predicted), np.searchsorted(names, target), n_classes=len(names)
    )
    rows = sections[-1].blocks[0].rows
    assert [row[0] for row in rows] == [str(name) for name in names]
    for i, column in enumerate((report.precision, report.recall, report.f1), 1):
        assert [row[i] for row in rows] == [f"{value:.4f}" for value in column]
    assert [row[4] for row in rows] == report.support.tolist()


def test_long_names_of_classes_stay_within_the_drawing():
    names = ["-5", "1000000000000"]
    drawing = confusion(np.eye(2, dtype=int), names, "t")
    width = float(re.search(r'viewBox="0 0 (\d+)', drawing)[1])
    for place in re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="end"', drawing):
        assert 7 * len(names[1]) < float(place[0]) < width


def test_few_classes_of_any_number_keep_their_matrix(tmp_path):
    labels = np.where(np.arange(60) < 30, -5, 10**12)
    folder = with_classes(tmp_path / "run", labels, labels)
    titles = [section.title for section in page_of([read(folder)]).sections]
    assert titles.count("Confusion matrix") == 1
