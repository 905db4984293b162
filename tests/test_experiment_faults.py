"""What a stranger put into a run's folder or a config is told in a line, never by a traceback."""

import json
import os
import shutil
import socket
import threading
from pathlib import Path

import attrs
import pytest
import sweep_cases
from experiment_cases import Config, train

from fnn.errors import DataError, OptionError
from fnn.experiment import execute, main, option, read_metrics, read_run, replay
from fnn.runs.config import config_from
from fnn.runs.experiment.conditions import changes
from fnn.runs.experiment.lock import locked

SMALL = {"epochs": 1, "examples": 40}
HUGE = "1" + "0" * 400


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The folder of a run that was interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    execute(train, Config(out=folder, **SMALL))
    path = folder / "run.json"
    path.write_text(path.read_text().replace('"status": "finished"', '"status": "interrupted"'))
    return folder


@pytest.fixture
def run(stopped, tmp_path):
    """A copy of it to spoil."""
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def refusal(capsys, words):
    """Return the one line on stderr that a command line ends with."""
    with pytest.raises(SystemExit) as ended:
        main(train, Config, [*map(str, words)])
    lines = capsys.readouterr().err.splitlines()
    assert ended.value.code in (1, 2)
    assert lines[-1].startswith("error: ") or ": error: " in lines[-1]
    assert max(map(len, lines)) < 1000
    return lines[-1]


def edit(run, **entries):
    path = run / "run.json"
    about = {**json.loads(path.read_text()), **entries}
    # 1e999 is how JSON can say what Python reads as infinite.
    path.write_text(json.dumps(about).replace('"HUGE"', HUGE).replace('"BEYOND"', "1e999"))


# --- run.json


@pytest.mark.parametrize("bad", [float("nan"), float("-inf"), "BEYOND"])
@pytest.mark.parametrize("entry", ["seconds", "seed", "command", "strange"])
def test_numbers_that_are_none_make_run_json_damaged(run, capsys, entry, bad):
    edit(run, **{entry: bad})
    for verb in ("resume", "replay"):
        assert f"{run / 'run.json'}: expected JSON; damaged" in refusal(capsys, [verb, run])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"seconds": "HUGE"}, "seconds: expected 0 or more, got 1000"),
        ({"seconds": -1.5}, "seconds: expected 0 or more, got -1.5"),
        ({"data": {"train": 5}}, "data: expected digests, got {'train': 5}"),
    ],
)
def test_entries_beyond_their_range_are_named(run, capsys, entries, message):
    edit(run, **entries)
    assert f"{run / 'run.json'}: {message}" in refusal(capsys, ["resume", run])


def test_whole_numbers_beyond_all_floats_are_refused(run, capsys):
    assert "argument --epochs: expected INT" in refusal(capsys, ["--epochs", HUGE])
    with pytest.raises(OptionError, match="seed: expected INT, got 1000"):
        config_from(Config, {"seed": int(HUGE)})
    edit(run, config={"epochs": "HUGE"})
    assert "epochs: expected INT, got 1000" in refusal(capsys, ["resume", run])


# --- other files


@pytest.mark.parametrize("name", ["checkpoints", "checkpoints-2", "model.npz", "metrics.jsonl"])
def test_links_that_lead_to_themselves_are_told(run, capsys, name):
    path = run / name
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)
    path.symlink_to(name)
    assert str(path) in refusal(capsys, ["resume", run])


def test_a_folder_in_place_of_the_metrics_is_told(run, capsys):
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").mkdir()
    line = refusal(capsys, ["resume", run])
    assert line == f"error: {run / 'metrics.jsonl'}: cannot be read (Is a directory)"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "lock"])
