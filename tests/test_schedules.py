"""Schedules: closed forms, laws, recipes, what they say of bad input, and their picture."""

from __future__ import annotations

import copy
import math
import pickle
import re

import numpy as np
import pytest

import fnn
from fnn.errors import DataError, OptionError
from fnn.testing.laws.of_codecs_and_schedules import check_schedule

ALL = [
    fnn.constant_schedule(0.1),
    fnn.linear_schedule(0.1, 0.9, 10),
    fnn.linear_schedule(0.1, 0.0, 10, transition_begin=5),
    fnn.exponential_schedule(0.1, 10, 0.5),
    fnn.exponential_schedule(0.1, 10, 2.0, end_value=1.0),
    fnn.exponential_schedule(0.1, 10, 0.5, staircase=True, end_value=0.01),
    fnn.inverse_time_schedule(0.1, 10, 0.5),
    fnn.inverse_time_schedule(0.1, 10, 0.5, staircase=True),
    fnn.polynomial_schedule(0.1, 0.01, 2.0, 20),
    fnn.polynomial_schedule(0.1, 0.01, 0.0, 20),
    fnn.piecewise_schedule([0.1], []),
    fnn.piecewise_schedule([0.1, 0.5, 0.2], [10, 30]),
    fnn.cosine_schedule(0.1, 50, alpha=0.1, exponent=2.0),
    fnn.warmup_cosine_schedule(0.01, 0.1, 10, 50, end_value=0.001),
    fnn.warmup_cosine_schedule(0.01, 0.1, 0, 50),
    fnn.one_cycle_schedule(0.1, 60),
    fnn.one_cycle_schedule(0.1, 60, warmup=0.0),
    fnn.cosine_restarts_schedule(0.1, 10),
    fnn.cosine_restarts_schedule(0.1, 10, factor=2, decay=0.5, end_value=0.01),
    fnn.join_schedules([fnn.linear_schedule(0.0, 0.1, 10), fnn.cosine_schedule(0.1, 50)], [10]),
]
every_one = pytest.mark.parametrize("schedule", ALL, ids=repr)


@every_one
def test_every_schedule_obeys_the_laws(schedule):
    check_schedule(schedule, steps=120)
    assert all(type(schedule(np.int64(step))) is float for step in (0, 1, 7, 200))


@every_one
def test_schedules_print_pickle_copy_and_compare_by_their_recipe(schedule):
    assert eval(repr(schedule), vars(fnn)) == schedule
    assert copy.deepcopy(schedule) == schedule
    again = pickle.loads(pickle.dumps(schedule))
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert again.where == schedule.where
    assert [again(step) for step in range(60)] == [schedule(step) for step in range(60)]
    assert sum(schedule == other for other in ALL) == 1


@every_one
def test_optimizers_follow_schedules_in_float32(schedule):
    optimizer = fnn.adam(schedule)
    assert repr(optimizer) == f"adam(learning_rate={schedule!r})"
    params = {"w": np.ones(3, "float32")}
    u, _ = optimizer.update(params, optimizer.init(params), params, 3)
    assert u["w"].dtype == np.float32
    assert optimizer.numbers(3) == {"learning_rate": schedule(3), "b1": 0.9, "b2": 0.999}


# --- closed forms ---------------------------------------------------------------------------


def values(schedule, *steps):
    return [schedule(step) for step in steps]


def near(*expected):
    return pytest.approx(list(expected), rel=1e-14, abs=1e-17)


def test_straight_lines_and_powers_reach_both_ends():
    assert values(fnn.constant_schedule(0.1), 0, 99) == [0.1, 0.1]
    line = fnn.linear_schedule(0.1, 0.3, 4, transition_begin=2)
    assert values(line, 0, 2, 3, 4, 6, 99) == near(0.1, 0.1, 0.15, 0.2, 0.3, 0.3)
    assert (line(0), line(6), line(10**9)) == (0.1, 0.3, 0.3)
    square = fnn.polynomial_schedule(1.0, 0.2, 2.0, 4)
    assert values(square, 0, 1, 2, 3, 4, 5) == near(1.0, 0.65, 0.4, 0.25, 0.2, 0.2)


