"""Laws of augmentations, on right ones and on wrong ones."""

from __future__ import annotations

import numpy as np
import pytest
from test_augmentation import ALL, brighten, images

import fnn
from fnn.errors import OptionError
from fnn.testing import LawError, check_augmentation

LABELS = np.array([0, 1, 2, 1, 0, 2])


@pytest.mark.parametrize("augment", [*ALL, brighten(2.0)], ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_augmentation_obeys_every_law(augment, dtype):
    report = check_augmentation(augment, images(dtype=dtype))
    assert set(report.laws) == {
        "call", "shape", "finite", "untouched", "pure", "index", "layout", "empty"
    }  # fmt: skip
    assert check_augmentation(augment, images(dtype=dtype), LABELS, seed=3).violations == ()


@pytest.mark.parametrize("n_classes", [3, fnn.OneHot.fit([0, 1, 2])])
def test_mixtures_obey_every_law(n_classes):
    check_augmentation(fnn.mixup(0.3, n_classes=n_classes), images(), LABELS)
    check_augmentation(fnn.composed(fnn.random_flip(), fnn.mixup(0.3)), images(), np.eye(6))


def writing(draws, x):
    x *= 2
    return x


def by_place(draws, x):
    return x + np.arange(len(x), dtype=x.dtype).reshape(-1, 1, 1, 1)


def by_others(draws, x):
    return x - x.mean(axis=0)


def widening(draws, x):
    return x * np.float64(0.5)


def cropping(draws, x):
    return x[..., 1:]


def dropping(draws, x):
    return x[1:]


def infinite(draws, x):
    return x / np.zeros_like(x[:, :1])


def raising(draws, x):
    raise KeyError("no such thing")


def of_its_own(draws, x, calls=[]):  # noqa: B006 - what it remembers is what is wrong with it
    calls.append(1)
    return x + np.float32(len(calls))


def by_memory(draws, x):
    return x if x.flags.c_contiguous else x + 1


def never_empty(draws, x):
    return x if len(x) else np.zeros((1, *x.shape[1:]), x.dtype)


def of_a_batch(draws, x):
    return x + draws.key.generator().normal(size=x.shape).astype(x.dtype)


@pytest.mark.parametrize(
    ("change", "law"),
    [
        (writing, "untouched"),
        (by_place, "index"),
        (by_others, "index"),
        (of_a_batch, "index"),
        (widening, "call"),
        (cropping, "shape"),
        (dropping, "call"),
        (infinite, "finite"),
        (raising, "call"),
        (of_its_own, "pure"),
        (by_memory, "layout"),
        (never_empty, "empty"),
    ],
)
def test_a_wrong_augmentation_is_caught_by_the_law_it_breaks(change, law):
    with np.errstate(all="ignore"), pytest.raises(LawError) as info:
        check_augmentation(fnn.make_augmentation("wrong", change), images())
    assert law in info.value.report.broken


def test_targets_that_get_lost_are_caught():
    losing = fnn.make_augmentation("losing", lambda draws, x, y: (x, y[1:]), targets=True)
    with pytest.raises(LawError, match="y: expected 6 examples to come back, got 5"):
        check_augmentation(losing, images(), LABELS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_augmentation(lambda key, x: x, images()), "expected an Augmentation"),
        (lambda: check_augmentation(ALL[0], images(2)), "x: expected 3 examples or more, got 2"),
        (lambda: check_augmentation(ALL[0], 3.0), "x: expected 3 examples or more, got 0"),
        (lambda: check_augmentation(ALL[0], images(), seed=-1), "seed: expected 0 or more"),
    ],
)
def test_what_cannot_be_checked_is_refused(call, message):
    with pytest.raises(OptionError, match=f"check_augmentation: {message}"):
        call()
