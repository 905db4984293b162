"""What may train: functions of every kind are recorded as what they are, or refused before that."""

import enum
import functools
import subprocess
import sys
from pathlib import Path

import attrs
import experiment_cases
import numpy as np
import pytest
from experiment_cases import Config

import fnn
from fnn.errors import DataError, OptionError
from fnn.experiment import execute, main, read_run, replay, resume
from fnn.runs.experiment.origin import described, script_of


def train(config, run, scale=1, **more):
    run.record(scale=scale)
    return {"scale": scale}


def halted(config, run, scale=1):
    if not run.resumed:
        raise KeyboardInterrupt
    return {"scale": scale}


class Kind(enum.Enum):
    ONE = 1


@attrs.frozen
class Trainer:
    scale: int = 1
    layers: tuple = ()

    def __call__(self, config, run):
        return train(config, run, self.scale)

    def fit(self, config, run):
        return train(config, run, self.scale)

    @classmethod
    def of_class(cls, config, run):
        return train(config, run)

    @staticmethod
    def free(config, run):
        return train(config, run)


class Slotted:
    __slots__ = ("scale",)

    def __init__(self):
        self.scale = 2

    def __call__(self, config, run):
        return train(config, run, self.scale)


class Sealed:
    """An object whose state nobody can tell."""

    def __init__(self):
        self.handle = object()

    def fit(self, config, run):
        return {}


def made(scale):
    def inner(config, run):
        return train(config, run, scale)

    return inner


HERE = "test_training_functions"
KINDS = [
    (train, "train"),
    (functools.partial(train, scale=3), "partial(train, scale=3)"),
    (
        functools.partial(functools.partial(train, scale=3), more="a"),
        "partial(train, scale=3, more='a')",
    ),
    (lambda config, run: train(config, run, 5), "<lambda>"),
    (lambda config, run, scale=7: train(config, run, scale), "<lambda> [scale=7]"),
    (made(4), "made.<locals>.inner [scale=4]"),
    (Trainer(6), "Trainer(scale=6, layers=())"),
    (Trainer(6).fit, "Trainer(scale=6, layers=()).fit"),
    (Trainer(1, (fnn.Dense(3), fnn.Relu())).fit, "Trainer(scale=1, layers=(Dense(3), Relu())).fit"),
    (Trainer.of_class, "Trainer.of_class"),
    (Trainer.free, "Trainer.free"),
    (Slotted(), "Slotted(scale=2)"),
    (functools.partial(Trainer(2), more=()), "partial(Trainer(scale=2, layers=()), more=())"),
    (
        functools.partial(train, a={"b": [1, None], "c": Kind.ONE}),
        "partial(train, a={'b': [1, None], 'c': Kind.ONE})",
    ),
    (
        functools.partial(train, f=made, g=len, h=Trainer),
        "partial(train, f=made, g=len, h=Trainer)",
    ),
    (
        functools.partial(train, f=functools.partial(made, 3), s={2, 1}),
        "partial(train, f=partial(made, 3), s={1, 2})",
    ),
]


@pytest.mark.parametrize(("function", "expected"), KINDS, ids=[text for _, text in KINDS])
def test_a_function_of_any_kind_is_recorded_as_what_it_is(function, expected):
    assert described(function) == expected
    name, file, doc = script_of(function)
    assert (name, file, doc) == (HERE, Path(__file__), __doc__)


@pytest.mark.parametrize(
    "function", [kind for kind, _ in KINDS[:12]], ids=[text for _, text in KINDS[:12]]
)
def test_a_function_of_any_kind_runs_and_replays(tmp_path, function):
    execute(function, Config(out=tmp_path / "run"))
    about = read_run(tmp_path / "run")
    assert about["experiment"] == HERE
    assert about["train"] == described(function)
    assert replay(function, Config, tmp_path / "run").identical


def test_arrays_that_are_bound_are_told_by_their_digests():
    first, second = (described(functools.partial(train, x=np.full(3, value))) for value in (1.0, 2.0))
    assert first.startswith("partial(train, x=float64[3] sha256 ")
    assert first != second


def test_what_is_long_is_cut_and_still_told_apart():
    first, second = (described(functools.partial(train, x=list(range(n)))) for n in (1000, 1001))
    assert max(len(first), len(second)) <= 1000
    assert first != second


async def awaited(config, run):
    return {}


