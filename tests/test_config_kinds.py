"""Every kind of value of a config is recorded and spelt so that it can be read again."""

import enum
import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, NewType

import attrs
import numpy as np
import pytest
from config_cases import Colour, Inner, Mode, configs
from hypothesis import given

from fnn.errors import OptionError
from fnn.files import parse_json
from fnn.runs.config import config_from, entries, option, parse, settled, words


def strict(entry):
    """Return what is read of JSON that any other program could read, too."""
    return parse_json(json.dumps(entry, allow_nan=False).encode())


def read_again(config):
    return config_from(type(config), strict(entries(config)))


def parsed_again(config):
    return parse(type(config), words(config), prog="p", description="")


@given(configs())
def test_a_config_survives_its_record_and_its_command_line(config):
    # By their texts, since NaN equals nothing and 1 equals 1.0.
    assert repr(read_again(config)) == repr(config)
    assert repr(parsed_again(config)) == repr(config)
    assert repr(settled(config)[0]) == repr(config)


def one(hint, value=attrs.NOTHING):
    """Return a class of configs with one field, or one such config."""
    made = attrs.frozen(type("One", (), {"__annotations__": {"x": hint}, "x": attrs.field()}))
    return made if value is attrs.NOTHING else made(value)


Width = NewType("Width", int)


@pytest.mark.parametrize(
    ("hint", "value", "entry", "word"),
    [
        (float, math.inf, "inf", "--x=inf"),
        (float, -math.inf, "-inf", "--x=-inf"),
        (float, math.nan, "nan", "--x=nan"),
        (float, 1e-5, 1e-5, "--x=1e-05"),
        (bool, False, False, "--no-x"),
        (int | None, None, None, "--x=none"),
        (str, '"a,b', '"a,b', '--x="a,b'),
        (Path, Path("a/b"), "a/b", f"--x={Path('a/b')}"),
        (Colour, Colour.CRIMSON, "RED", "--x=RED"),
        (Mode, Mode.FAST, "FAST", "--x=FAST"),
        (tuple[int, int], (3, -1), [3, -1], "--x=3,-1"),
        (tuple[()], (), [], "--x="),
        (tuple[float, ...], (1.0, math.inf), [1.0, "inf"], "--x=1.0,inf"),
        (list[str], ["a", "b,c", ""], ["a", "b,c", ""], '--x=a,"b,c",""'),
        (list[list[int]], [[1, 2], []], [[1, 2], []], "--x=[1,2],[]"),
        (
            dict[str, float],
            {"a": 1.0, "b=c": math.inf},
            {"a": 1.0, "b=c": "inf"},
            '--x=a=1.0,"b=c"=inf',
        ),
        (str | None, "none", "none", '--x="none"'),
        (float | str, "inf", {"text": "inf"}, '--x="inf"'),
        (float | str, math.inf, "inf", "--x=inf"),
        (float | str, "auto", "auto", "--x=auto"),
        (float | int, 1, 1, "--x=1"),
        (Literal["auto"] | tuple[int, ...], (1, 2), [1, 2], "--x=1,2"),
        (Annotated[int, "units"], 3, 3, "--x=3"),
        (Width, 3, 3, "--x=3"),
    ],
)
def test_the_table_of_kinds(hint, value, entry, word):
    config = one(hint, value)
    assert entries(config)["x"] == entry
    assert words(config) == [word]
    assert repr(read_again(config)) == repr(parsed_again(config)) == repr(config)


@pytest.mark.parametrize(
    ("hint", "value", "settled_to"),
    [
        (float, 3, 3.0),
        (float, np.float32(0.1), float(np.float32(0.1))),
        (int, np.int64(3), 3),
        (bool, np.True_, True),
        (str, np.str_("a"), "a"),
        (Path, "a/b", Path("a/b")),
        (str, Path("a/b"), "a/b"),
        (tuple[int, ...], [1, 2], (1, 2)),
        (list[float], (1, 2.5), [1.0, 2.5]),
    ],
)
def test_a_value_of_a_neighbouring_type_is_what_its_record_gives_from_the_start(
    hint, value, settled_to
):
    got = settled(one(hint, value))[0].x
    assert got == settled_to
    assert type(got) is type(settled_to)


@pytest.mark.parametrize(
    ("hint", "value", "message"),
    [
        (int, 64.0, "x: expected INT, got 64.0"),
        (int, True, "x: expected INT, got True"),
        (int, None, "x: expected INT, got None"),
        (bool, 1, r"x: expected true\|false, got 1"),
        (float, "0.1", "x: expected FLOAT, got '0.1'"),
        (float, True, "x: expected FLOAT, got True"),
        (float, Fraction(1, 3), r"x: expected FLOAT, got Fraction\(1, 3\)"),
        (float, 2**53 + 1, "x: expected FLOAT, got 9007199254740993"),
        (float, np.longdouble(1) / 3, "x: expected FLOAT, got "),
        (str, 3, "x: expected TEXT, got 3"),
        (str, b"a", "x: expected TEXT, got b'a'"),
        (str, Mode.FAST, "x: expected TEXT, got <Mode.FAST"),
        (Colour, "RED", r"x: expected RED\|DARK_RED\|NONE, got 'RED'"),
        (Colour, 1, "x: expected RED"),
        (tuple[int, ...], {1, 2}, "x: expected INT,..., got {1, 2}"),
        (tuple[int, ...], (1, 2.0), "x: expected INT, got 2.0"),
        (tuple[int, int], (1,), r"x: expected INT,INT, got \(1,\)"),
        (dict[str, int], {1: 2}, "x: expected TEXT=INT,..., got {1: 2}"),
        (dict[str, int], {"a": "2"}, "x: expected INT, got '2'"),
        (int | None, 0.5, r"x: expected INT\|none, got 0.5"),
        (Inner, None, "x: expected Inner, got NoneType"),
        (Inner, Inner(rate="fast"), "x.rate: expected FLOAT, got 'fast'"),
    ],
)
def test_a_value_that_its_type_does_not_allow_is_refused_by_name(hint, value, message):
    if isinstance(value, np.longdouble) and float(value) == value:
        pytest.skip("a long double is a double here")
    with pytest.raises(OptionError, match=message):
        settled(one(hint, value))


