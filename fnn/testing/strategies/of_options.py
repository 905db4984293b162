"""What the strategies of layers are made of: options, initializers, and the rows of their tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from hypothesis import strategies as st

from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.layers.initializers import INITIALIZERS, Initializer, constant, normal, uniform

Layers: TypeAlias = st.SearchStrategy[Layer]
Maker: TypeAlias = Callable[[Shape], Layers]
Rows: TypeAlias = dict[str, tuple[int | range, int, Maker]]
"""By name of the constructor: axes that one example has (at least, or within a range), weight among the
others (0: together with all of weight 0), strategy."""


_OF_MATRICES = ("orthogonal", "identity")
"""Initializers by name that do not take every shape."""


def initializers() -> st.SearchStrategy[Initializer]:
    """Return every registered initializer, and those with numbers of their own."""
    numbers = st.sampled_from([0.5, 1.0, 0.01])
    return st.one_of(
        st.sampled_from([INITIALIZERS[name] for name in INITIALIZERS if name not in _OF_MATRICES]),
        st.builds(normal, numbers),
        st.builds(uniform, numbers.map(lambda n: -n), numbers),
        st.builds(constant, st.sampled_from([0.5, -1.0])),
    )


def options(**given: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return keyword arguments; each is left at its default as often as not."""
    return st.fixed_dictionaries({}, optional=given)


def pads(sides: Shape, most: Shape) -> st.SearchStrategy[Any]:
    """Return paddings of up to `most` rows; images that have grown large are left as they are."""
    most = tuple(m if n <= 5 else 0 for n, m in zip(sides, most, strict=True))
    pairs = st.tuples(*(st.tuples(st.integers(0, m), st.integers(0, m)) for m in most))
    return st.one_of(st.sampled_from(["valid", "same"]), st.integers(0, min(most)), pairs)


def laid(padding: Any, sides: Shape, extent: int) -> Shape:
    """Return the least sides of the padded image as far as a window of `extent` can rely on them."""
    if padding == "same":  # It pads for whatever window there is.
        return tuple(max(n, extent) for n in sides)
    if padding == "valid":
        return sides
    if isinstance(padding, int):
        return tuple(n + 2 * padding for n in sides)
    return tuple(n + a + b for n, (a, b) in zip(sides, padding, strict=True))


def per_axis(
    draw: st.DrawFn, is_one: bool, most: Shape, least: int = 1, cap: int = 3
) -> tuple[Any, Shape]:
    """Draw an option: one integer that fits all axes or one per axis; return it, and it per axis."""
    if is_one:
        one = draw(st.integers(least, max(least, min(cap, *most))))
        return one, (one,) * len(most)
    each = tuple(draw(st.integers(least, max(least, min(cap, m)))) for m in most)
    return each, each


def plain(make: Callable[..., Layer], *given: Any) -> Maker:
    """Return the strategy of a constructor with these arguments, for any shape."""
    return lambda in_shape: st.builds(make, *map(st.just, given))


def one(make: Callable[..., Layer], *values: float) -> Maker:
    """Return the strategy of a constructor with one of these values, for any shape."""
    return lambda in_shape: st.builds(make, st.sampled_from(values))
