"""What a class of configs may hold is run, resumed, replayed and swept; all else is refused first."""

import dataclasses
import enum
import json
import math
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest

from fnn.errors import OptionError
from fnn.experiment import execute, main, read_run, replay, resume
from fnn.runs.config import changed, config_from, entries, option, parse, settled, words
from fnn.runs.sweep import grid


class Method(enum.Enum):
    SGD = "sgd"
    ADAM = "adam"


@attrs.frozen
class Schedule:
    warmup: int = option(0, "steps before the full rate", least=0)
    decay: float = option(1.0, "factor per epoch")


@dataclasses.dataclass(frozen=True)
class Optimizer:
    method: Method = Method.SGD
    rate: float = dataclasses.field(default=0.1, metadata={"help": "step size"})
    schedule: Schedule = dataclasses.field(default_factory=Schedule)


@attrs.frozen
class Config:
    """All that a config may hold."""

    depth: int = option(2, "layers", least=1)
    width: int = attrs.field()
    limit: float = option(math.inf, "longest gradient", least=0)
    start: float = option(math.nan, "nothing by default")
    sizes: list[int] = option([3, 4], "of the layers")
    weights: dict[str, float] = option({"a": 1.0}, "of the classes")
    optimizer: Optimizer = option(Optimizer(rate=0.5), "how it is trained")
    method: Method | Literal["none"] = option("none", "another one")
    _secret: int = option(7, "private")
    size: int = attrs.field(default=5, alias="lr")
    total: int = attrs.field(init=False)
    cache: Any = attrs.field(init=False, factory=object, eq=False, repr=False)
    seed: int = option(0, "of every draw")
    out: Path = option(Path("out/all"), "folder")

    @width.default
    def _width(self):
        return 8 * self.depth

    @total.default
    def _total(self):
        return self.width + self._secret


def train(config, run):
    if (run.folder.parent / "stop").exists():
        (run.folder.parent / "stop").unlink()
        raise KeyboardInterrupt
    return {"text": repr(attrs.evolve(config, out=Path("out")))}


WORDS = ["--depth=3", "--limit=1", "--optimizer.rate", "0.25", "--optimizer.schedule.warmup=5"]
WORDS += ["--lr=6", "--secret=1", "--sizes=1,2", "--weights=a=1,b=inf", "--method", "ADAM"]
WORDS += ["--optimizer.method=ADAM"]


def test_a_config_of_everything_is_run_resumed_and_replayed(tmp_path, capsys):
    folder = tmp_path / "run"
    (tmp_path / "stop").touch()
    with pytest.raises(SystemExit) as stopped:
        main(train, Config, [*WORDS, "--out", str(folder)])
    assert stopped.value.code == 130
    text = resume(train, Config, folder)["text"]
    schedule = Schedule(warmup=5)
    expected = Config(
        depth=3,
        limit=1.0,
        sizes=[1, 2],
        weights={"a": 1.0, "b": math.inf},
        optimizer=Optimizer(Method.ADAM, 0.25, schedule),
        method=Method.ADAM,
        secret=1,
        lr=6,
        out=Path("out"),
    )
    assert text == repr(expected)
    assert expected.total == 25
    assert replay(train, Config, folder, tmp_path / "again").identical
    assert read_run(tmp_path / "again")["result"] == {"text": text}
    capsys.readouterr()


def test_a_run_json_is_json_that_every_program_reads(tmp_path):
    execute(train, Config(out=tmp_path / "run"))

    def refuse(word):
        raise AssertionError(word)

    about = json.loads((tmp_path / "run/run.json").read_text("utf-8"), parse_constant=refuse)
    assert about["config"]["limit"] == "inf"
    assert about["config"]["start"] == "nan"
    optimizer = {"method": "SGD", "rate": 0.5, "schedule": {"warmup": 0, "decay": 1.0}}
    assert about["config"]["optimizer"] == optimizer
    assert about["config"]["total"] == 23
    assert "cache" not in about["config"]


def test_a_sweep_varies_what_is_within_and_derived_defaults_follow(tmp_path, capsys):
    argv = ["sweep", "--grid", "depth=1,2", "--grid", "optimizer.rate=0.5,inf", "--workers", "1"]
    argv += ["--grid", "sizes=1,2;3", "--grid", "method=none,ADAM", "--out", str(tmp_path / "sweep")]
    members = main(train, Config, argv)
    assert len(members) == 16
    name = "depth=1,optimizer.rate=0.5,sizes=1x2,method=none"
    assert repr(Config(depth=1, sizes=[1, 2], out=Path("out"))) == members[name]["text"]
    # Where the sweep says the width, it stays.
    configs = grid(Config(width=20), {"depth": (1, 4)})
    assert [config.width for config in configs.values()] == [20, 20]
    configs = grid(Config(), {"depth": (1, 4), "optimizer.method": list(Method)}, seeds=2)
    assert [config.width for config in configs.values()] == [8] * 4 + [32] * 4
    assert "depth=4,optimizer.method=ADAM,seed=1" not in configs  # Capitals do not tell names apart.
    assert len(configs) == 8
    capsys.readouterr()


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ({"optimizer": (Optimizer(),)}, "expected fields among ['depth', 'width', 'limit',"),
        ({"optimizer.speed": (1,)}, "got 'optimizer.speed'"),
        ({"total": (1,)}, "got 'total'"),
        ({"_secret": (1,)}, "got '_secret'"),
        ({"optimizer.rate": ("fast",)}, "optimizer.rate: expected FLOAT, got 'fast'"),
        ({"optimizer.method": ("SGD",)}, "optimizer.method: expected SGD|ADAM, got 'SGD'"),
        (
            {"optimizer.schedule.warmup": (-1,)},
            "optimizer.schedule.warmup: expected a value in [0, inf)",
        ),
        ({"limit": (math.inf, math.inf)}, "expected every value once, got limit=inf twice"),
    ],
)
def test_a_grid_of_what_is_not_there_is_refused_by_name(axes, says):
    with pytest.raises(OptionError) as caught:
        grid(Config(), axes)
    assert says in str(caught.value)


