"""Losses and their gradients beside the same in 50 digits, over inputs that are hard for floats.

Every result is to be within four times the spacing of floats at it. Three things are allowed for,
each computed and none guessed: the differences between logits are rounded once, which moves the
exact result by as much as its derivative says; a derivative that is a difference of two numbers is
right to four spacings of the larger one; and what lies below the smallest normal number may vanish.
"""

import numpy as np
import pytest

from fnn.losses import LOSSES

mpmath = pytest.importorskip("mpmath")
mp = mpmath.mp.clone() if hasattr(mpmath.mp, "clone") else mpmath.mp
mp.dps = 60

DTYPES = ["float32", "float64"]
EPS = 4


def exact(x):
    return mp.mpf(float(x))


def check(name, got, want, dtype, size=None, slack=0):
    """Hold got to want within EPS spacings of `size`, by default of want itself."""
    info = np.finfo(dtype)
    size = abs(want) if size is None else max(abs(want), size)
    bound = EPS * mp.mpf(float(info.eps)) * size + mp.mpf(float(info.tiny)) + slack
    assert abs(exact(got) - want) <= bound, (name, dtype, got, mp.nstr(want, 12))


def ulp_from_one(dtype):
    return [np.nextafter(np.array(1, dtype), np.array(0, dtype)), np.finfo(dtype).eps]


def numbers(dtype):
    """Return ordinary and hard numbers of both signs."""
    info = np.finfo(dtype)
    random = np.random.default_rng(0).normal(size=12) * 10 ** np.linspace(-8, 3, 12)
    hard = [0.0, 1.0, 10.0, 17.0, 50.0, 88.5, 100.0, 104.0, 700.0, 745.5, 1e4, info.eps, 1 + info.eps]
    tiny = [float(info.tiny), float(info.smallest_subnormal), 1e-3, 1e-20]
    return np.array([s * x for x in [*random, *hard, *tiny] for s in (1, -1)]).astype(dtype)


def chances(dtype):
    """Return probabilities, most of them near 0 and 1."""
    info = np.finfo(dtype)
    near = [0, info.smallest_subnormal, info.tiny, 1e-30, info.eps, 1e-4, 0.1, 0.25]
    low = np.array([*near, 0.5, 0.7310586], dtype)
    return np.concatenate([low, 1 - low[low > 0], ulp_from_one(dtype)[:1]]).astype(dtype)


# --- numbers against numbers


def of_one(name, x, t):
    """Return value, derivative, and the larger of the terms whose difference the derivative is."""
    if name == "sigmoid_cross_entropy":
        # For positive x the terms are 1 - t and σ(-x).
        z, share = (-x, 1 - t) if x > 0 else (x, t)
        near = mp.exp(z) / (1 + mp.exp(z))
        value = mp.log1p(mp.exp(z)) - z * share
        return value, (near - share) * (-1 if x > 0 else 1), max(near, share)
    d = x - t
    if name == "absolute_error":
        return abs(d), mp.sign(d), abs(mp.sign(d))
    if name == "squared_error":
        return d * d, 2 * d, abs(2 * d)
    return d * d / 2, d, abs(d)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "name", ["sigmoid_cross_entropy", "squared_error", "absolute_error", "half_squared_error"]
)
def test_losses_of_numbers_are_right_to_four_spacings(name, dtype):
    targets = chances(dtype) if name == "sigmoid_cross_entropy" else numbers(dtype)
    x, t = (a.ravel() for a in np.meshgrid(numbers(dtype), targets))
    values, slopes = LOSSES[name](x, t, reduction="none")
    assert values.dtype == slopes.dtype == dtype
    for a, b, value, slope in zip(x, t, values, slopes, strict=True):
        want, dwant, size = of_one(name, exact(a), exact(b))
        check(f"{name}({a!r}, {b!r})", value, want, dtype)
        check(f"d {name}({a!r}, {b!r})", slope, dwant, dtype, size)


def test_a_soft_target_one_spacing_below_one_keeps_its_digits():
    x, t = np.array([100], "float32"), np.array([1 - 2.0**-23], "float32")
    value, slope = LOSSES["sigmoid_cross_entropy"](x, t)
    assert value == pytest.approx(100 * 2.0**-23, rel=1e-7)
    assert slope[0] == pytest.approx(2.0**-23, rel=1e-6)


# --- scores of classes


def scores(dtype):
    """Return rows of logits of 2, 3 and 7 classes."""
    rows = [
        [0, 0], [1e4, -1e4], [1e4, 1e4], [-1e4, -1e4], [1e4, np.nextafter(np.array(1e4, dtype), 0)],
        [10, 0], [30, 0], [88, 0], [104, 0], [700, 0], [750, 0], [0.1, -10.3], [3.3, -80.7],
        [1e-6, 0], [np.finfo(dtype).eps, 0], [np.finfo(dtype).smallest_subnormal, 0],
        [0, 0, 0], [1, 1, 1 - np.finfo(dtype).epsneg], [20, 20, 0], [1e4, 0, -1e4], [16, -2.5, 1],
        [5, 0, -1, -7, 12, 12, -100], [0.3, 0.7, -1.1, 2.9, 17.3, -44.9, 0.01],
    ]  # fmt: skip
    return [np.array(row, dtype) for row in rows]