def test_a_pipe_keeps_nobody_waiting(run, capsys, name):
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    done = threading.Event()

    def attempt():
        line = refusal(capsys, ["resume", run])
        assert str(run / name) in line
        assert "Not a regular file" in line
        done.set()

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(20)
    assert done.is_set()


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"pid": 1' + "0" * 30 + f', "host": "{socket.gethostname()}"}}', "null", "{"],
    ids=["deep", "huge", "null", "cut"],
)
def test_a_lock_that_no_process_can_hold_is_taken_over(tmp_path, text):
    (tmp_path / "lock").write_text(text)
    with locked(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_what_a_killed_writer_left_is_removed_when_a_run_starts_there(tmp_path):
    left = tmp_path / ".run.json.999999999-0123abcd.tmp"
    left.write_text("{")
    execute(train, Config(out=tmp_path, **SMALL))
    assert not left.exists()


def test_the_way_to_resume_can_be_pasted(tmp_path, capsys):
    folder = tmp_path / "a b;c"
    execute(train, Config(out=folder, **SMALL))
    assert f"`resume '{folder}'`" in refusal(capsys, ["--out", folder])


# --- configs


@attrs.frozen
class Validated:
    """A config with validators of attrs' own."""

    n: int = attrs.field(default=3, validator=attrs.validators.ge(1))
    name: str = attrs.field(default="a", converter=str.lower, validator=attrs.validators.in_("ab"))
    out: Path = option(Path("out/validated"), "folder")


def nothing(config, run):
    return {"n": config.n}


def test_validators_of_attrs_are_told_like_our_own(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(nothing, Validated, ["--n", "0"])
    assert ended.value.code == 2
    assert "error: 'n' must be >= 1: 0" in capsys.readouterr().err
    with pytest.raises(OptionError, match="'name' must be in 'ab'"):
        config_from(Validated, {"name": "C"})
    execute(nothing, Validated(out=tmp_path / "run"))
    edit(tmp_path / "run", config={"n": 0})
    with pytest.raises(DataError, match=r"run\.json: 'n' must be >= 1: 0"):
        replay(nothing, Validated, tmp_path / "run")


def test_missing_memory_ends_a_run_with_a_line(tmp_path, capsys):
    def greedy(config, run):
        raise MemoryError("Unable to allocate 8 TiB")

    with pytest.raises(SystemExit) as ended:
        main(greedy, Config, ["--out", str(tmp_path / "run")])
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: out of memory: Unable to allocate 8 TiB\n"
    assert read_run(tmp_path / "run")["status"] == "failed"


# --- replay


def test_another_script_or_network_is_named_as_what_changed(run):
    about = read_run(run)
    assert len(about["script"]) == 64
    other = {**about, "script": "0" * 64, "network": "serial()"}
    assert [line.split(": ")[0] for line in changes(about, other)] == ["network", "script"]


def test_long_values_are_cut_where_a_replay_differs(run):
    edit(run, status="finished")
    path = run / "metrics.jsonl"
    records = read_metrics(run)
    records[0]["examples"] = "x" * 1_000_000
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert max(map(len, replay(train, Config, run).lines)) < 400


# --- sweeps


def swept(capsys, *words):
    code = 0
    try:
        main(sweep_cases.train, sweep_cases.Config, ["sweep", *map(str, words)])
    except SystemExit as ended:
        code = ended.code
    return code, capsys.readouterr()


def test_a_sweep_that_was_killed_in_its_first_write_goes_on(tmp_path, capsys):
    # Of a process that still runs, as far as anybody can tell.
    (tmp_path / f".sweep.json.{os.getppid()}-0123abcd.tmp").write_text("{")
    (tmp_path / ".sweep.json.999999999-0123abcd.tmp").write_text("{")
    assert swept(capsys, "--seeds", 1, "--out", tmp_path)[0] == 0
    assert not (tmp_path / ".sweep.json.999999999-0123abcd.tmp").exists()


def test_more_seeds_than_anybody_runs_are_refused(capsys):
    code, said = swept(capsys, "--seeds", 99_999_999_999)
    assert code == 2
    assert "seeds: expected at most 1,000,000, got 99999999999" in said.err


def test_a_mark_by_a_result_that_nobody_has_is_told(tmp_path, capsys):
    code, said = swept(capsys, "--seeds", 1, "--max", "scroe", "--out", tmp_path)
    assert code == 0
    expected = "expected a result among ['score', 'loss', 'pid'], got 'scroe'"
    assert f"no row is marked: {expected}" in said.out
