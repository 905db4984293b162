"""Reports of runs: what stands on the page, in the Markdown and on the command line."""

from __future__ import annotations

import json
import re

import pytest
from report_cases import Parsed, make_run

from fnn.runs.report.command_line import main
from fnn.runs.report.comparing import with_error


def reported(*folders, out=None, capsys):
    arguments = [*map(str, folders), *(["--out", str(out)] if out else [])]
    assert main(arguments) == 0
    html_file, markdown_file = capsys.readouterr().out.splitlines()
    with open(html_file, encoding="utf-8") as file:
        html = file.read()
    with open(markdown_file, encoding="utf-8") as file:
        return html, file.read()


def test_the_page_of_a_run_has_all_its_sections_and_needs_no_other_file(tmp_path, capsys):
    html, _ = reported(make_run(tmp_path / "run"), capsys=capsys)
    page = Parsed(html)
    assert page.faults == []
    assert page.words("h2") == [
        "Curves", "Confusion matrix", "Classes", "Examples", "Filters of the first layer", "Network",
        "Results", "Config", "Conditions",
    ]  # fmt: skip
    assert page.words("h1") == ["mnist_cnn"]
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not re.search(r"url\(|@import", html.split("</style>")[0])
    assert not [attrs for _, attrs in page.tags if {"href", "srcset", "data", "style"} & attrs.keys()]
    assert all(attrs["src"].startswith("data:image/png;base64,") for attrs in page.named("img"))
    assert all(attrs["alt"] for attrs in page.named("img"))
    # Four drawings, 12 right and 3 wrong of the 20 that were kept, 4 kernels.
    assert len(page.named("svg")) == 4
    assert len(page.named("img")) == 12 + 3 + 4
    for drawing in page.named("svg"):
        assert drawing["role"] == "img"
        assert drawing["aria-label"]
        assert drawing["viewbox"]
    assert all(attrs["scope"] in ("col", "row") for attrs in page.named("th"))


def test_the_numbers_on_the_page_are_those_of_the_run(tmp_path, capsys):
    folder = make_run(tmp_path / "run", seed=3)
    html, markdown = reported(folder, capsys=capsys)
    result = json.loads((folder / "run.json").read_text())["result"]
    exact = [attrs["value"] for attrs in Parsed(html).named("data")]
    for name in ("test_accuracy", "parameters"):
        assert exact.count(str(result[name])) == 2  # On a card and in the table.
    assert "91.30 %" in html
    assert "| test accuracy | 0.913 |" in markdown
    # Counted by hand: the kernels, their biases, the dense layer.
    for flops in (2 * 4 * 25 * 24 * 24, 4 * 144 * 4, 4 * 144, 2 * 576 * 10):
        assert f'<td class="num">{flops:,}</td>' in html
    assert "51 of 60 right" in html
    assert "a processor" in html
    assert "python -m fnn.report" in html


def test_what_a_run_has_not_got_is_left_out(tmp_path, capsys):
    folder = make_run(tmp_path / "run", model=False, seen=False, lines=[], result={})
    html, markdown = reported(folder, capsys=capsys)
    assert Parsed(html).words("h2") == ["Config", "Conditions"]
    assert "aside" not in html.split("</style>")[1]
    assert "# mnist\\_cnn" in markdown or "# mnist_cnn" in markdown
    (folder / "metrics.jsonl").unlink()
    html, _ = reported(folder, capsys=capsys)
    assert Parsed(html).words("h2") == ["Config", "Conditions"]


def test_the_markdown_says_the_same_in_tables_and_shows_the_pictures_that_are_there(tmp_path, capsys):
    folder = make_run(tmp_path / "run")
    (folder / "loss.png").write_bytes(b"")
    html, markdown = reported(folder, capsys=capsys)
    assert "![loss](loss.png)" in markdown
    assert "accuracy.png" not in markdown
    # Of six zeros one, the first example, is taken for a one.
    assert "| true ↓ predicted → | 0 | 1 |" in markdown
    assert "\n| 0 | 5 | 1 | 0 |" in markdown
    for line in markdown.splitlines():
        assert not line.startswith("|") or line.endswith("|")
    head = "| layer | kind | output | parameters | FLOPs | state | activation bytes |"
    assert f"{head}\n{'| --- ' * 7}|\n| conv_0 | Conv(4, 5) | 4×24×24 |" in markdown
    assert set(re.findall(r"^## (.*)$", markdown, re.M)) <= {*Parsed(html).words("h2"), "Key numbers"}


