"""Reports of what is damaged, missing, too large or hostile."""

from __future__ import annotations

import json

import numpy as np
import pytest
from report_cases import Parsed, evaluation, make_run, record

import fnn
from fnn.runs.checkpoint import save_tree
from fnn.runs.report import page_of, read, write
from fnn.runs.report.command_line import main

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)> \"'><!-- | ` [x](javascript:y)"


def html_of(*folders):
    html_file, _ = write(folders, folders[0].parent / "out")
    return html_file.read_text("utf-8")


def test_hostile_text_is_shown_and_does_nothing(tmp_path):
    about = {
        "experiment": EVIL,
        "status": EVIL,
        "error": EVIL,
        "versions": {EVIL: EVIL},
        "started": EVIL,
    }
    result = {EVIL: 0.5, "said": EVIL, "network": EVIL}
    lines = [json.dumps({"epoch": i, EVIL: i, f"validation_{EVIL}": i}) + "\n" for i in range(3)]
    folders = []
    for name in ("a", "b"):
        folders.append(make_run(tmp_path / name, about=about, result=result, lines=lines))
        content = json.loads((folders[-1] / "run.json").read_text())
        content["config"] = {EVIL: EVIL + name}
        (folders[-1] / "run.json").write_text(json.dumps(content))
    for chosen in (folders[:1], folders):
        html_file, markdown_file = write(chosen, tmp_path / "out")
        page = Parsed(html_file.read_text("utf-8"))
        assert page.faults == []
        assert "script" not in {tag for tag, _ in page.tags}
        assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
        assert all(attrs["src"].startswith("data:") for attrs in page.named("img"))
        assert "<script>" in " ".join(text for _, text in page.texts)
        text = markdown_file.read_text("utf-8")
        assert "<script" not in text
        assert "<img" not in text
        assert "](javascript" not in text.replace("\\]", "")


def test_a_half_written_last_line_is_left_out_with_a_note(tmp_path):
    whole = [json.dumps(record(i, 0)) + "\n" for i in (1, 2, 3)]
    run = read(make_run(tmp_path / "run", lines=[*whole, '{"epoch": 4, "lo']))
    assert list(run.columns["loss"].x) == [1, 2, 3]
    assert run.notes == ("metrics.jsonl: the last line is half-written and was left out.",)
    assert "half-written" in html_of(tmp_path / "run")


def test_numbers_that_are_not_finite_leave_a_gap(tmp_path):
    losses = [1.0, "nan", 0.5, "inf", 0.25, 0.2]
    lines = [json.dumps({"epoch": i, "loss": loss}) + "\n" for i, loss in enumerate(losses)]
    folder = make_run(tmp_path / "run", lines=lines, seen=False)
    assert list(np.isfinite(read(folder).columns["loss"].y)) == [True, False, True, False, True, True]
    html = html_of(folder)
    (line,) = [each["d"] for each in Parsed(html).named("path") if each["class"] == "line"]
    assert (line.count("M"), line.count("L")) == (3, 1)
    assert "nan" not in html.split("</style>")[1].lower().replace("nan,", "")


def test_metrics_that_are_never_finite_draw_nothing(tmp_path):
    lines = [json.dumps({"epoch": i, "loss": "nan"}) + "\n" for i in range(3)]
    folder = make_run(tmp_path / "run", lines=lines, model=False, seen=False)
    assert "<svg" not in html_of(folder)


def test_a_huge_history_becomes_few_points_and_keeps_its_spike(tmp_path):
    lines = [f'{{"step": {i}, "loss": {9.0 if i == 7777 else 1 + i % 2}}}\n' for i in range(20_000)]
    folder = make_run(tmp_path / "run", lines=lines, model=False, seen=False)
    html = html_of(folder)
    (line,) = [attrs["d"] for attrs in Parsed(html).named("path")]
    assert line.count("L") < 500
    heights = [float(point.split()[1]) for point in line[1:].split("L")]
    assert sum(height < 40 for height in heights) == 1
    assert len(html) < 60_000


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("run.json", None, "run.json"),
        ("run.json", b"{", "run.json"),
        ("run.json", b'{"format": 99, "config": {}}', "format"),
        ("run.json", b'{"format": 1, "config": 3}', "config"),
        ("metrics.jsonl", b'{"loss": 1}\nnonsense\n{"loss": 2}\n', "metrics.jsonl"),
        ("metrics.jsonl", b"[1]\n", "metrics.jsonl"),
        ("metrics.jsonl", b"\xff\xfe\n{}\n", "metrics.jsonl"),
    ],
)
def test_what_is_no_run_or_damaged_is_one_line_that_names_the_file(
    tmp_path, capsys, file, content, words
):
    folder = make_run(tmp_path / "run", model=False, seen=False)
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(fnn.DataError, match=words):
        read(folder)
    assert main([str(folder)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert str(folder) in said.err
    assert not (folder / "report.html").exists()


def test_a_damaged_model_or_evaluation_is_a_note_and_the_rest_is_there(tmp_path):
    folder = make_run(tmp_path / "run")
    for name in ("model.npz", "evaluation.npz"):
        content = bytearray((folder / name).read_bytes())
        content[300] ^= 1
        (folder / name).write_bytes(content)
    page = Parsed(html_of(folder))
    notes = [text for text in page.words("p") if "left out" in text]
    assert len(notes) == 2
    assert all("sha256" in note for note in notes)
    assert page.words("h2") == ["Curves", "Network", "Results", "Config", "Conditions"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"predicted": np.arange(3)}, "a class per example"),
        ({"predicted": np.zeros((60, 1), int)}, "a class per example"),
        ({"target": np.zeros(60)}, "integers in target"),
        ({"index": np.arange(20) + 50}, "index below 60"),
        ({"index": np.arange(20) - 1}, "index below 60"),
        ({"index": np.arange(3)}, "an index per example"),
        ({"x": {"nested": np.zeros(3)}}, "expected predicted, target, x and index"),
    ],
)
def test_an_evaluation_that_does_not_add_up_is_a_note(tmp_path, changes, words):
    folder = make_run(tmp_path / "run")
    save_tree(folder / "evaluation.npz", {**evaluation(), **changes})
    run = read(folder)
    assert run.evaluation is None
    assert words in run.notes[0]