def yielding(config, run):
    yield {}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (Sealed().fit, r"train: Sealed\.handle: expected numbers, texts, .* got builtins\.object"),
        (
            functools.partial(train, model=Sealed()),
            "train: model: expected numbers, texts, .* got .*Sealed",
        ),
        (functools.partial(train, 3, object()), "train: argument 2: expected numbers"),
        (functools.partial(train, a=np.array([object()])), "train: a: expected numbers"),
        (
            functools.partial(train, a=(i for i in ())),
            "train: a: expected numbers, .* got builtins.generator",
        ),
        (awaited, "expected a function that trains when called, got a coroutine function"),
        (yielding, "expected a function that trains when called, got a generator function"),
        (functools.partial(yielding), "got a generator function"),
        (print, r"expected a function of \(config, run\), or a partial, .* got <built-in"),
        (Trainer, r"expected a function of \(config, run\), .* got <class"),
        ("train", "expected a function of .* got 'train'"),
        (None, "expected a function of .* got None"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_what_nobody_could_tell_again_is_refused_before_anything_is_written(
    tmp_path, function, message
):
    with pytest.raises(OptionError, match=message):
        execute(function, Config(out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_command_line_refuses_it_in_a_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(functools.partial(train, model=Sealed()), Config, ["--out", str(tmp_path / "run")])
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("error: train: model: expected numbers, texts, arrays")


def test_another_argument_is_another_program(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        execute(functools.partial(halted, scale=3), Config(out=tmp_path))
    other = functools.partial(halted, scale=4)
    expected = r"changed since it ran: train: partial\(halted, scale=3\) -> partial\(halted, scale=4\)"
    with pytest.raises(DataError, match=expected):
        resume(other, Config, tmp_path)
    assert resume(functools.partial(halted, scale=3), Config, tmp_path) == {"scale": 3}
    lines = replay(functools.partial(train, scale=4), Config, tmp_path).lines
    assert "result.scale: 3 -> 4" in lines
    assert any(line.startswith("train: partial(halted, scale=3) -> ") for line in lines)


def test_code_that_no_module_holds_is_told_by_its_file(tmp_path):
    names = {"__name__": "a_ghost", "__file__": str(tmp_path / "ghost.py")}
    exec("def train(config, run): return {}", names)
    assert script_of(names["train"])[:2] == ("ghost", tmp_path / "ghost.py")
    execute(names["train"], Config(out=tmp_path / "run"))
    assert read_run(tmp_path / "run")["experiment"] == "ghost"


# --- without a file: standard input, `python -c` and notebooks

CELLS = """
import attrs, sys
from pathlib import Path
from fnn.experiment import Run, execute, main, option, read_run, resume

@attrs.frozen
class Config:
    out: Path = option(Path("run"), "folder")

FACTOR = {factor}

def helper(x):
    return FACTOR * {inner}x

class Net:
    def value(self):
        return {value}

def train(config, run):
    if not run.resumed:
        raise KeyboardInterrupt
    return {{"x": helper(2) + Net().value()}}

{unused}
"""
CELL = {"factor": 1, "inner": "", "value": 0, "unused": ""}
BEGIN = """
try:
    execute(train, Config())
except KeyboardInterrupt:
    pass
"""


def python(folder, code, *words):
    """Run code that stands in no file."""
    command = [sys.executable, "-W", "error", *(words or ["-c", code])]
    return subprocess.run(
        command, cwd=folder, input=code if words else None, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("words", [(), ("-",)], ids=["-c", "standard input"])
def test_code_without_a_file_is_recorded_by_its_digest_and_goes_on(tmp_path, words):
    done = python(tmp_path, CELLS.format(**CELL) + BEGIN, *words)
    assert done.returncode == 0, done.stderr
    about = read_run(tmp_path / "run")
    assert (about["experiment"], about["train"], about["modules"]) == ("__main__", "train", {})
    assert len(about["script"]) == 64
    assert about["git"] is None
    go_on = "\nresume(train, Config, 'run')"
    for changed in ({"factor": 2}, {"inner": "3 * "}, {"value": 1}):
        done = python(tmp_path, CELLS.format(**{**CELL, **changed}) + go_on, *words)
        assert "the program changed since it ran: script: " in done.stderr
    unused = {**CELL, "unused": "def another():\n    return 1\n"}
    done = python(tmp_path, CELLS.format(**unused) + go_on, *words)
    assert done.returncode == 0, done.stderr
    assert read_run(tmp_path / "run")["result"] == {"x": 2}


def test_code_from_standard_input_has_a_command_line(tmp_path):
    done = python(tmp_path, CELLS.format(**CELL) + "\nmain(train, Config)", "-", "--out", "here")
    assert done.returncode == 130
    assert done.stderr == "interrupted\n"
    done = python(tmp_path, CELLS.format(**CELL) + "\nmain(train, Config)", "-", "resume", "here")
    assert done.returncode == 0, done.stderr
    done = python(tmp_path, CELLS.format(**CELL) + "\nmain(train, Config)", "-", "--out", "-x")
    assert done.returncode == 2


def test_a_script_that_imports_its_training_has_both_files_in_its_record(tmp_path):
    (tmp_path / "inner.py").write_text(Path(experiment_cases.__file__).read_text("utf-8"), "utf-8")
    (tmp_path / "outer.py").write_text(
        "from inner import Config, train\nfrom fnn.experiment import main\nmain(train, Config)\n"
    )
    flags = ["--epochs", "1", "--examples", "40", "--out", "run"]
    done = python(tmp_path, "", "outer.py", *flags)
    assert done.returncode == 0, done.stderr
    about = read_run(tmp_path / "run")
    assert about["experiment"] == "inner"
    assert list(about["modules"]) == ["outer.py"]
