"""Fuzzed files of strangers, all formats: only typed errors, no write elsewhere, no memory on a word.

A case is a seed. `pytest -m slow tests/test_strangers_files.py` tries 20,000 of them.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import shutil
import signal
import socket
import tracemalloc
from collections import Counter
from pathlib import Path

import attrs
import numpy as np
import pytest
from stranger_cases import Canary, snapshot
from stranger_mutations import mutate

import fnn
import fnn.runs.report.writing as report
from fnn.datasets import image_folder, read_idx, read_image, write_idx
from fnn.errors import FnnError
from fnn.runs.checkpoint import Checkpoints, load_checkpoint, load_model, load_tree, read_about
from fnn.runs.experiment import execute, option, read_metrics, read_run, replay, resume
from fnn.runs.sweep import sweep

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="links and pipes as POSIX has them")

MEBIBYTE = 1 << 20
X = np.random.Generator(np.random.Philox(key=5)).standard_normal((12, 16)).astype(np.float32)
Y = np.arange(12) % 3


@attrs.frozen
class Config:
    """The smallest experiment that keeps everything a run may keep."""

    epochs: int = option(2, "passes over the data", least=1)
    rate: float = option(0.01, "learning rate", least=0)
    widths: tuple[int, ...] = option((3,), "units", least=1)
    seed: int = option(0, "of every draw")
    out: Path = option(Path("out/fuzz"), "folder of the run")


def train(config, run):
    data = fnn.Dataset(X, Y)
    run.data("twelve examples", train=data)
    if len(config.widths) > 3 or max(config.widths) > 10 or config.epochs > 3:
        return {}
    net = fnn.serial(*(fnn.Dense(n) for n in config.widths), fnn.Relu(), fnn.Dense(3))
    fit = run.fit(
        net,
        fnn.softmax_cross_entropy,
        fnn.adam(config.rate),
        data,
        epochs=config.epochs,
        batch_size=6,
        key=fnn.Key.of(config.seed),
        save_seconds=0,
    )
    run.keep(net, fit.last, (16,))
    run.evaluated(X, fnn.predict(net, fit.last, X).argmax(1), Y)
    return {"loss": fit.history[-1]["loss"]}


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Files as this library and Pillow write them."""
    folder = tmp_path_factory.mktemp("made")
    execute(train, Config(out=folder / "run"))
    report.write([folder / "run"])
    gone = {"pid": 1 << 23, "host": socket.gethostname(), "start": "1", "token": "x"}
    (folder / "run" / "lock").write_text(json.dumps(gone))
    sweep(train, {"a": Config(), "b": Config(seed=1)}, out=folder / "sweep", executor=Inline())
    (folder / "data").mkdir()
    numbers = np.arange(300, dtype=np.uint8).reshape(3, 10, 10)
    write_idx(folder / "data" / "images.idx", numbers)
    write_idx(folder / "data" / "floats.idx", numbers.astype(np.float32))
    (folder / "data" / "images.idx.gz").write_bytes(
        gzip.compress((folder / "data" / "images.idx").read_bytes())
    )
    with contextlib.suppress(ImportError):
        from PIL import Image

        (folder / "data" / "set" / "cats").mkdir(parents=True)
        for kind in ("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm"):
            with contextlib.suppress(OSError, KeyError):
                picture = Image.fromarray(numbers.reshape(10, 10, 3))
                picture.save(folder / "data" / "set" / "cats" / f"a.{kind}")
    return folder


class Inline:
    """An executor that runs what it is given at once."""

    def submit(self, work, *more):
        from concurrent.futures import Future

        done = Future()
        done.set_result(work(*more))
        return done


def begin(run, path):
    """Start a run where nothing but what else a run may leave stands, and what was changed."""
    for name in ("run.json", "metrics.jsonl", "checkpoints"):
        if not path.is_relative_to(run / name):
            shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink(missing_ok=True)
    execute(train, Config(out=run, epochs=1))


def run_commands(folder, path):
    run = folder / "run"
    return {
        "read_run": lambda: read_run(run),
        "read_metrics": lambda: read_metrics(run),
        "report": lambda: report.write([run]),
        "resume": lambda: resume(train, Config, run),
        "begin": lambda: begin(run, path),
        "checkpoints": lambda: Checkpoints(run / "checkpoints", within=run).latest(),
        "replay": lambda: replay(train, Config, run, folder / "replayed"),
    }


def sweep_commands(folder, _):
    there, members = folder / "sweep", {"a": Config(), "b": Config(seed=1)}
    return {
        "sweep": lambda: sweep(train, members, out=there, executor=Inline(), say=str),
        "report of both": lambda: report.write([there / "a", there / "b"], folder / "both"),
    }


