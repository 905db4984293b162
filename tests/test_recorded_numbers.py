"""Numbers of every type are recorded as what they are, or refused by the name of their entry."""

import datetime
import decimal
import enum
import fractions
import json
import math
import re

import attrs
import numpy as np
import pytest
from experiment_cases import Config, train

from fnn.errors import OptionError
from fnn.experiment import execute, main, read_metrics, read_run, replay
from fnn.runs.config import plain, recordable

SMALL = {"epochs": 1, "examples": 40}


class Level(enum.IntEnum):
    LOW = 1


class Shade(enum.StrEnum):
    DARK = "dark"


class Plain(enum.Enum):
    ONE = 1


class Name(str):
    """A text that prints otherwise."""

    def __str__(self):
        return "otherwise"


@attrs.frozen
class Pair:
    a: int
    b: float


KNOWN = [
    *((kind(3), 3) for kind in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32)),
    *((kind(3), 3) for kind in (np.int64, np.uint64, np.intp, np.longlong, np.ulonglong)),
    *((kind(0.5), 0.5) for kind in (np.float16, np.float32, np.float64, np.longdouble)),
    *((kind("nan"), "nan") for kind in (float, np.float16, np.longdouble, decimal.Decimal)),
    *((kind("-inf"), "-inf") for kind in (float, np.float32, np.longdouble, decimal.Decimal)),
    (np.longdouble(1) / 3, 1 / 3),
    (np.bool_(True), True),
    (np.array(2), 2),
    (np.array(0.25, np.longdouble), 0.25),
    (np.array(True), True),
    (np.array([0.5, np.nan]), [0.5, "nan"]),
    (np.array([0.5], np.longdouble), [0.5]),
    (np.array([1, fractions.Fraction(1, 4)], object), [1, 0.25]),
    (np.array("text"), "text"),
    (np.str_("text"), "text"),
    (np.ma.array([1.0, 2.0]), [1.0, 2.0]),
    (np.array([[1, 2]]), [[1, 2]]),
    (fractions.Fraction(1, 3), 1 / 3),
    (fractions.Fraction(10**400, 10**400 + 1), 1.0),
    (decimal.Decimal("0.1"), 0.1),
    (decimal.Decimal("sNaN"), "nan"),
    (decimal.Decimal("1e-400"), 0.0),
    (10**400, 10**400),
    (-(2**13999), -(2**13999)),
    (Level.LOW, 1),
    (Shade.DARK, "dark"),
    (Name("text"), "text"),
    (-0.0, -0.0),
    (5e-324, 5e-324),
    (Pair(1, np.float32(0.5)), {"a": 1, "b": 0.5}),
    ({1: 2, Shade.DARK: (np.int8(1), None)}, {"1": 2, "dark": [1, None]}),
]


@pytest.mark.parametrize(("value", "expected"), KNOWN, ids=lambda value: f"{type(value).__name__}")
def test_a_number_of_any_type_is_recorded_as_the_number_it_is(value, expected):
    made = plain({"x": value})["x"]
    assert json.dumps(made) == json.dumps(expected)
    assert json.loads(json.dumps({"x": made}, allow_nan=False)) == {"x": expected}


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


REFUSED = [
    (1 + 2j, r"complex \(1\+2j\)"),
    (1 + 0j, "complex"),
    (np.complex64(1), "complex64"),
    (np.clongdouble(1), "complex256|clongdouble|complex"),
    (np.array([1j]), "complex128"),
    (np.datetime64(1, "ns"), r"datetime64\[ns\]"),
    (np.timedelta64(1, "ns"), r"timedelta64\[ns\]"),
    (np.array([1], "M8[ns]"), r"datetime64\[ns\]"),
    (np.bytes_(b"a"), r"\|S1"),
    (np.void(b"a"), r"\|V1"),
    (np.zeros((), [("a", "f8")]), "a"),
    (np.ma.masked, "a masked entry"),
    (np.ma.array([1.0, 2.0], mask=[True, False]), "a masked entry"),
    (np.array([object()]), r"x\[0\]: expected .* got object"),
    (b"a", "bytes"),
    (datetime.date(2020, 1, 1), "datetime.date"),
    (object(), "object"),
    (Plain.ONE, "Plain"),
    ({1, 2}, "set"),
    (len, "builtin_function_or_method"),
    (2**14_000, "whole numbers of up to 14,000 bits, got one of 14,001 bits"),
    (decimal.Decimal("1e400"), "float of 64 bits can hold, got decimal.Decimal beyond it"),
    (fractions.Fraction(10**400, 3), "float of 64 bits can hold, got fractions.Fraction beyond it"),
    (nested(60), "to a depth of 50"),
    ({"1": 0, 1: 0}, "x.1: expected every name once, got 1 beside its text"),
    ({"deep": [0, {"er": 1j}]}, r"x\.deep\[1\]\.er: expected a number"),
]
if np.finfo(np.longdouble).max > np.finfo(np.float64).max:
    REFUSED.append(
        (np.longdouble("1e4000"), "float of 64 bits can hold, got numpy.longdouble beyond it")
    )


