"""A config that could not be resumed, replayed or swept is refused before anything is written."""

import dataclasses
from pathlib import Path

import attrs
import pytest

from fnn.errors import OptionError
from fnn.experiment import execute, main
from fnn.runs.config import config_from, option, settled


def train(config, run):
    return {"x": config.x}


def made(**fields):
    """Return a class of the fields, each a type and perhaps a default."""
    hints = {name: each[0] if isinstance(each, tuple) else each for name, each in fields.items()}
    given = {name: each[1] for name, each in fields.items() if isinstance(each, tuple)}
    return attrs.frozen(type("Made", (), {"__annotations__": hints, **given}))


@dataclasses.dataclass
class Forgetful:
    x: dataclasses.InitVar[int] = 1
    out: Path = Path("out")


@dataclasses.dataclass
class Confused:
    x: int = option(1, "declared the way of attrs")


@dataclasses.dataclass
class Twins:
    x: int = 1
    _x: int = 2


@attrs.frozen
class Alias:
    x: int = attrs.field(default=1, alias="y")
    y: int = attrs.field(init=False, default=2)


@attrs.frozen
class Lost:
    x: "Nowhere" = 1  # noqa: F821


@attrs.frozen
class Endless:
    inner: "Endless" = None


@attrs.frozen
class Doubling:
    x: int = attrs.field(default=2, converter=lambda x: 2 * x)


@attrs.frozen
class Clock:
    now: int = attrs.field(init=False)
    ticks = []  # noqa: RUF012

    @now.default
    def _now(self):
        self.ticks.append(0)
        return len(self.ticks)


@attrs.frozen(init=False)
class Handmade:
    x: int = 3

    def __init__(self, y):
        self.__attrs_init__(y)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (made(help=(str, ""))(), "Made.help: its flag --help is that of the flag that shows"),
        (made(bias=(bool, True), no_bias=(int, 3))(), "its flag --no-bias is that of the field bias"),
        (made(no_bias=(bool, True), bias=(bool, True))(), "Made.bias: its flag --no-bias is that of"),
        (Twins(), "Twins._x: its flag --x is that of the field x; rename it"),
        (Alias(), "Alias: expected a name of its own for every field, got y twice"),
        (Forgetful(), "Forgetful.x: an InitVar is not kept and cannot be recorded"),
        (Confused(), "Confused.x: `option` is for attrs classes; in a dataclass write"),
        (Lost(), "Lost: its types cannot be told (name 'Nowhere' is not defined)"),
        (Endless(), "Endless: a config cannot hold itself"),
        (Doubling(), "x: 4 would be read from a record as 8"),
        (Clock(), " follows"),
        (Handmade(3), "unexpected keyword argument 'x'"),
        (attrs.make_class("Bare", {"x": attrs.field(default=1)})(), "Bare.x: a config's field cannot"),
        ({"x": 1}, "dict: expected an attrs class or a dataclass as the config"),
    ],
    ids=lambda each: None if isinstance(each, str) else type(each).__name__,
)
def test_what_could_not_be_taken_up_again_is_refused_before_anything_is_written(
    config, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for refused in (settled, lambda config: execute(lambda config, run: {}, config)):
        with pytest.raises(OptionError) as caught:
            refused(config)
        assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_values_that_a_script_gets_wrong_end_with_a_line_before_anything_is_written(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    wrong = made(x=(int, 64.0), out=(Path, Path("out/x")), seed=(int, 0))
    for argv in ([], ["sweep", "--seeds", "2"]):
        with pytest.raises(SystemExit) as ended:
            main(train, wrong, argv)
        assert ended.value.code in (1, 2)
        assert capsys.readouterr().err.splitlines()[-1].endswith("error: x: expected INT, got 64.0")
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_class_itself_is_a_line_too():
    def check(config, field, value):
        assert value < 3, "too many"

    fussy = made(x=(int, attrs.field(default=1, validator=check)))
    with pytest.raises(OptionError, match="AssertionError: too many"):
        config_from(fussy, {"x": 5})