def size_of(path):
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def readers(path, folder):
    """Return what reads a file, and the most memory that it may take."""
    if path.suffix in (".idx", ".gz"):
        size = size_of(path)
        # What the limit allows to be announced, each number at most twice in memory.
        return {
            "read_idx": (lambda: read_idx(path, max_bytes=MEBIBYTE), 4 * MEBIBYTE + 2 * MEBIBYTE + size)
        }
    if "set" in path.parts:
        return {
            "read_image": (lambda: read_image(path, size=(8, 8)), 8 * MEBIBYTE),
            "image_folder": (lambda: image_folder(folder / "data" / "set", size=4), 8 * MEBIBYTE),
        }
    # A page of a report and a training take some memory whatever the files say; JSON takes up to 50
    # times its size.
    most = 60 * 60_000 + 24 * MEBIBYTE
    of = sweep_commands if path.is_relative_to(folder / "sweep") else run_commands
    commands = {name: (command, most) for name, command in of(folder, path).items()}
    if path.suffix == ".npz":
        most = 4 * min(size_of(path), 1 << 40) + MEBIBYTE
        within = folder / path.relative_to(folder).parts[0]
        commands["load_tree"] = (lambda: load_tree(path, within=within), most)
        if path.name == "model.npz":
            commands["load_model"] = (lambda: load_model(path), most)
        if path.parent.name == "checkpoints":
            commands["load_checkpoint"] = (lambda: load_checkpoint(path, within=within), most)
            commands["read_about"] = (lambda: read_about(path), most)
    return commands


class HungError(AssertionError):
    """A case that did not come to an end."""


@contextlib.contextmanager
def in_time(seconds):
    def ring(*_):
        raise HungError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def one_case(seed, originals, place, ends):
    """Mutate a file and read it; return what was wrong, "" if nothing, and count how it ended."""
    draw = random.Random(f"case {seed}")
    folder, home = place / "stranger", place / "home"
    paths = sorted(each for each in originals.rglob("*") if each.is_file())
    # Every format as often as every other, however many files it has; saved trees more often.
    kinds = sorted({each.suffix or each.name for each in paths})
    kind = draw.choice([*kinds, *[".npz"] * 6])
    path = draw.choice([each for each in paths if (each.suffix or each.name) == kind])
    top = path.relative_to(originals).parts[0]
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(originals / top, folder / top)
    path = folder / path.relative_to(originals)
    canary = Canary(home)
    if path.is_relative_to(folder / "run") and draw.random() < 0.4:
        # Not finished: there is something to resume.
        file = folder / "run" / "run.json"
        file.write_text(file.read_text().replace('"finished"', '"interrupted"'))
    way = mutate(seed, path, home)
    chosen = readers(path, folder)
    name = draw.choice(sorted(chosen))
    work, most = chosen[name]
    told = f"seed {seed}: {path.relative_to(folder)} by {way}, {name}"
    before = set(os.listdir(place))
    tracemalloc.start()
    start = tracemalloc.get_traced_memory()[0]
    try:
        with in_time(60):
            work()
        ends[name, "read"] += 1
    except FnnError:
        ends[name, "refused"] += 1
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"{told}: {type(error).__name__}: {error!s:.300}"
    finally:
        took = tracemalloc.get_traced_memory()[1] - start
        tracemalloc.stop()
    if took > most:
        return f"{told}: took {took:,} bytes, above {most:,}"
    if snapshot(home) != canary._before:
        return f"{told}: touched what was not its own"
    if set(os.listdir(place)) != before:
        return f"{told}: wrote beside the folder"
    return ""


def tried(seeds, originals, place, capsys):
    """Try all seeds; return what was wrong. Most readers have something to read and to refuse."""
    wrong, ends = [], Counter()
    for seed in seeds:
        found = one_case(seed, originals, place, ends)
        capsys.readouterr()
        if found:
            wrong.append(found)
            if len(wrong) >= 20:
                break
    for end in ("read", "refused"):
        assert sum(number for (_, how), number in ends.items() if how == end) > len(seeds) // 8, ends
    if len(seeds) >= 20_000:
        assert {name for name, how in ends if how == "read"} == {name for name, _ in ends}, ends
    return "\n".join(wrong)


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
    """Nobody pulls the plug."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.mark.parametrize("block", range(4))
def test_fuzzed_files_end_in_typed_errors_and_harm_nothing(block, originals, tmp_path, capsys):
    assert tried(range(60 * block, 60 * block + 60), originals, tmp_path / "case", capsys) == ""


@pytest.mark.slow
def test_twenty_thousand_fuzzed_files_do_too(originals, tmp_path, capsys):
    assert tried(range(20_000), originals, tmp_path / "case", capsys) == ""
