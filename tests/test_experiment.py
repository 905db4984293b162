"""A config is a command line, and a run is a folder that says what happened."""

import json
import math
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Literal

import attrs
import numpy as np
import pytest

import fnn
from fnn.errors import DataError, OptionError
from fnn.experiment import Run, config_from, main, option, read_run
from fnn.runs.config import entries


@attrs.frozen
class Config:
    epochs: int = option(20, "passes over 100 % of the data", least=1)
    learning_rate: float = option(0.1, "step size", least=0)
    rate: float = option(0.5, "share that is dropped", least=0, below=1)
    model: Literal["simple", "advanced"] = option("simple", "which network")
    widths: tuple[int, ...] = option((784, 10), "units per layer", least=1)
    window: tuple[int, int] = option((5, 5), "height and width")
    patience: int | None = option(None, "epochs without progress before stopping", least=1)
    shuffle: bool = option(True, "draw a new order every epoch")
    note: str = option("", "anything")
    seed: int = option(0, "of every draw")
    data: Path | None = option(None, "folder with the data")
    out: Path = option(Path("out/demo"), "folder for the report")


def train_nothing(config, run):
    return {}


@pytest.fixture
def parsed(tmp_path):
    """Return what a command line makes of the config."""

    def parsed(*argv):
        seen = []

        def train(config, run):
            seen.append(config)

        main(train, Config, [*argv, "--out", str(tmp_path / "run")])
        return seen[0]

    return parsed


def refusal(capsys, *argv, train=train_nothing, config=Config, code=2):
    with pytest.raises(SystemExit) as stopped:
        main(train, config, argv)
    assert stopped.value.code == code
    return capsys.readouterr().err


def test_a_config_without_flags_is_the_default_one(parsed, tmp_path):
    assert parsed() == Config(out=tmp_path / "run")


@pytest.mark.parametrize(
    ("argv", "name", "value"),
    [
        (["--epochs", "3"], "epochs", 3),
        (["--learning-rate", "1e-3"], "learning_rate", 1e-3),
        (["--learning_rate=1"], "learning_rate", 1.0),
        (["--model", "advanced"], "model", "advanced"),
        (["--widths", "784,512,10"], "widths", (784, 512, 10)),
        (["--widths="], "widths", ()),
        (["--window", "3,1"], "window", (3, 1)),
        (["--window", "-3,-1"], "window", (-3, -1)),
        (["--seed", "-7"], "seed", -7),
        (["--patience", "4"], "patience", 4),
        (["--patience", "none"], "patience", None),
        (["--no-shuffle"], "shuffle", False),
        (["--shuffle"], "shuffle", True),
        (["--note", "a_b --x"], "note", "a_b --x"),
        (["--note=--a_b=c"], "note", "--a_b=c"),
        (["--data", "some/folder"], "data", Path("some/folder")),
        (["--data", "none"], "data", None),
    ],
)
def test_flags_are_read_by_the_types_of_the_fields(parsed, argv, name, value):
    got = getattr(parsed(*argv), name)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--epochs", "1.5"], "argument --epochs: expected INT, got '1.5'"),
        (["--epochs", "many"], "argument --epochs: expected INT, got 'many'"),
        (["--learning-rate", "nan"], "learning_rate: expected a value in [0, inf), got nan"),
        (["--learning-rate", "1e999"], "argument --learning-rate: expected FLOAT, got '1e999'"),
        (["--learning-rate", "-1e-3"], "learning_rate: expected a value in [0, inf), got -0.001"),
        (["--rate", "1"], "rate: expected a value in [0, 1), got 1.0"),
        (["--epochs", "0"], "epochs: expected a value in [1, inf), got 0"),
        (["--widths", "3,0"], "widths: expected a value in [1, inf), got (3, 0)"),
        (["--widths", "3,x"], "argument --widths: expected INT, got 'x'"),
        (["--window", "3"], "argument --window: expected INT,INT, got '3'"),
        (["--model", "clever"], "argument --model: expected simple|advanced, got 'clever'"),
        (["--patience", "x"], "argument --patience: expected INT|none, got 'x'"),
        (["--epoch", "3"], "unrecognized arguments: --epoch 3"),
        (["--speed", "3"], "unrecognized arguments: --speed 3"),
        (["resumed"], "unrecognized arguments: resumed"),
        (["run", "--speed", "3"], "unrecognized arguments: --speed 3"),
        (["--epochs"], "argument --epochs: expected one argument"),
    ],
)
def test_bad_flags_end_with_code_2_and_a_line_that_says_why(capsys, argv, message):
    error = refusal(capsys, *argv)
    assert error.splitlines()[1:] == [f"test_experiment.py: error: {message}"]