@pytest.mark.parametrize("shape", [(20, 5), (20, 2, 28, 28), (20,), (20, 0, 3), (20, 1, 1, 4, 4)])
def test_examples_that_are_no_images_are_not_drawn(tmp_path, shape):
    folder = make_run(tmp_path / "run")
    save_tree(folder / "evaluation.npz", {**evaluation(), "x": np.zeros(shape, np.float32)})
    assert "Examples" not in [section.title for section in page_of([read(folder)]).sections]


@pytest.mark.parametrize(
    "recipe",
    [
        "__import__('os').system('true')",
        "serial(open('/etc/passwd'))",
        "ACTIVATIONS()",
        "Dense(10 ** 12)",
        "Dense(1000000000000)",
        "serial(Conv(4, 5), Dense(16000000))",
        "Dense(*[1])",
        "Dense(**{'width': 1})",
        "Dense(width=True)",
        "Conv(1, 1, padding=16000000)",
        "(" * 5000,
        "serial(" * 80 + "Dense(1)" + ")" * 80,
        "x" * 60_000,
        "'Dense(1)'",
        "Mine(3)",
        "",
        "Dense(10)\nDense(10)",
    ],
)
def test_a_recipe_that_is_not_one_of_ours_is_a_note_at_most(tmp_path, recipe):
    result = {"network": recipe, "parameters": 1}
    folder = make_run(tmp_path / "run", result=result, seen=False)
    notes = page_of([read(folder)]).notes
    assert [note.startswith("The table of the network is left out: ") for note in notes] == [True]


def test_a_run_given_twice_is_one_run_and_none_is_an_error(tmp_path, capsys):
    folder = make_run(tmp_path / "run")
    assert main([str(folder), str(folder)]) == 0
    assert str(folder / "report.html") in capsys.readouterr().out
    with pytest.raises(fnn.OptionError, match="none"):
        write([])


def test_a_folder_that_cannot_be_written_to_is_a_typed_error(tmp_path, capsys):
    folder = make_run(tmp_path / "run", model=False, seen=False)
    (tmp_path / "file").write_text("")
    assert main([str(folder), "--out", str(tmp_path / "file")]) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err


@pytest.mark.parametrize(
    "values",
    [(1e308, -1e308), (0.0, 5e-324), (1e-323, 1.0), (10**400, 1), (-(10**400), 1e300), (1e300, -1e300)],
    ids=range(6),
)
@pytest.mark.filterwarnings("error")
def test_numbers_at_the_ends_of_their_range_are_drawn_or_left_out(values, tmp_path):
    lines = [
        json.dumps({"epoch": value if i else 0, "loss": value, "accuracy": abs(value)}) + "\n"
        for i, value in enumerate(values)
    ]
    lines += [json.dumps({"epoch": 3, "loss": values[0], "accuracy": 0.5}) + "\n"]
    folder = make_run(tmp_path / "run", result={"loss": values[0], "more": values[1]}, lines=lines)
    assert "<svg" in html_of(folder)


def test_a_config_of_many_nested_lists_is_shown_up_to_a_depth(tmp_path):
    folder = make_run(tmp_path / "run")
    nested = 1
    for _ in range(900):
        nested = [nested]
    content = json.loads((folder / "run.json").read_text())
    content["config"] = {"nested": nested, "rate": 0.1}
    (folder / "run.json").write_text(json.dumps(content))
    assert "…" in html_of(folder)