def test_exponentials_and_inverse_times_jump_if_they_are_to():
    assert values(fnn.exponential_schedule(0.8, 2, 0.25), 0, 1, 2, 4) == near(0.8, 0.4, 0.2, 0.05)
    stairs = fnn.exponential_schedule(0.8, 2, 0.25, staircase=True, end_value=0.1)
    assert values(stairs, 0, 1, 2, 3, 4, 99) == near(0.8, 0.8, 0.2, 0.2, 0.1, 0.1)
    grows = fnn.exponential_schedule(0.1, 1, 2.0, end_value=0.5)
    assert values(grows, 0, 1, 2, 3, 5000) == near(0.1, 0.2, 0.4, 0.5, 0.5)
    assert fnn.exponential_schedule(0.0, 1, 2.0, end_value=0.5)(5000) == 0.0
    inverse = fnn.inverse_time_schedule(0.6, 2, 0.5)
    assert values(inverse, 0, 1, 2, 4) == near(0.6, 0.48, 0.4, 0.3)
    stairs = fnn.inverse_time_schedule(0.6, 2, 0.5, staircase=True)
    assert values(stairs, 0, 1, 2, 3, 4) == near(0.6, 0.6, 0.4, 0.4, 0.3)


def test_pieces_begin_at_their_boundaries():
    pieces = fnn.piecewise_schedule([0.3, 0.2, 0.1], [2, 5])
    assert values(pieces, 0, 1, 2, 4, 5, 99) == [0.3, 0.3, 0.2, 0.2, 0.1, 0.1]
    joined = fnn.join_schedules([lambda step: step + 1.0, fnn.linear_schedule(1.0, 0.0, 4)], [2])
    assert values(joined, 0, 1, 2, 3, 6, 99) == near(1.0, 2.0, 1.0, 0.75, 0.0, 0.0)


def test_cosines_follow_their_equations():
    for step in range(12):
        share = min(step, 8) / 8
        cosine = 0.5 * (1 + math.cos(math.pi * share))
        assert fnn.cosine_schedule(0.3, 8, alpha=0.1, exponent=1.5)(step) == pytest.approx(
            0.3 * (0.9 * cosine**1.5 + 0.1), rel=1e-13
        )
        warm = fnn.warmup_cosine_schedule(0.1, 0.3, 4, 12, end_value=0.05)
        assert warm(step + 4) == pytest.approx(0.05 + 0.25 * cosine, rel=1e-13)
    assert values(warm, 0, 1, 2, 4, 12, 99) == near(0.1, 0.15, 0.2, 0.3, 0.05, 0.05)
    again = fnn.cosine_restarts_schedule(0.4, 2, factor=2, decay=0.5)
    assert values(again, 0, 1, 2, 4, 6) == near(0.4, 0.2, 0.2, 0.1, 0.1)
    even = fnn.cosine_restarts_schedule(0.4, 2)
    assert values(even, 0, 1, 2, 3, 10**9) == near(0.4, 0.2, 0.4, 0.2, 0.4)
    cycle = fnn.one_cycle_schedule(0.5, 11, warmup=0.5, div_factor=5, final_div_factor=10)
    assert values(cycle, 0, 10, 99) == near(0.1, 0.01, 0.01)
    assert max(values(cycle, *range(11))) <= 0.5
    assert fnn.one_cycle_schedule(0.5, 9, warmup=0.0)(0) == 0.5


