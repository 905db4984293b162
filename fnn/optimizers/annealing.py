"""Schedules along a cosine, with a warm-up, in one cycle and with restarts; and schedules in a row."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence

from fnn.errors import OptionError
from fnn.optimizers.schedules import Schedule, between, boundaries_of, fraction, value_of
from fnn.options import integer, real
from fnn.recipe import constructor


def _cosine(share: float) -> float:
    """Return ½ (1 - cos(π share)), from 0 to 1 as the share goes from 0 to 1."""
    return 0.5 * (1.0 - math.cos(math.pi * share))


@constructor
def cosine_schedule(
    init_value: float, decay_steps: int, *, alpha: float = 0.0, exponent: float = 1.0
) -> Schedule:
    """Fall along half a cosine: c(t) = init ((1 - alpha) (½ (1 + cos(π t / steps)))ᵖ + alpha).

    Args:
        init_value: First value, 0 or more.
        decay_steps: After how many steps the last value is reached, 1 or more.
        alpha: The last value as a share of the first, from 0 to 1.
        exponent: p, 0 or more.

    Raises:
        OptionError: If an argument is out of its range.

    References: Loshchilov & Hutter (2017), "SGDR: stochastic gradient descent with warm restarts",
        eq. 5.
    """
    who = "cosine_schedule"
    start = value_of(who, "init_value", init_value)
    steps = integer(who, "decay_steps", decay_steps)
    share = real(who, "alpha", alpha, least=0.0, most=1.0)
    power = real(who, "exponent", exponent, least=0.0)
    return Schedule(who, lambda step: _falling(start, share * start, fraction(step, 0, steps), power))


def _falling(start: float, end: float, share: float, power: float = 1.0) -> float:
    return between(end, start, (1.0 - _cosine(share)) ** power)


@constructor
def warmup_cosine_schedule(
    init_value: float,
    peak_value: float,
    warmup_steps: int,
    decay_steps: int,
    *,
    end_value: float = 0.0,
    exponent: float = 1.0,
) -> Schedule:
    """Rise straight to a peak, then fall along half a cosine.

    For t < warmup: c(t) = init + (peak - init) t / warmup; from there on, with what has gone by of the
    other steps, s = (t - warmup) / (decay - warmup): c(t) = end + (peak - end) (½ (1 + cos(π s)))ᵖ.

    Args:
        init_value: First value, 0 or more.
        peak_value: Value at the end of the warm-up, 0 or more.
        warmup_steps: Steps of the warm-up, 0 or more.
        decay_steps: Steps of both parts together, more than `warmup_steps`.
        end_value: Last value, 0 or more.
        exponent: p, 0 or more.

    Raises:
        OptionError: If an argument is out of its range.

    References: Goyal et al. (2017), "Accurate, large minibatch SGD", section 2.2; Loshchilov & Hutter
        (2017), "SGDR: stochastic gradient descent with warm restarts", eq. 5.
    """
    who = "warmup_cosine_schedule"
    values = {"init_value": init_value, "peak_value": peak_value, "end_value": end_value}
    start, peak, end = (value_of(who, name, value) for name, value in values.items())
    warm = integer(who, "warmup_steps", warmup_steps, least=0)
    steps = integer(who, "decay_steps", decay_steps, least=warm + 1)
    power = real(who, "exponent", exponent, least=0.0)

    def at(step: int) -> float:
        if step < warm:
            return between(start, peak, step / warm)
        return _falling(peak, end, fraction(step, warm, steps - warm), power)

    return Schedule(who, at)


@constructor
def one_cycle_schedule(
    peak_value: float,
    total_steps: int,
    *,
    warmup: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    """Rise along half a cosine to a peak, and fall along another one to nearly nothing.

    From peak / div_factor at step 0 to the peak at step warmup · total - 1, and from there to
    peak / div_factor / final_div_factor at the last step, total - 1.

    Args:
        peak_value: The largest value, 0 or more.
        total_steps: How many steps the cycle has, 2 or more.
        warmup: The share of the steps in which it rises, from 0 to below 1.
        div_factor: The peak over the first value, 1 or more.
        final_div_factor: The first value over the last, 1 or more.

    Raises:
        OptionError: If an argument is out of its range.

    References: Smith & Topin (2018), "Super-convergence: very fast training of neural networks using
        large learning rates"; the two cosines are those of fast.ai.
    """
    who = "one_cycle_schedule"
    peak = value_of(who, "peak_value", peak_value)
    steps = integer(who, "total_steps", total_steps, least=2)
    share = real(who, "warmup", warmup, least=0.0, below=1.0)
    start = peak / real(who, "div_factor", div_factor, least=1.0)
    end = start / real(who, "final_div_factor", final_div_factor, least=1.0)
    top, last = share * steps - 1.0, float(steps - 1)

    def at(step: int) -> float:
        if step < top:
            return between(start, peak, _cosine(step / top))
        # Without steps to rise in, it falls from the peak at step 0.
        first = max(top, 0.0)
        return _falling(peak, end, min((step - first) / (last - first), 1.0))

    return Schedule(who, at)


@constructor
def cosine_restarts_schedule(
    init_value: float,
    first_steps: int,
    *,
    factor: int = 1,
    decay: float = 1.0,
    end_value: float = 0.0,
) -> Schedule:
    """Fall along half a cosine again and again, every cycle `factor` times as long as the one before.

    In cycle i = 0, 1, …, t steps after its beginning: c(t) = end + (init · decayⁱ - end) ½ (1 +
    cos(π t / (first_steps · factorⁱ))). The value jumps back up at the first step of a cycle.

    Args:
        init_value: First value of the first cycle, 0 or more.
        first_steps: Steps of the first cycle, 1 or more.
        factor: How many times as long the next cycle is, an integer of 1 or more.
        decay: What the first value of a cycle is multiplied by for that of the next, from 0 to 1.
        end_value: What every cycle falls to, 0 or more.

    Raises:
        OptionError: If an argument is out of its range.

    References: Loshchilov & Hutter (2017), "SGDR: stochastic gradient descent with warm restarts",
        eq. 5.
    """
    who = "cosine_restarts_schedule"
    start = value_of(who, "init_value", init_value)
    first = integer(who, "first_steps", first_steps)
    longer = integer(who, "factor", factor)
    lower = real(who, "decay", decay, least=0.0, most=1.0)
    end = value_of(who, "end_value", end_value)

    def at(step: int) -> float:
        if longer == 1:
            cycle, since, length = step // first, step % first, first
        else:
            cycle, since, length = 0, step, first
            while since >= length:
                cycle, since, length = cycle + 1, since - length, length * longer
        return _falling(max(start * lower**cycle, end), end, since / length)

    return Schedule(who, at)


@constructor
def join_schedules(schedules: Sequence[Callable[[int], float]], boundaries: Sequence[int]) -> Schedule:
    """Follow one schedule after another, each from its own step 0.

    Args:
        schedules: One schedule or more, functions `step -> float`.
        boundaries: The steps at which the second, third, … begins; one less than schedules.

    Raises:
        OptionError: If an argument is something else, or the boundaries do not grow.
    """
    who = "join_schedules"
    if not isinstance(schedules, tuple | list) or not schedules or not all(map(callable, schedules)):
        raise OptionError(f"schedules: expected a list of functions, got {schedules!r}", path=(who,))
    parts, steps = list(schedules), boundaries_of(who, boundaries, len(schedules))
    begins = [0, *steps]

    def at(step: int) -> float:
        i = bisect.bisect_right(steps, step)
        return real(who, f"schedule {i} at step {step}", parts[i](step - begins[i]))

    return Schedule(who, at)
