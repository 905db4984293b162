"""Laws of codecs, on right ones and on wrong ones."""

from __future__ import annotations

import numpy as np
import pytest

from fnn import OneHot
from fnn.errors import DataError
from fnn.testing.laws.of_codecs_and_schedules import check_codec
from fnn.testing.report import LawError


def raising(*_, **__):
    raise KeyError("no such thing")


# --- codecs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        np.array([3, 1, 2, 3, 1]),
        ["b", "a", "c", "a"],
        np.array([0.5, -1.0]),
        np.array([True, False, True]),
        np.array([200, 7], np.uint8),
    ],
    ids=str,
)
def test_the_one_hot_codec_obeys_every_law(labels):
    for codec in (OneHot, OneHot.fit(labels)):
        report = check_codec(codec, labels)
        assert {"call", "round_trip", "rows", "pure", "unknown", "immutable"} <= set(report.laws)


class Codec:
    """A right codec of integers, for wrong ones to change."""

    def __init__(self, classes):
        self.classes = np.array(classes)
        self.classes.setflags(write=False)

    @classmethod
    def fit(cls, labels):
        return cls(np.unique(labels))

    def encode(self, labels):
        return OneHot.fit(self.classes).encode(labels)

    def decode(self, rows):
        return OneHot.fit(self.classes).decode(rows)


class Wide(Codec):
    def encode(self, labels):
        return super().encode(labels).astype(np.float64)


class Off(Codec):
    def decode(self, rows):
        return np.roll(self.classes, 1)[np.argmax(rows, axis=1)]


class Strings(Codec):
    def decode(self, rows):
        return super().decode(rows).astype(float)


class Loose(Codec):
    def __init__(self, classes):
        self.classes = np.array(classes)


class Lenient(Codec):
    def encode(self, labels):
        places = np.searchsorted(self.classes, labels).clip(max=len(self.classes) - 1)
        return np.eye(len(self.classes), dtype=np.float32)[places]


class Nothing(Codec):
    def encode(self, labels):
        return (np.asarray(labels)[:, None] == self.classes).astype(np.float32)


class Soft(Codec):
    def encode(self, labels):
        return super().encode(labels) * np.float32(0.9)


class FirstSeen(Codec):
    @classmethod
    def fit(cls, labels):
        return cls(list(dict.fromkeys(np.asarray(labels).tolist())))

    def encode(self, labels):
        order = self.classes.tolist()
        if not set(np.asarray(labels).tolist()) <= set(order):
            raise DataError("unknown")
        return np.eye(len(order), dtype=np.float32)[[order.index(one) for one in labels]]

    def decode(self, rows):
        if rows.shape[1] != len(self.classes):
            raise DataError("width")
        return self.classes[rows.argmax(axis=1)]


class Sorting(Codec):
    def encode(self, labels):
        rows = super().encode(labels)
        labels.sort()
        return rows


class Sharpening(Codec):
    def decode(self, rows):
        found = super().decode(rows)
        rows *= 2
        return found


class Buffered(Codec):
    def encode(self, labels):
        rows = super().encode(labels)
        if not hasattr(self, "rows") or self.rows.shape != rows.shape:
            self.rows = rows
        self.rows[...] = rows
        return self.rows


class AnyWidth(Codec):
    def decode(self, rows):
        return self.classes[np.argmax(rows[:, : len(self.classes)], axis=1)]


@pytest.mark.parametrize(
    ("codec", "law"),
    [
        (Wide, "rows"),
        (Soft, "rows"),
        (Off, "round_trip"),
        (Strings, "round_trip"),
        (Loose, "immutable"),
        (Lenient, "unknown"),
        (Nothing, "unknown"),
        (AnyWidth, "unknown"),
        (FirstSeen, "fit"),
        (Sorting, "untouched"),
        (Sharpening, "untouched"),
        (Buffered, "pure"),
        (17, "call"),
        (raising, "call"),
    ],
)
def test_a_wrong_codec_is_caught_by_the_law_it_breaks(codec, law):
    with pytest.raises(LawError) as info:
        check_codec(codec, np.array([3, 1, 2, 3]))
    assert law in info.value.report.broken


def test_a_right_codec_of_ones_own_is_proved():
    assert check_codec(Codec, np.array([3, 1, 2, 3])).violations == ()