# --- bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: fnn.constant_schedule(-1),
            "constant_schedule: value: expected a number in [0.0, inf)",
        ),
        (lambda: fnn.linear_schedule(0.1, 0.2, 0), "transition_steps: expected 1 or more, got 0"),
        (lambda: fnn.linear_schedule("x", 0.2, 3), "init_value: expected a number, got 'x'"),
        (
            lambda: fnn.polynomial_schedule(1, 0, -1, 5),
            "power: expected a number in [0.0, inf), got -1",
        ),
        (lambda: fnn.exponential_schedule(1, 5, 0), "decay_rate: expected a number above 0, got 0"),
        (
            lambda: fnn.exponential_schedule(1, 5, 2),
            "end_value: expected a number beside a rate above 1",
        ),
        (lambda: fnn.exponential_schedule(1, 5, 0.5, staircase=1), "staircase: expected True or False"),
        (lambda: fnn.inverse_time_schedule(1, 1.5, 0.5), "decay_steps: expected an integer, got 1.5"),
        (lambda: fnn.piecewise_schedule([], []), "values: expected a list of numbers, got []"),
        (
            lambda: fnn.piecewise_schedule([1, 2, 3], [5, 5]),
            "boundaries: expected 2 growing steps between 3 parts, got [5, 5]",
        ),
        (
            lambda: fnn.piecewise_schedule([1, 2], []),
            "piecewise_schedule: boundaries: expected 1 growing steps between 2 parts, got []",
        ),
        (lambda: fnn.piecewise_schedule([1, 2], 5), "boundaries: expected a list of steps, got 5"),
        (lambda: fnn.cosine_schedule(1, 5, alpha=2), "alpha: expected a number in [0.0, 1.0], got 2"),
        (
            lambda: fnn.warmup_cosine_schedule(0, 1, 10, 10),
            "warmup_cosine_schedule: decay_steps: expected 11 or more, got 10",
        ),
        (lambda: fnn.one_cycle_schedule(1, 1), "total_steps: expected 2 or more, got 1"),
        (lambda: fnn.one_cycle_schedule(1, 9, warmup=1), "warmup: expected a number in [0.0, 1.0)"),
        (lambda: fnn.one_cycle_schedule(1, 9, div_factor=0.5), "div_factor: expected a number in [1.0"),
        (lambda: fnn.cosine_restarts_schedule(1, 5, factor=0), "factor: expected 1 or more, got 0"),
        (lambda: fnn.join_schedules([0.1], []), "schedules: expected a list of functions, got [0.1]"),
        (
            lambda: fnn.join_schedules([fnn.constant_schedule(1)] * 2, [0]),
            "join_schedules: boundaries: expected 1 or more, got 0",
        ),
    ],
)
def test_options_out_of_range_raise_at_construction(make, message):
    with pytest.raises(OptionError, match=re.escape(message)):
        make()


def test_steps_are_integers_from_zero():
    for step, said in ((-1, "0 or more, got -1"), (0.5, "an integer, got 0.5")):
        with pytest.raises(OptionError, match=rf"^cosine_schedule: step: expected {said}$"):
            fnn.cosine_schedule(0.1, 5)(step)
    joined = fnn.join_schedules([lambda step: math.nan], [])
    with pytest.raises(OptionError, match=r"^join_schedules: schedule 0 at step 3: expected a number"):
        joined(3)


def test_a_schedule_of_ones_own_is_a_schedule_too():
    own = fnn.Schedule("own", lambda step: 0.5**step)
    assert own(2) == 0.25
    assert own == fnn.Schedule("own", own._at)


# --- the picture ----------------------------------------------------------------------------


def test_a_schedule_is_drawn_in_one_call(tmp_path):
    pytest.importorskip("matplotlib")
    one = fnn.pictures.schedule(tmp_path / "one.png", ALL[-1], 100)
    again = fnn.pictures.schedule(tmp_path / "again.png", ALL[-1], 100)
    assert one.read_bytes() == again.read_bytes()
    assert one.read_bytes().startswith(b"\x89PNG")
    fnn.pictures.schedule(tmp_path / "two.png", {"a": ALL[1], "b": lambda step: 0.1}, 5, title="two")
    with pytest.raises(
        OptionError, match=r"^schedule: schedules: expected a schedule, or some by name"
    ):
        fnn.pictures.schedule(tmp_path / "bad.png", 0.1, 5)
    with pytest.raises(OptionError, match=r"^schedule: steps: expected 1 or more, got 0$"):
        fnn.pictures.schedule(tmp_path / "bad.png", ALL[0], 0)
    with pytest.raises(DataError, match="expected one series"):
        fnn.pictures.schedule(tmp_path / "bad.png", {}, 5)