def test_help_shows_the_docstring_and_every_flag_with_its_default(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(train_nothing, Config, ["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert stopped.value.code == 0
    assert __doc__ in shown
    for piece in (
        "--epochs INT passes over 100 % of the data (default: 20)",
        "--model simple|advanced which network (default: simple)",
        "--widths INT,... units per layer (default: 784,10)",
        "--patience INT|none epochs without progress before stopping (default: none)",
        "--shuffle, --no-shuffle draw a new order every epoch (default: true)",
        "resume RUN go on with a run that was interrupted, killed or failed",
        "replay RUN [--out DIR] train again from run.json and compare",
        "sweep --grid ... --seeds N train many",
    ):
        assert piece in shown


def test_a_field_without_default_is_a_required_flag(capsys):
    @attrs.frozen
    class Needy:
        image: Path = option(attrs.NOTHING, "the picture")

    assert "the following arguments are required: --image" in refusal(capsys, config=Needy)


def test_an_unsupported_type_of_field_is_told_by_its_name(capsys):
    @attrs.frozen
    class Odd:
        table: dict = option(None, "no way to write this")

    line = refusal(capsys, config=Odd, code=1)
    assert line.startswith("error: Odd.table: a config's field cannot be dict; expected int, float")


def test_a_run_leaves_a_folder_that_says_it_all(tmp_path, capsys):
    folder = tmp_path / "run"

    def train(config, run):
        assert read_run(folder)["status"] == "running"
        run.say("½ done")
        run.record(epoch=1, loss=np.float32(0.5), worst=math.nan, best=-math.inf)
        run.path("pictures/curve.png").write_bytes(b"")
        return {"test_accuracy": np.float64(0.975), "steps": 7}

    argv = ["--out", str(folder), "--widths", "4,2", "--seed", "3"]
    assert main(train, Config, argv) == {"test_accuracy": 0.975, "steps": 7}
    said, accuracy, steps, minutes, where = capsys.readouterr().out.splitlines()
    assert said == "½ done"
    assert (accuracy, steps) == ("test_accuracy  0.975", "steps          7")
    assert re.fullmatch(r"minutes        \d+\.\d\d", minutes)
    assert where == f"folder         {folder}"
    about = read_run(folder)
    assert about["experiment"] == "test_experiment"
    assert about["status"] == "finished"
    assert about["seed"] == 3
    assert about["result"] == {"test_accuracy": 0.975, "steps": 7}
    assert about["seconds"] >= 0
    assert config_from(Config, about["config"]) == Config(widths=(4, 2), seed=3, out=folder)
    assert (folder / "log.txt").read_text("utf-8") == "½ done\n"
    line = (folder / "metrics.jsonl").read_text("utf-8")
    assert json.loads(line) == {"epoch": 1, "loss": 0.5, "worst": "nan", "best": "-inf"}
    assert (folder / "pictures").is_dir()


def test_a_console_that_lacks_a_letter_does_not_end_a_run(tmp_path, monkeypatch):
    with (tmp_path / "console").open("w", encoding="ascii") as console:
        monkeypatch.setattr(sys, "stdout", console)
        Run(tmp_path).say("½")
    assert (tmp_path / "console").read_text() == "\\xbd\n"
    assert (tmp_path / "log.txt").read_text("utf-8") == "½\n"


@pytest.mark.parametrize("name", ["../elsewhere.png", "a/../../b"])
def test_a_run_gives_no_path_outside_its_folder(tmp_path, name):
    with pytest.raises(OptionError, match="expected a name within"):
        Run(tmp_path / "run").path(name)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DataError("labels: expected 0 to 9, got 12"), "error: labels: expected 0 to 9, got 12"),
        (
            OptionError("n: expected 1", path=("dense_0",), where="a.py:3"),
            "error: dense_0 (a.py:3): n: ",
        ),
        (ImportError('needs: pip install "fnn[plot]"'), 'error: needs: pip install "fnn[plot]"'),
    ],
)
def test_an_error_of_this_library_is_one_line_and_code_1(tmp_path, capsys, error, line):
    def train(config, run):
        raise error

    shown = refusal(capsys, "--out", str(tmp_path), train=train, code=1)
    assert shown.startswith(line)
    assert shown.count("\n") == 1
    about = read_run(tmp_path)
    assert about["status"] == "failed"
    assert type(error).__name__ in about["error"]


def test_a_mistake_in_the_script_keeps_its_traceback(tmp_path):
    def train(config, run):
        return {}["absent"]

    with pytest.raises(KeyError):
        main(train, Config, ["--out", str(tmp_path)])
    assert read_run(tmp_path)["status"] == "failed"