def test_seeds_of_one_config_become_a_mean_with_its_error_and_a_band(tmp_path, capsys):
    folders = [make_run(tmp_path / f"{seed}", seed=seed) for seed in (1, 2, 3)]
    html, markdown = reported(*folders, out=tmp_path / "all", capsys=capsys)
    page = Parsed(html)
    assert page.faults == []
    # Of 0.911, 0.912 and 0.913: s = 0.001, s / √3 = 0.00058.
    assert "0.91200 ± 0.00058" in html
    assert "| all | 3 | 0.91200 ± 0.00058 | 5,874 |" in markdown
    kinds = [attrs.get("class") for attrs in page.named("path")]
    assert kinds.count("band c0") == 2
    assert kinds.count("band c1") == 2
    assert kinds.count("member") == 12
    assert "one config, different seeds" in html


def test_configs_are_compared_by_what_differs(tmp_path, capsys):
    runs = [(1, 0.1), (2, 0.1), (1, 0.3)]
    folders = [make_run(tmp_path / f"{i}", seed=seed, rate=rate) for i, (seed, rate) in enumerate(runs)]
    html, markdown = reported(*folders, out=tmp_path / "page.html", capsys=capsys)
    page = Parsed(html)
    assert (tmp_path / "page.md").is_file()
    assert page.words("li") == ["learning rate 0.1", "learning rate 0.3"]
    assert "| run | learning rate | seed | test accuracy |" in markdown
    assert "| learning rate 0.1 | 2 | 0.91150 ± 0.00050 | 5,874 |" in markdown
    assert "| learning rate 0.3 | 1 | 0.931 | 5,874 |" in markdown
    same = markdown.split("## Config of all runs")[1].split("##")[0]
    assert "epochs" in same
    assert "learning rate" not in same
    assert "Validation loss" in html
    assert "Test loss" not in html


def test_a_run_that_did_not_finish_says_so(tmp_path, capsys):
    about = {"status": "failed", "error": "DivergedError: step 3"}
    html, markdown = reported(make_run(tmp_path / "run", about=about, result={}), capsys=capsys)
    assert "status is “failed”: DivergedError: step 3" in html
    assert "> This run's status is “failed”" in markdown


def test_somebody_elses_file_is_left_alone_and_an_older_report_is_replaced(tmp_path, capsys):
    folder = make_run(tmp_path / "run")
    (folder / "report.md").write_text("# My own\n")
    for _ in range(2):
        assert main([str(folder)]) == 0
        assert capsys.readouterr().out.split() == [
            str(folder / "report.html"),
            str(folder / "report-2.md"),
        ]
    assert (folder / "report.md").read_text() == "# My own\n"


def test_equal_runs_give_equal_bytes(tmp_path, capsys):
    folder = make_run(tmp_path / "run")
    assert reported(folder, capsys=capsys) == reported(folder, capsys=capsys)


def test_the_help_says_what_goes_in_and_what_comes_out(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for words in (
        "RUN",
        "--out FILE_OR_FOLDER",
        "out/report",
        "report.html and report.md",
        "standard error",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.5], "0.5"),
        ([4706, 4706], "4,706"),
        ([1.0, 3.0], "2.0 ± 1.0"),
        ([0.911, 0.912, 0.913], "0.91200 ± 0.00058"),
        ([100.0, 300.0], "200 ± 100"),
        ([float("nan"), 1.0], "NaN"),
        ([float("inf"), 1.0], "∞"),
        ([1e-20, 3e-20], "2e−20 ± 1e−20"),
    ],
)
def test_a_mean_is_given_to_the_place_of_its_error(values, expected):
    assert with_error(values) == expected
