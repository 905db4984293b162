"""The folder of a sweep is reported by its members, with the sweep's own table before them."""

import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest
import sweep_cases
from report_cases import Parsed, make_run
from sweep_cases import Config, train

from fnn.errors import DataError
from fnn.runs.experiment import option
from fnn.runs.report import write
from fnn.runs.report.command_line import main
from fnn.runs.sweep import grid, sweep


def swept(folder, given=train, configs=None):
    configs = grid(Config(), {"n": (2, 3)}, seeds=2) if configs is None else configs
    with ThreadPoolExecutor(1) as pool:
        return sweep(given, configs, out=folder, executor=pool, say=lambda text: None)


def shown(html):
    page = Parsed(html.read_text("utf-8"))
    assert not page.faults
    return " ".join(" ".join(text for _, text in page.texts).split())


def test_a_sweep_is_reported_with_its_table_and_its_members(tmp_path, capsys):
    done = swept(tmp_path / "sweep")
    assert main([str(done.folder)]) == 0
    html, markdown = (Path(line) for line in capsys.readouterr().out.splitlines()[-2:])
    assert (html, markdown) == (done.folder / "report.html", done.folder / "report.md")
    text = shown(html)
    assert "The sweep" in text
    assert "4 runs" in text
    lines = markdown.read_text("utf-8").splitlines()
    for row in done.rows:
        mean, error = row.results["score"]
        found = [line for line in lines if f"{mean:.6g} ± {error:.2g}" in line and "| 2 |" in line]
        assert found, lines
        assert ("best" in found[0]) == row.best
    for name in done.members:
        assert name in text
    # The sweep goes on beside its report, and the report is written again.
    assert swept(done.folder).finished
    assert main([str(done.folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-2] == str(html)


def test_members_that_failed_or_wait_are_said_and_do_not_stop_the_report(tmp_path):
    folder = tmp_path / "sweep"
    swept(folder, sweep_cases.failing)
    about = json.loads((folder / "sweep.json").read_text("utf-8"))
    about["members"]["n=9"] = {"config": {}, "status": "waiting", "result": None, "error": ""}
    (folder / "sweep.json").write_text(json.dumps(about))
    text = shown(write([folder])[0])
    assert "n=3,seed=0: failed: OddError: no such luck" in text
    assert "n=9: waiting" in text
    assert "4 runs" in text


@attrs.frozen
class Inner:
    rate: float = 0.1
    limit: float = math.inf


@attrs.frozen
class Outer:
    inner: Inner = option(Inner(), "within")
    seed: int = 0
    out: Path = Path("out")


def test_configs_within_configs_and_infinities_are_shown_by_their_full_names(tmp_path):
    configs = grid(Outer(), {"inner.rate": (0.1, math.inf)}, seeds=2)
    done = swept(tmp_path / "sweep", lambda config, run: {"score": config.seed}, configs)
    text = shown(write([done.folder])[0])
    assert "inner.rate 0.1" in text
    assert "inner.rate inf" in text
    assert "inner.limit" in text
    assert "2 configs" in text


def test_runs_and_sweeps_are_compared_together(tmp_path):
    done = swept(tmp_path / "sweep")
    run = make_run(tmp_path / "run")
    html, _ = write([done.folder, run], tmp_path / "both")
    assert "5 runs" in shown(html)
    with pytest.raises(DataError, match=r"run\.json"):
        write([tmp_path / "absent"])


# --- a stranger's


def member(folder, name="a"):
    make_run(folder / name)
    return {name: {"status": "finished", "error": ""}}


def write_sweep(folder, members, **more):
    folder.mkdir(exist_ok=True)
    about = {"format": 1, "experiment": "x", "members": members, **more}
    (folder / "sweep.json").write_text(json.dumps(about))
    return folder


@pytest.mark.parametrize(
    "name", ["../elsewhere", "..", ".", "", "/tmp", "a/b", "a\\b", "a\0b", ".hidden"]
)
def test_a_members_name_leads_to_no_other_place(tmp_path, name):
    make_run(tmp_path / "elsewhere")
    make_run(tmp_path / "sweep/.hidden")
    known = member(tmp_path / "sweep")
    folder = write_sweep(tmp_path / "sweep", {**known, name: {"status": "finished"}})
    text = shown(write([folder])[0])
    assert "left out, for that is no name of a folder" in text
    assert "elsewhere" not in text.replace("../elsewhere: left out", "")


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links")
def test_links_in_a_sweep_are_not_followed(tmp_path):
    make_run(tmp_path / "elsewhere")
    known = member(tmp_path / "sweep")
    (tmp_path / "sweep/b").symlink_to(tmp_path / "elsewhere")
    folder = write_sweep(tmp_path / "sweep", {**known, "b": {"status": "finished"}})
    assert "b: left out: " in shown(write([folder])[0])
    (folder / "sweep.json").rename(tmp_path / "real.json")
    (folder / "sweep.json").symlink_to(tmp_path / "real.json")
    with pytest.raises(DataError, match=r"sweep\.json"):
        write([folder])


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", '{"format": 1}', '{"format": 2, "members": {}}',
     '{"format": 1, "members": []}', '{"format": 1, "members": {}}',
     '{"format": 1, "members": {"a": 3}}', "[" * 100_000, "\xff"],
)  # fmt: skip
def test_a_damaged_sweep_is_told_by_its_file(tmp_path, text):
    (tmp_path / "sweep.json").write_text(text, "latin-1")
    with pytest.raises(DataError, match=r"sweep\.json: "):
        write([tmp_path])
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    "table",
    [
        3,
        [3, None],
        [{}],
        [{"point": 3, "n": {}, "results": [1]}],
        [{"point": {"a": [[]]}, "n": None, "results": {"x": 3}, "best": 1}],
        [{"point": {"a": {"b": 1}}, "n": 10**400, "results": {"x": {"mean": 10**400}}}],
        [{"point": {}, "n": 1, "results": {"x": {"mean": 0, "standard_error": 10**400}}}],
        [{"point": {}, "n": 1, "results": {"x": {"mean": "nan", "standard_error": "inf"}}}],
        [{"point": {f"f{i}": i for i in range(3000)}, "results": {"<b>": {"mean": 1e-300}}}] * 500,
    ],
)
def test_a_strange_table_makes_a_page_all_the_same(tmp_path, table):
    folder = write_sweep(tmp_path / "sweep", member(tmp_path / "sweep"), table=table)
    html, _ = write([folder])
    assert not Parsed(html.read_text("utf-8")).faults
    assert html.stat().st_size < 3_000_000