def test_ctrl_c_ends_with_code_130(tmp_path, capsys):
    def train(config, run):
        raise KeyboardInterrupt

    line = refusal(capsys, "--out", str(tmp_path), train=train, code=130)
    assert re.fullmatch(
        rf"interrupted; resume with: python .*test_experiment\.py resume {tmp_path}\n", line
    )
    assert read_run(tmp_path)["status"] == "interrupted"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    error = refusal(capsys, "--out", str(tmp_path / "file" / "run"), code=1)
    assert error.startswith("error: ")
    assert "cannot be written" in error


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"speed": 1, "epochs": 2}, r"Config: unknown \['speed'\]"),
        ({"epochs": "3"}, "epochs: expected INT, got '3'"),
        ({"epochs": True}, "epochs: expected INT, got True"),
        ({"epochs": 3.0}, "epochs: expected INT, got 3.0"),
        ({"learning_rate": "0.1"}, "learning_rate: expected FLOAT"),
        ({"learning_rate": 10**400}, "learning_rate: expected FLOAT"),
        ({"learning_rate": "nan"}, "learning_rate: expected a value in"),
        ({"widths": 5}, "widths: expected INT,"),
        ({"widths": [5, None]}, "widths: expected INT, got None"),
        ({"window": [1]}, "window: expected INT,INT"),
        ({"model": ["simple"]}, r"model: expected simple\|advanced"),
        ({"shuffle": 1}, r"shuffle: expected true\|false, got 1"),
        ({"note": None}, "note: expected TEXT, got None"),
        ({"data": 3}, r"data: expected PATH\|none, got 3"),
        ({"epochs": 0}, "epochs: expected a value in"),
    ],
)
def test_configs_are_rebuilt_strictly(values, message):
    with pytest.raises(OptionError, match=message):
        config_from(Config, values)


def test_nan_is_in_no_range():
    with pytest.raises(OptionError, match="learning_rate: expected a value in"):
        Config(learning_rate=math.nan)


def test_a_config_survives_json():
    config = Config(learning_rate=0.3, widths=(1,), patience=3, note="none", data=Path("a/b"))
    assert config_from(Config, json.loads(json.dumps(entries(config)))) == config
    assert config_from(Config, {"learning_rate": 1}).learning_rate == 1.0


@pytest.mark.parametrize(
    "content",
    [None, b"", b"{", b"[]", b'{"format": 2}', b'{"format": 1}', b'{"format": true}', b"3", b"\xff"],
)
def test_a_folder_without_a_sound_run_is_refused_by_its_path(tmp_path, content):
    if content is not None:
        (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(DataError, match=r"run\.json: "):
        read_run(tmp_path)


def test_only_numbers_and_texts_are_recorded(tmp_path):
    with pytest.raises(OptionError, match="got object"):
        Run(tmp_path).record(loss=object())
    assert not (tmp_path / "metrics.jsonl").exists()


# --- a script


SCRIPT = '''"""Count to a number."""
from __future__ import annotations
from pathlib import Path
import attrs
from fnn.experiment import Run, main, option

@attrs.frozen
class Config:
    to: int = option(3, "last number", least=0)
    out: Path = option(Path("out/count"), "folder")

def train(config: Config, run: Run) -> dict[str, float]:
    for i in range(config.to):
        run.record(i=i)
    return {"sum": float(sum(range(config.to)))}

if __name__ == "__main__":
    main(train, Config)
'''


def test_a_script_runs_as_a_program_of_its_own(tmp_path):
    (tmp_path / "count.py").write_text(SCRIPT)

    def start(*argv):
        command = [sys.executable, "-W", "error", "count.py", *argv]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    good, bad = start("--to", "4"), start("--to", "-4")
    assert (good.returncode, good.stderr) == (0, "")
    total, minutes, folder = good.stdout.splitlines()
    assert (total, folder) == ("sum      6", f"folder   {Path('out/count')}")
    assert re.fullmatch(r"minutes  \d+\.\d\d", minutes)
    assert read_run(tmp_path / "out" / "count")["experiment"] == "count"
    assert bad.returncode == 2
    assert bad.stderr.splitlines()[-1] == "count.py: error: to: expected a value in [0, inf), got -4"


@pytest.mark.parametrize("verb", ["resume", "replay"])
def test_the_verbs_take_a_folder_and_no_flags_of_the_config(capsys, verb):
    for argv, message in (
        ([verb], "the following arguments are required: RUN"),
        ([verb, "out/x", "--epochs", "3"], "unrecognized arguments: --epochs 3"),
        ([verb, "out/x", "out/y"], "unrecognized arguments: out/y"),
    ):
        assert refusal(capsys, *argv).splitlines()[-1] == f"test_experiment.py {verb}: error: {message}"
    with pytest.raises(SystemExit) as stopped:
        main(train_nothing, Config, [verb, "--help"])
    assert stopped.value.code == 0
    assert "the run's folder" in capsys.readouterr().out


def test_a_sweep_is_left_to_a_module_of_its_own(monkeypatch):
    seen = []
    stub = types.ModuleType("fnn.runs.sweep.verb")
    stub.command = lambda *given: seen.append(given) or {"best": 1}
    monkeypatch.setitem(sys.modules, "fnn.runs.sweep.verb", stub)
    assert main(train_nothing, Config, ["sweep", "--seeds", "3"]) == {"best": 1}
    assert seen == [(train_nothing, Config, ["--seeds", "3"])]


def test_names_are_among_those_given(capsys):
    @attrs.frozen
    class Named:
        loss: str = option("nll", "which", among=fnn.LOSSES)

    refusal(capsys, "--loss", "nil", config=Named)
    assert Named(loss="squared_error").loss == "squared_error"
    with pytest.raises(OptionError, match=r"loss: expected one of .*nll.*, got 'nil'"):
        Named(loss="nil")
