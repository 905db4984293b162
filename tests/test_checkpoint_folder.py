"""A folder of checkpoints: whatever happens while one is written, another is there to go on from."""

import errno
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import attrs
import pytest
from test_checkpoint_runs import start, trained
from test_loop import NET, fit
from test_resume import bits, run

import fnn
from fnn.errors import DataError, OptionError
from fnn.files import remove_leftovers, replacing
from fnn.runs.checkpoint import Checkpoints, load_checkpoint, read_about, save_checkpoint
from fnn.training.progress import Progress


def at(step):
    return Progress(attrs.evolve(start(), step=step))


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def name(step):
    return f"step-{step:09d}.npz"


# --- what stays ---------------------------------------------------------------------------------


def test_the_newest_stay_and_the_best_state_comes_with_each(tmp_path):
    checkpoints = Checkpoints(tmp_path / "deep" / "run", keep=3)
    assert checkpoints.latest() is None
    result = run(save=checkpoints.save, save_every=3)
    assert names(checkpoints.folder) == [name(12), name(15), name(16)]
    last = checkpoints.latest(like=result.last)
    assert (last.now, last.best) == (result.last, result.best)
    assert load_checkpoint(checkpoints.folder / name(15)).best.step == 12
    assert checkpoints.skipped == []


def test_fit_goes_on_from_the_folder(tmp_path):
    whole = run()
    checkpoints = Checkpoints(tmp_path)

    pressed = []

    def save(progress):
        checkpoints.save(progress)
        if progress.now.step == 10 and not pressed:
            pressed.append(True)
            signal.raise_signal(signal.SIGINT)

    assert run(save=save, save_every=5).interrupted
    assert names(tmp_path) == [name(8), name(10)]
    assert bits(run(start=checkpoints.latest(), save=checkpoints.save, save_every=5)) == bits(whole)
    assert names(tmp_path) == [name(15), name(16)]


def test_save_gives_the_file_and_writes_what_is_said_about_it(tmp_path):
    path = Checkpoints(tmp_path, about={"run": 7}).save(at(3))
    assert path == tmp_path / name(3)
    assert read_about(path) == {"run": 7}


