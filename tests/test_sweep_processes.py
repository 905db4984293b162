"""The processes of a sweep end when they are told to, and say why where they cannot begin."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import sweep_cases
from sweep_cases import Config, score, train

from fnn.errors import OptionError
from fnn.runs.experiment import read_run
from fnn.runs.sweep import grid, processes, sweep, workers

SCRIPT = """
import attrs
from pathlib import Path
from fnn.experiment import execute, main, option
from fnn.runs.sweep import grid, sweep

@attrs.frozen
class C:
    seed: int = 0
    out: Path = Path("out/s")

def train(config, run):
    return {"loss": 1.0}

"""


def run_script(folder, end, *, how="s.py"):
    """Run a script of its own, or give it to Python on standard input or as a prompt would."""
    text = SCRIPT + textwrap.dedent(end)
    (folder / "s.py").write_text(text)
    command = [sys.executable, "-W", "error", how, *([text] if how == "-c" else [])]
    given = text if how == "-" else None
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, input=given, check=False, timeout=60
    )


@pytest.mark.parametrize(
    "end",
    [
        "main(train, C, ['sweep', '--seeds', '3', '--workers', '2'])",
        "sweep(train, grid(C(), {}, seeds=1), out='out/s-sweep')",
        "execute(train, C(out='out/alone'))\nsweep(train, grid(C(), {}, seeds=1), out='out/s-sweep')",
    ],
    ids=["main", "sweep", "execute"],
)
def test_a_script_without_a_guard_is_told_what_to_write(tmp_path, end):
    done = run_script(tmp_path, end)
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert "sweep: the script trains as soon as it is imported" in line
    assert 'put what it calls at its end under `if __name__ == "__main__":`' in line
    assert done.stderr.count("as soon as it is imported") == 1
    assert "lock" not in done.stdout + done.stderr
    assert not list((tmp_path / "out/s-sweep").glob("seed=*"))
    # With a guard the same sweep goes on.
    end = f"if __name__ == '__main__':\n    {end.splitlines()[-1]}"
    assert run_script(tmp_path, end).returncode == 0
    assert read_run(tmp_path / "out/s-sweep/seed=0")["status"] == "finished"


def test_a_process_of_ones_own_that_imports_a_script_without_a_guard_is_told_too(tmp_path):
    end = """
    import multiprocessing
    execute(train, C(out="out/alone"))
    if __name__ == "__main__":
        child = multiprocessing.get_context("spawn").Process(target=train, args=(None, None))
        child.start()
        child.join()
        print("status", child.exitcode)
    """
    done = run_script(tmp_path, end)
    assert (done.returncode, done.stdout) == (0, "status 87\n")
    assert done.stderr.startswith("error: the script trains as soon as it is imported")


@pytest.mark.parametrize(
    "end",
    ["main(train, C, ['sweep', '--seeds', '1'])", "sweep(train, grid(C(), {}, seeds=1), out='out/a')"],
    ids=["main", "sweep"],
)
@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("-", "the script is no file that other processes can import, got '<stdin>'; write it into a"),
        (
            "-c",
            "train or its config are from a notebook or a prompt, which no other process can import",
        ),
    ],
    ids=["standard input", "notebook"],
)
def test_what_no_process_can_import_is_told_before_anything_is_written(tmp_path, end, how, why):
    done = run_script(tmp_path, end, how=how)
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert why in line
    assert "or run members in threads: executor=ThreadPoolExecutor(2)" in line
    assert not (tmp_path / "out").exists()


def test_what_a_notebook_imports_and_what_runs_in_threads_needs_no_script(tmp_path):
    (tmp_path / "mine.py").write_text(SCRIPT)
    end = """
    import mine
    from concurrent.futures import ThreadPoolExecutor
    assert sweep(mine.train, grid(mine.C(), {}, seeds=1), out="out/a", workers=1).finished
    with ThreadPoolExecutor(1) as pool:
        assert sweep(train, grid(C(), {}, seeds=1), out="out/b", executor=pool).finished
    """
    done = run_script(tmp_path, end, how="-c")
    assert (done.returncode, done.stderr) == (0, "")


class Bound:
    lock = threading.Lock()

    def __init__(self):
        self.own = threading.Lock()

    def train(self, config, run):
        return {}


@pytest.mark.parametrize(
    "given",
    [lambda config, run: {}, Bound().train, partial(train, run=threading.Lock())],
    ids=["lambda", "method of what does not pickle", "partial of a lock"],
)
def test_what_cannot_be_sent_to_a_process_is_refused_before_anything_is_written(tmp_path, given):
    with pytest.raises(OptionError, match="cannot be given to other processes") as caught:
        processes.check_sendable(given, Config())
    assert "define it at the top level of a module, or run members in threads" in str(caught.value)
    if "lambda" in str(given):
        with pytest.raises(OptionError, match="cannot be given to other processes"):
            sweep(given, grid(Config(), {}, seeds=1), out=tmp_path / "sweep")
        assert not (tmp_path / "sweep").exists()


def test_a_process_that_ends_before_its_member_began_is_told_apart(tmp_path):
    end = """
    import os
    if __name__ == "__main__":
        print(sweep(train, grid(C(), {}, seeds=1), out="out/s", workers=1).table)
    else:
        os._exit(3)
    """
    done = run_script(tmp_path, end)
    assert done.returncode == 0
    error = "its process ended before the member began, and again when it ran alone; see stderr"
    assert f"killed: seed=0: {error}" in done.stdout


# --- Ctrl-C

STUBBORN = """
import os, signal, sys, time, attrs
from pathlib import Path
from fnn.experiment import main
from fnn.runs.sweep import processes