def test_the_number_and_the_text_of_one_spelling_are_two_members():
    @attrs.frozen
    class Either:
        x: float | str = 0.0

    configs = grid(Either(), {"x": (math.inf, "inf", "1.0", 1.0)})
    assert [config.x for config in configs.values()] == [math.inf, "inf", "1.0", 1.0]


# --- the help


def test_help_shows_fields_within_and_says_what_follows(capsys):
    with pytest.raises(SystemExit) as ended:
        parse(Config, ["--help"], prog="p", description="")
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for piece in (
        "--width INT (default: follows from other options)",
        "--limit FLOAT longest gradient (default: inf)",
        "--sizes INT,... of the layers (default: 3,4)",
        "--weights TEXT=FLOAT,... of the classes (default: a=1.0)",
        "--optimizer.rate FLOAT step size (default: 0.5)",
        "--optimizer.schedule.warmup INT steps before the full rate (default: 0)",
        "--method SGD|ADAM|none another one (default: none)",
        "--secret INT private (default: 7)",
        "--lr INT (default: 5)",
    ):
        assert piece in shown
    assert "--total" not in shown
    assert "--cache" not in shown


@attrs.frozen
class Derived:
    inner: Schedule = attrs.field()
    base: int = 2
    twice: int = attrs.field()
    fixed: int = attrs.field(factory=lambda: 3)

    @inner.default
    def _inner(self):
        return Schedule(warmup=9)

    @twice.default
    def _twice(self):
        return 2 * self.base


def test_defaults_that_follow_from_others_follow_the_flags():
    def parsed(*argv):
        return parse(Derived, argv, prog="p", description="")

    assert parsed() == Derived()
    assert parsed("--base=5").twice == 10
    assert parsed("--base=5", "--twice=1").twice == 1
    assert parsed("--inner.decay=0.5").inner == Schedule(warmup=9, decay=0.5)
    assert changed(Derived(), {"base": 5}).twice == 10
    assert changed(Derived(twice=7), {"base": 5}).twice == 7


def test_a_config_within_that_has_no_default_is_required_by_its_fields(capsys):
    @attrs.frozen
    class Inner:
        a: int
        b: int = 1

    @attrs.frozen
    class Outer:
        inner: Inner

    assert parse(Outer, ["--inner.a=3"], prog="p", description="") == Outer(Inner(3))
    with pytest.raises(SystemExit):
        parse(Outer, [], prog="p", description="")
    assert "the following arguments are required: --inner.a" in capsys.readouterr().err


# --- records


def test_an_old_record_is_read_by_the_names_of_attributes():
    record = {"_secret": 1, "size": 9, "limit": "inf", "total": 17, "sizes": [1]}
    config = config_from(Config, record)
    assert (config._secret, config.size, config.limit, config.sizes) == (1, 9, math.inf, [1])


def test_a_record_whose_derived_value_no_longer_follows_is_refused():
    record = entries(Config())
    with pytest.raises(OptionError, match="total: expected 24, but 23 follows"):
        config_from(Config, {**record, "total": 24})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": 3}, "optimizer: expected the fields of a config, got 3"),
        ({"optimizer": {"speed": 1}}, r"optimizer.Optimizer: unknown \['speed'\]"),
        ({"optimizer": {"schedule": {"warmup": -1}}}, "optimizer.schedule.warmup: expected a value in"),
        ({"sizes": [[1]]}, r"sizes: expected INT, got \[1\]"),
        ({"method": "BEST"}, r"method: expected SGD\|ADAM\|none, got 'BEST'"),
        ({"limit": "1e999"}, "limit: expected FLOAT, got '1e999'"),
        ({"cache": 1}, r"Config: unknown \['cache'\]"),
    ],
)
def test_a_strange_record_is_refused_by_name(change, message):
    with pytest.raises(OptionError, match=message):
        config_from(Config, change)


def test_a_dataclass_is_a_config(tmp_path):
    config = Optimizer(Method.ADAM, 1, Schedule(decay=math.inf))
    assert parse(Optimizer, words(config), prog="p", description="") == config
    assert config_from(Optimizer, entries(config)) == config
    assert type(settled(config)[0].rate) is float


def test_a_derived_path_follows_the_folder_of_the_run(tmp_path):
    @attrs.frozen
    class Logged:
        out: Path = Path("out/logged")
        log: Path = attrs.field()

        @log.default
        def _log(self):
            return self.out / "log"

    (tmp_path / "run").mkdir()
    result = execute(lambda config, run: {"log": config.log}, Logged(out=tmp_path / "run"))
    assert result == {"log": (tmp_path / "run/log").as_posix()}