@pytest.mark.parametrize(("value", "message"), REFUSED, ids=lambda value: f"{type(value).__name__}")
def test_what_no_file_can_hold_is_refused_by_the_name_of_its_entry(tmp_path, value, message):
    with pytest.raises(OptionError, match=r"^x.*: expected ") as refused:
        plain({"x": value})
    assert re.search(message, str(refused.value))

    def recording(config, run):
        run.record(x=value)

    with pytest.raises(OptionError, match=r"^x.*: expected "):
        execute(recording, Config(out=tmp_path))
    assert read_metrics(tmp_path) == []


def test_a_list_that_holds_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(OptionError, match="to a depth of 50"):
        plain(loop, "loop")


@pytest.mark.parametrize(("value", "message"), REFUSED, ids=lambda value: f"{type(value).__name__}")
def test_a_training_that_came_to_its_end_is_finished_whatever_it_returns(
    tmp_path, capsys, value, message
):
    def odd(config, run):
        return {**train(config, run), "x": value, "last": np.longdouble(0.5)}

    result = main(odd, Config, ["--epochs", "1", "--examples", "40", "--out", str(tmp_path / "run")])
    about = read_run(tmp_path / "run")
    assert about["status"] == "finished"
    assert "error" not in about
    assert about["result"].keys() == result.keys() == {"best", "digest", "last"}
    assert about["unrecorded"].keys() == {"x"}
    assert about["unrecorded"]["x"].startswith("result.x")
    assert "not recorded: result.x" in capsys.readouterr().out
    assert (tmp_path / "run" / "model.npz").exists()
    assert len(read_metrics(tmp_path / "run")) == 3


@pytest.mark.parametrize(
    "value", [0.5, [1, 2], "text", np.float32(1), object()], ids=lambda value: type(value).__name__
)
def test_a_result_that_is_no_dict_is_said_and_the_run_is_finished(tmp_path, value):
    def odd(config, run):
        train(config, run)
        return value

    assert execute(odd, Config(out=tmp_path, **SMALL)) == {}
    about = read_run(tmp_path)
    assert about["status"] == "finished"
    assert "result: expected a dict of numbers and texts, got " in about["unrecorded"]["result"]


def test_a_result_that_was_not_recorded_replays_as_one_that_was_not(tmp_path):
    def odd(config, run):
        return {"x": 1j, "y": 1}

    execute(odd, Config(out=tmp_path / "run"))
    assert replay(odd, Config, tmp_path / "run").identical


def test_records_take_the_same_numbers_as_results(tmp_path):
    def recording(config, run):
        for i, (value, _) in enumerate(KNOWN):
            run.record(i=i, x=value)
        return {f"x{i}": value for i, (value, _) in enumerate(KNOWN)}

    result = execute(recording, Config(out=tmp_path))
    expected = [json.dumps(value) for _, value in KNOWN]
    assert [json.dumps(record["x"]) for record in read_metrics(tmp_path)] == expected
    assert list(map(json.dumps, result.values())) == expected
    assert "unrecorded" not in read_run(tmp_path)


def test_entries_that_can_be_recorded_are_kept_beside_those_that_cannot():
    kept, refused = recordable({"a": 1, 2: math.inf, "c": 1j}, "result")
    assert kept == {"a": 1, "2": "inf"}
    assert list(refused) == ["c"]
    assert recordable(None, "result") == ({}, {})
