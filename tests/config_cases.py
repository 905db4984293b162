"""Hypothesis strategies for configs: classes with fields of every kind, and values for them."""

from __future__ import annotations

import dataclasses
import enum
import math
from pathlib import Path
from typing import Literal

import attrs
from hypothesis import strategies as st


class Colour(enum.Enum):
    RED = 1
    DARK_RED = 2
    CRIMSON = 1  # Another name of RED.
    NONE = "none"


class Mode(enum.StrEnum):
    FAST = "slow"
    INF = "inf"


@attrs.frozen
class Inner:
    rate: float = 0.1
    nesterov: bool = False
    names: tuple[str, ...] = ()


# What a shell hands over for bytes that are no text, but no pair, which JSON would join to one letter.
LETTERS = st.one_of(
    st.characters(), st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"])
)
TEXTS = st.one_of(
    st.text(LETTERS, max_size=6),
    st.text(',;="[]\\- a1', max_size=8),
    st.sampled_from(
        ["", "none", "True", "inf", "-inf", "nan", "1", "1.0", "RED", "INF", "1,2", "a=1", '"a"', "[1]"]
    ),
)
FLOATS = st.one_of(
    st.floats(), st.sampled_from([0.0, -0.0, 1.0, 1e16, 1e-5, math.inf, -math.inf, math.nan])
)
INTS = st.one_of(st.integers(-5, 5), st.integers(-(10**30), 10**30))
CHOICES = ["a", "b,c", "", '"', 3, True, None]
PAIRS = st.lists(st.lists(INTS, max_size=2).map(tuple), max_size=3).map(tuple)
SIMPLE = [
    (int, INTS),
    (float, FLOATS),
    (str, TEXTS),
    (Path, TEXTS.map(Path)),
    (bool, st.booleans()),
    (Colour, st.sampled_from(Colour)),
    (Mode, st.sampled_from(Mode)),
    (
        Literal["a", "b,c", "", '"', 3, True, None],
        st.sampled_from(["a", "b,c", "", '"', 3, True, None]),
    ),
]
UNIONS = [
    (int | None, INTS | st.none()),
    (float | None, FLOATS | st.none()),
    (float | int, FLOATS | INTS),
    (str | None, TEXTS | st.none()),
    (float | str, FLOATS | TEXTS),
    (int | float | str | bool | None, INTS | FLOATS | TEXTS | st.booleans() | st.none()),
    (Path | None, TEXTS.map(Path) | st.none()),
    (Path | float, TEXTS.map(Path) | FLOATS),
    (Colour | str, st.sampled_from(Colour) | TEXTS),
    (Mode | int | None, st.sampled_from(Mode) | INTS | st.none()),
    (Literal["auto", 0] | str, st.sampled_from(["auto", 0]) | TEXTS),
    (Literal["auto"] | float, st.just("auto") | FLOATS),
    (tuple[int, ...] | str, st.lists(INTS, max_size=3).map(tuple) | TEXTS),
    (tuple[str, ...] | None, st.lists(TEXTS, max_size=3).map(tuple) | st.none()),
    (
        tuple[tuple[int, ...], ...] | None,
        st.lists(st.lists(INTS, max_size=2).map(tuple), max_size=3).map(tuple),
    ),
    (dict[str, int] | None, st.dictionaries(TEXTS, INTS, max_size=3) | st.none()),
]


@st.composite
def kinds(draw, depth=2):
    """Draw a type and a strategy for its values."""
    if depth == 0 or draw(st.integers(0, 2)) == 0:
        return draw(st.sampled_from([*SIMPLE, *UNIONS]))
    hint, values = draw(kinds(depth=depth - 1))
    which = draw(st.sampled_from(["tuple", "list", "dict", "pair"]))
    if which == "tuple":
        return tuple[hint, ...], st.lists(values, max_size=3).map(tuple)
    if which == "list":
        return list[hint], st.lists(values, max_size=3)
    if which == "dict":
        return dict[str, hint], st.dictionaries(TEXTS, values, max_size=3)
    other, others = draw(kinds(depth=0))
    return tuple[hint, other], st.tuples(values, others)


@st.composite
def configs(draw, depth=1):
    """Draw a config of a class that is drawn too: of attrs or a dataclass, with configs within."""
    hints, values = {}, {}
    for i in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from([f"x{i}", f"_x{i}", f"a_b{i}"]))
        if depth and draw(st.integers(0, 3)) == 0:
            inner = draw(configs(depth=depth - 1))
            hints[name], values[name] = type(inner), inner
        else:
            hints[name], strategy = draw(kinds())
            values[name] = draw(strategy)
    by_attrs = draw(st.booleans())
    options = {}
    for name in hints:
        # A default that is another value, the value itself, or none.
        default = draw(st.sampled_from(["absent", "same"]))
        if default == "same":
            make = attrs.Factory if by_attrs else None
            value = values[name]
            options[name] = (
                attrs.field(default=make(lambda value=value: value), kw_only=True)
                if make
                else dataclasses.field(default_factory=lambda value=value: value, kw_only=True)
            )
        else:
            options[name] = attrs.field(kw_only=True) if by_attrs else dataclasses.field(kw_only=True)
    bare = type("Drawn", (), {"__annotations__": hints, **options})
    made = attrs.frozen(bare) if by_attrs else dataclasses.dataclass(frozen=True)(bare)
    given = {name.lstrip("_") if by_attrs else name: value for name, value in values.items()}
    return made(**given)