class Flags(enum.Flag):
    A = 1


class Empty(enum.Enum):
    pass


@pytest.mark.parametrize(
    ("hint", "message"),
    [
        (dict, "cannot be dict; expected int, float"),
        (list, "cannot be list"),
        (tuple, "cannot be tuple"),
        (dict[int, str], r"cannot be dict\[int, str\]"),
        (set[int], r"cannot be set\[int\]"),
        (complex, "cannot be complex"),
        (bytes, "cannot be bytes"),
        (object, "cannot be object"),
        (np.float32, "cannot be float32"),
        (np.ndarray, "cannot be ndarray"),
        (Flags, "cannot be Flags"),
        (Empty, "cannot be Empty"),
        (Literal[b"a"], r"cannot be Literal\[b'a'\]"),
        (Literal["1", 1], "expected choices that are written differently, got 1 twice"),
        (Literal["none"] | None, "expected kinds that differ, got none twice"),
        (Literal["inf"] | float, "expected kinds that differ, got inf twice"),
        (str | Path, "TEXT|PATH: expected kinds that differ in how they are written"),
        (tuple[int, ...] | list[int], "expected kinds that differ in how they are written"),
        (tuple[str, ...] | str, "expected kinds that differ in how they are written"),
        (dict[str, int] | int, "expected kinds that differ in how they are written"),
        (Inner | None, "Inner: a config within a config is a field of its own"),
        (tuple[Inner, ...], "Inner: a config within a config is a field of its own"),
    ],
)
def test_a_type_that_cannot_be_recorded_is_refused_by_name(hint, message):
    for refused in (
        lambda: settled(one(hint, 3)),
        lambda: parse(one(hint), [], prog="p", description=""),
    ):
        with pytest.raises(OptionError, match=r"One\.x: ") as caught:
            refused()
        assert message.replace("\\", "") in str(caught.value)


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (float, "Infinity", math.inf),
        (tuple[str, ...], 'a"b,c=d', ('a"b', "c=d")),
        (tuple[str, ...], "a,,b", ("a", "", "b")),
        (tuple[tuple[int, int], ...], "[1,2],[3,4]", ((1, 2), (3, 4))),
        (tuple[tuple[int, int], ...] | None, "[1,2],[3,4]", ((1, 2), (3, 4))),
        (dict[str, list[int]], "a=[1,2],b=[]", {"a": [1, 2], "b": []}),
        (str | None, "NONE", None),
        (str | None, '"unclosed', '"unclosed'),
    ],
)
def test_a_flag_is_read_as_one_would_write_it(hint, text, value):
    assert parse(one(hint), [f"--x={text}"], prog="p", description="").x == value


@pytest.mark.parametrize(
    ("hint", "text", "message"),
    [
        (tuple[int, ...], "1,[2]", "expected INT, got '[2]'"),
        (tuple[int, ...], '1,"2"', "expected INT, got '\"2\"'"),
        (tuple[tuple[int, int], ...], "1,2", "expected INT,INT, got '1'"),
        (tuple[tuple[int, int], ...], "[1,2", "expected a ] for every [, got '[1,2'"),
        (tuple[tuple[int, int], ...], "[1,2]3", "expected nothing after the brackets, got '[1,2]3'"),
        (tuple[tuple[int, int], ...], "[1][2]", "expected nothing after the brackets, got '[1][2]'"),
        (list[str], 'a,"b', "expected quotes that end, got '\"b'"),
        (list[str], '"a"b', "expected nothing after the quotes, got '\"a\"b'"),
        (dict[str, int], "a", "expected TEXT=INT,..., got 'a'"),
        (dict[str, int], "a=1,a=2", "expected TEXT=INT,..., got 'a=1,a=2'"),
        (Colour, "red", "expected RED|DARK_RED|NONE, got 'red'"),
    ],
)
def test_a_flag_that_says_nothing_clear_ends_with_a_line(hint, text, message, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(one(hint), [f"--x={text}"], prog="p", description="")
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"p: error: argument --x: {message}"


def test_ranges_hold_within_lists_dicts_and_tuples_of_tuples():
    @attrs.frozen
    class Ranged:
        a: list[int] = option([1], "", least=1)
        b: dict[str, int] = option({"k": 1}, "", least=1)
        c: tuple[tuple[int, ...], ...] = option(((1,),), "", least=1)

    for wrong in ({"a": [0]}, {"b": {"k": 0}}, {"c": ((1, 0),)}):
        with pytest.raises(OptionError, match="expected a value in"):
            Ranged(**wrong)
    Ranged().a.append(5)
    assert Ranged().a == [1]
