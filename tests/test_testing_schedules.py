"""Laws of schedules: right ones pass, wrong ones are caught and named."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from closed_forms import falling

from fnn.errors import OptionError
from fnn.testing.laws.of_codecs_and_schedules import check_schedule
from fnn.testing.report import LawError


def broken(schedule, **options):
    """Return the names of the laws that are broken."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            check_schedule(schedule, **options)
        except LawError as error:
            return set(error.report.broken)
    return set()


def raising(*_, **__):
    raise KeyError("no such thing")


@pytest.mark.parametrize(
    "schedule",
    [
        falling,
        lambda step: 0.1,
        lambda step: 0,
        lambda step: np.array(0.5),
    ],
)
def test_a_right_schedule_is_proved(schedule):
    assert check_schedule(schedule).laws == ("call", "number", "sign", "pure", "clock")


class Warm:
    def __init__(self):
        self.calls = 0

    def __call__(self, step):
        self.calls += 1
        return min(1.0, self.calls / 10)


def typed(step):
    return 0.1 if type(step) is int else 0.2


@pytest.mark.parametrize(
    ("schedule", "law"),
    [
        (raising, "call"),
        (17, "call"),
        (lambda: 0.1, "call"),
        (lambda step: 1 / (3 - step), "call"),
        (lambda step: float("nan"), "number"),
        (lambda step: np.inf, "number"),
        (lambda step: "0.1", "number"),
        (lambda step: None, "number"),
        (lambda step: np.ones(1), "number"),
        (lambda step: 1j, "number"),
        (lambda step: True, "number"),
        (lambda step: 0.1 - 0.01 * step, "sign"),
        (Warm(), "pure"),
        (typed, "clock"),
        (lambda step: np.float32(1) / (step + 1), "clock"),  # float64 under steps of NumPy's
        (lambda step: [0.1, 0.2][step.__class__ is not int], "clock"),
        (lambda step: 10.0 ** -(step % 3) if isinstance(step, int) else raising(), "clock"),
    ],
)
def test_a_wrong_schedule_is_caught_by_the_law_it_breaks(schedule, law):
    assert law in broken(schedule)


def test_a_schedule_is_asked_for_the_steps_that_are_wanted():
    table = [0.3, 0.2, 0.1]
    check_schedule(lambda step: table[step], steps=3)
    assert broken(lambda step: table[step], steps=4) == {"call"}
    with pytest.raises(OptionError):
        check_schedule(falling, steps=0)