def test_steps_of_any_length_are_in_order(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step in (999_999_999, 1_000_000_000, 20_000_000_000):
        checkpoints.save(at(step))
    assert checkpoints.latest() == at(20_000_000_000)
    assert len(names(tmp_path)) == 3


def test_what_is_later_than_the_step_saved_goes_and_is_never_taken_for_it(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(at(20))
    (tmp_path / name(30)).write_bytes(b"damaged")
    checkpoints.save(at(10))
    assert names(tmp_path) == [name(10)]
    assert checkpoints.latest() == at(10)


def test_other_files_in_the_folder_stay(tmp_path):
    others = ["step-1.npz", "step-000000001.npz.bak", "model.npz", "xstep-000000001.npz", "notes"]
    for each in others:
        (tmp_path / each).write_bytes(b"mine")
    Checkpoints(tmp_path, keep=1).save(at(5))
    assert names(tmp_path) == sorted([*others, name(5)])


@pytest.mark.parametrize("keep", [0, -1, 1.5, True, None])
def test_at_least_one_has_to_stay(tmp_path, keep):
    with pytest.raises(OptionError, match="Checkpoints: keep: expected"):
        Checkpoints(tmp_path, keep)


# --- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [b"", b"PK\3\4", None])
def test_a_damaged_newest_one_is_passed_over_and_said(tmp_path, damage):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(at(1))
    content = checkpoints.save(at(2)).read_bytes()
    (tmp_path / name(2)).write_bytes(content[:-1] if damage is None else damage)
    assert checkpoints.latest() == at(1)
    assert len(checkpoints.skipped) == 1
    assert checkpoints.skipped[0].startswith(str(tmp_path / name(2)))
    checkpoints.save(at(2))
    assert checkpoints.latest() == at(2)
    assert checkpoints.skipped == []


def test_if_none_is_whole_every_one_is_said(tmp_path):
    for step in (1, 2):
        (tmp_path / name(step)).write_bytes(b"")
    with pytest.raises(DataError, match="expected a checkpoint that is whole") as caught:
        Checkpoints(tmp_path).latest()
    assert name(1) in str(caught.value)
    assert name(2) in str(caught.value)


def test_a_checkpoint_of_another_network_is_no_damage_to_pass_over(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    fit(net=NET, save=checkpoints.save)
    with pytest.raises(DataError, match="does not fit") as caught:
        checkpoints.latest(like=start(fnn.serial(fnn.Dense(5))))
    assert name(12) in str(caught.value)


# --- a file system that refuses -----------------------------------------------------------------


class Full(io.FileIO):
    """A file on a disk that has room for so many bytes."""

    room = 0

    def write(self, data):
        if Full.room < len(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        Full.room -= len(data)
        return super().write(data)


def test_a_full_disk_is_said_and_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(at(1))
    size = (tmp_path / name(1)).stat().st_size
    before = (tmp_path / name(1)).read_bytes()
    plain = os.fdopen

    def open_full(handle, mode="r", *args, **kwargs):
        if mode != "w+b":
            return plain(handle, mode, *args, **kwargs)
        return io.BufferedRandom(Full(handle, "r+"), buffer_size=64)

    monkeypatch.setattr(os, "fdopen", open_full)
    for room in range(0, size, 397):
        Full.room = room
        with pytest.raises(DataError, match="No space left on device") as caught:
            checkpoints.save(at(2))
        assert str(tmp_path / name(2)) in str(caught.value)
        assert names(tmp_path) == [name(1)]
    assert (tmp_path / name(1)).read_bytes() == before
    Full.room = 2 * size
    checkpoints.save(at(2))
    assert checkpoints.latest() == at(2)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_when_it_matters_leaves_the_last_good_checkpoint(tmp_path, monkeypatch, call):
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(at(1))

    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(DataError, match=r"step-000000002\.npz: cannot be written \(Input/output"):
            checkpoints.save(at(2))
    assert names(tmp_path) == [name(1)]
    assert checkpoints.latest() == at(1)


def test_fit_says_that_the_disk_is_full(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DataError, match=r"step-000000003\.npz: cannot be written"):
        run(save=Checkpoints(tmp_path).save, save_every=3)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="may write anywhere")
def test_a_read_only_folder_is_said(tmp_path):
    Checkpoints(tmp_path).save(at(1))
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(DataError, match="cannot be written"):
            Checkpoints(tmp_path).save(at(2))
        assert Checkpoints(tmp_path).latest() == at(1)
    finally:
        tmp_path.chmod(0o700)


def test_a_file_where_the_folder_should_be_is_said(tmp_path):
    (tmp_path / "run").write_bytes(b"mine")
    with pytest.raises(DataError, match="run"):
        Checkpoints(tmp_path / "run").save(at(1))
    with pytest.raises(DataError, match="run: cannot be read"):
        Checkpoints(tmp_path / "run").latest()


def test_a_checkpoint_that_cannot_be_removed_is_said(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    (tmp_path / name(1)).mkdir()
    with pytest.raises(DataError, match=r"step-000000001\.npz: cannot be removed"):
        checkpoints.save(at(2))
    assert checkpoints.latest() == at(2)


# --- killed writers -----------------------------------------------------------------------------


def dead():
    """Return the number of a process that is no more."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_temporary_files_of_killed_writers_go_and_those_of_others_stay(tmp_path):
    def temporary(process, of="step-000000007.npz"):
        path = tmp_path / f".{of}.{process}-0123abcd.tmp"
        path.write_bytes(b"half")
        return path.name

    gone = [temporary(dead()), temporary(os.getpid()), temporary(dead(), "run.json")]
    stays = [temporary(os.getppid()), temporary(dead(), "x")[:-4] + ".part"]
    (tmp_path / stays[1]).write_bytes(b"mine")
    with replacing(tmp_path / name(3)) as file:
        file.write(b"being written")
        remove_leftovers(tmp_path)
        assert len(names(tmp_path)) == 3 + (os.name == "nt")
    (tmp_path / name(3)).unlink()
    (tmp_path / gone[0]).write_bytes(b"half")
    Checkpoints(tmp_path).save(at(9))
    assert names(tmp_path) == sorted([*stays, name(9)])


def test_sweeping_a_folder_that_is_not_there_is_nothing(tmp_path):
    remove_leftovers(tmp_path / "none")
    assert names(tmp_path) == []


WRITER = """
import sys
sys.path[:0] = sys.argv[2:]
from test_checkpoint_folder import Checkpoints, at
checkpoints = Checkpoints(sys.argv[1], keep=2)
sys.stdout.write("ready\\n")
sys.stdout.flush()
for step in range(1, 100000):
    checkpoints.save(at(step))
"""


@pytest.mark.skipif(os.name == "nt", reason="no kill -9")
def test_a_writer_killed_at_any_moment_leaves_a_checkpoint_that_loads(tmp_path):
    folders = [path for path in sys.path if path]
    seen = set()
    for i in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), *folders], stdout=subprocess.PIPE
        ) as writer:
            writer.stdout.readline()
            time.sleep(0.02 + 0.0037 * i)
            writer.kill()
        last = Checkpoints(tmp_path).latest()
        if last is not None:
            assert last == at(last.now.step)
            seen.add(last.now.step)
    assert seen
    Checkpoints(tmp_path).save(at(10**6))
    assert Checkpoints(tmp_path).latest() == at(10**6)
    assert not [each for each in names(tmp_path) if each.endswith(".tmp")]


def test_a_checkpoint_is_never_half_written_in_place(tmp_path):
    save_checkpoint(tmp_path / "c.npz", trained())
    before = (tmp_path / "c.npz").read_bytes()

    def pressing(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", pressing)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path / "c.npz", at(1))
    assert (tmp_path / "c.npz").read_bytes() == before
    assert names(tmp_path) == ["c.npz"]