processes.GRACE = 1.0

@attrs.frozen
class C:
    seed: int = 0
    out: Path = Path("out/s")

def train(config, run):
    (run.folder / "began").write_text(str(os.getpid()))
    if (run.folder.parent.parent / "mended").exists():
        return {"loss": 1.0}
    if config.seed == 1:
        while not (run.folder.parent / "seed=0/loops").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    while True:
        try:
            (run.folder / "loops").touch()
            time.sleep(0.05)
        except BaseException:
            (run.folder / "swallowed").touch()

if __name__ == "__main__":
    main(train, C)
"""


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


@contextlib.contextmanager
def stubborn(folder, seeds):
    """Start a sweep of members that swallow everything; give it, and where one wrote its process."""
    (folder / "s.py").write_text(STUBBORN)
    words = [sys.executable, "s.py", "sweep", "--seeds", str(seeds), "--workers", str(seeds)]
    running = subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        yield running, folder / "out/s-sweep/seed=0/began"
    finally:
        running.kill()
        running.communicate()


def wait_until(true):
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.skipif(os.name == "nt", reason="asks for signals")
def test_ctrl_c_ends_a_member_that_swallows_it(tmp_path):
    with stubborn(tmp_path, 1) as (running, began):
        wait_until(lambda: began.exists() and began.read_text())
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=30)
    assert running.returncode == 130
    assert errors.splitlines() == ["interrupted; the same command goes on with the sweep"]
    assert (began.parent / "swallowed").exists()
    assert not is_running(int(began.read_text()))
    (tmp_path / "out/mended").touch()
    again = subprocess.run(running.args, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (again.returncode, again.stderr) == (0, "")
    assert read_run(began.parent)["status"] == "finished"


@pytest.mark.skipif(os.name == "nt", reason="asks for signals")
def test_a_member_that_swallows_everything_does_not_keep_a_broken_pool(tmp_path):
    """Where one process is killed the others are told to end, so that all run again."""
    with stubborn(tmp_path, 2) as (running, began):
        wait_until(lambda: began.exists() and began.read_text())
        first = began.read_text()
        wait_until(lambda: began.read_text() not in ("", first))  # It runs again, alone.
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=30)
    assert running.returncode == 130
    assert not is_running(int(first))


# --- what members record


def half_a_letter(config, run):
    if config.n == 3:
        raise ValueError("no such file: \udcff\n")
    return train(config, run)


class MuteError(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def mute(config, run):
    if config.n == 3:
        raise MuteError
    return train(config, run)


@pytest.mark.parametrize("threads", [True, False], ids=["threads", "processes"])
def test_an_error_that_no_encoding_holds_does_not_stop_the_others(tmp_path, threads, capfd):
    configs = grid(Config(), {"n": (3, 2)})
    options = {"out": tmp_path / "sweep", "workers": 1}
    if threads:
        with ThreadPoolExecutor(1) as pool:
            done = sweep(half_a_letter, configs, executor=pool, **options)
    else:
        done = sweep(half_a_letter, configs, **options)
    assert {name: member.status for name, member in done.members.items()} == {
        "n=3": "failed",
        "n=2": "finished",
    }
    assert r"failed: n=3: ValueError: no such file: \udcff" in (tmp_path / "sweep/sweep.md").read_text(
        "utf-8"
    )
    assert json.loads((tmp_path / "sweep/sweep.json").read_text("utf-8"))["members"]["n=3"]["error"]
    assert r"\udcff" in capfd.readouterr().out


def test_an_error_that_fails_to_say_what_it_is_does_not_stop_the_others(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        done = sweep(mute, grid(Config(), {"n": (3, 2)}), out=tmp_path / "sweep", executor=pool)
    assert done.members["n=2"].status == "finished"
    assert done.members["n=3"].status == "failed"


def test_a_member_records_the_command_of_the_sweep(tmp_path):
    script = sweep_cases.__file__
    words = [script, "sweep", "--grid", "n=2", "--workers", "1", "--out", str(tmp_path / "sweep")]
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    about = read_run(tmp_path / "sweep/n=2")
    assert about["command"] == " ".join([sys.executable, *words])
    assert about["result"]["score"] == score(Config())
    assert workers.work(train, Config(out=tmp_path / "b"), os.getpid(), ["a", "b c"], False)[1] == ""
    assert read_run(tmp_path / "b")["command"] == "a 'b c'"