def softmax(row, shifts=None):
    """Return exact log-probabilities and probabilities."""
    x = [exact(a) for a in row] if shifts is None else shifts
    top = max(x)
    total = mp.fsum(mp.exp(a - top) for a in x)
    logs = [a - top - mp.log(total) for a in x]
    return logs, [mp.exp(a) for a in logs]


def rounded_shifts(row):
    """Return by how much rounding moves every logit, less the highest."""
    top = row.max()
    return [abs(exact(a - top) - (exact(a) - exact(top))) for a in row]


def moved_chances(p, moves):
    """Return by how much probabilities change at most if their logits move by so much."""
    mean = mp.fsum(q * move for q, move in zip(p, moves, strict=True))
    return [q * (move + mean) for q, move in zip(p, moves, strict=True)]


def rest_of(p, label):
    """Return the sum of all but one: 1 - p[label] of probabilities, without cancellation."""
    return mp.fsum(q for i, q in enumerate(p) if i != label)


def minus_log(p, logs, label):
    rest = rest_of(p, label)
    return -mp.log1p(-rest) if rest < mp.mpf("0.5") else -logs[label]


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_cross_entropy_is_right_to_four_spacings(dtype):
    for row in scores(dtype):
        logs, p = softmax(row)
        moves = rounded_shifts(row)
        for label in range(len(row)):
            value, slopes = LOSSES["softmax_cross_entropy"](row[None], np.array([label]))
            slack = mp.fsum(
                move * (rest_of(p, label) if j == label else p[j]) for j, move in enumerate(moves)
            )
            check((row, label), value, minus_log(p, logs, label), dtype, slack=slack)
            swings = moved_chances(p, moves)
            for j, slope in enumerate(slopes[0]):
                want = -rest_of(p, label) if j == label else p[j]
                slack = rest_of(swings, label) if j == label else swings[j]
                check((row, label, j), slope, want, dtype, slack=slack)


def rows_of_chances(n, dtype):
    """Return rows of n soft targets: one-hot, smoothed, spread, and not summing to 1."""
    smooth = np.full(n, 0.1 / n)
    smooth[0] += 0.9
    near = np.full(n, np.finfo(dtype).eps)
    near[-1] = ulp_from_one(dtype)[0]
    random = np.random.default_rng(n).random(n)
    eye = np.eye(n)
    return [np.array(r, dtype) for r in (eye[0], eye[-1], smooth, near, random, 0 * random, random / 7)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_soft_cross_entropy_is_right_to_four_spacings(dtype):
    for row in scores(dtype):
        logs, p = softmax(row)
        moves = rounded_shifts(row)
        for rows in rows_of_chances(len(row), dtype):
            r = [exact(a) for a in rows]
            mass = mp.fsum(r)
            value, slopes = LOSSES["softmax_cross_entropy_dense"](row[None], rows[None])
            terms = [a * minus_log(p, logs, j) for j, a in enumerate(r)]
            slack = mp.fsum(move * (a + mass * q) for move, a, q in zip(moves, r, p, strict=True))
            check((row, rows), value, mp.fsum(terms), dtype, slack=slack)
            top, swings = int(np.argmax(row)), moved_chances(p, moves)
            for j, slope in enumerate(slopes[0]):
                # Of the highest score the terms are those of all others.
                others = [i for i in range(len(row)) if (i == j) == (j != top)]
                want = mp.fsum(mass * p[i] - r[i] for i in others)
                want = -want if j == top else want
                size = mp.fsum(max(mass * p[i], r[i]) for i in others)
                slack = mass * mp.fsum(swings[i] for i in others)
                check((row, rows, j), slope, want, dtype, size, slack)


# --- probabilities of classes


@pytest.mark.parametrize("dtype", DTYPES)
def test_losses_of_probabilities_are_right_to_four_spacings(dtype):
    p = chances(dtype)
    pairs, labels = np.stack([p, 1 - p], axis=1), np.zeros(len(p), int)
    values, slopes = LOSSES["cross_entropy"](pairs, labels, reduction="none")
    tiny = mp.mpf(float(np.finfo(dtype).tiny))
    for a, value, slope in zip(p, values, slopes[:, 0], strict=True):
        a = exact(a)
        want = -mp.log(a) if a >= tiny else (tiny - a) / tiny - mp.log(tiny)
        check(a, value, want, dtype)
        check(a, slope, -1 / max(a, tiny), dtype)
    logs = -np.abs(numbers(dtype))
    values, slopes = LOSSES["nll"](
        np.stack([logs, logs], axis=1), np.zeros(len(logs), int), reduction="none"
    )
    assert np.array_equal(values, -logs)
    assert (slopes[:, 0] == -1).all()


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_and_means_of_hard_inputs_are_right_too(name, dtype):
    from loss_cases import example  # Beside this file.

    pred, target, _ = example(name, (6, 3), dtype)
    weight = np.array([1e-30, 3, 0, 0.1, 1e10, 7.5])
    each, slopes = LOSSES[name](pred, target, reduction="none")
    value, dpred = LOSSES[name](pred, target, weight=weight, reduction="mean")
    wide = [exact(w) for w in weight]
    total = mp.fsum(wide)
    want = mp.fsum(w * exact(v) for w, v in zip(wide, each, strict=True)) / total
    check(name, value, want, dtype)
    for w, got, own in zip(wide, dpred.reshape(6, -1), slopes.reshape(6, -1), strict=True):
        for a, b in zip(got, own, strict=True):
            check(name, a, w * exact(b) / total, dtype)
