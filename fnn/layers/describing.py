"""What a layer is called in a table or a picture, and how large what it makes can be."""

from __future__ import annotations

import inspect
import math
import unicodedata
from collections.abc import Iterator
from typing import Any

from fnn.kernels.values import count_numbers, is_tuple_of_shapes
from fnn.layers.calls import ChildInit, Shape
from fnn.layers.combinators import named
from fnn.layers.contract import Layer
from fnn.layers.making import elementwise, make_layer
from fnn.layers.wiring import AROUND, COMPOSED, bare
from fnn.recipe import Recipe


def kind_of(layer: Layer) -> str:
    """Return the constructor of a layer and its options, initializers left out."""
    recipe = layer.made_by()
    while recipe.call is named:
        recipe = recipe.args[1].made_by()
    options = {name: value for name, value in recipe.kwargs.items() if not name.startswith("init_")}
    if recipe.call in COMPOSED:  # What they are made of has rows of its own.
        given = [value for value in recipe.args if not isinstance(value, Layer)]
        more = {name: value for name, value in options.items() if not isinstance(value, Layer)}
        return repr(Recipe(recipe.call, tuple(given), more)).removesuffix("()")
    if recipe.call in (elementwise, make_layer, Layer):
        # Made of functions, whose names say less than the one that the layer was given.
        return layer.name
    args = recipe.args
    if recipe.call in AROUND:
        args = (_Text(kind_of(args[0])), *args[1:])
    return repr(Recipe(recipe.call, args, options))


class _Text(str):
    """Text that stands for itself where a value is printed."""

    __slots__ = ()
    __repr__ = str.__str__


def shape_text(shape: Shape) -> str:
    """Return a shape as it is read: "3×28×28", of a tuple "16, 16"."""
    if is_tuple_of_shapes(shape):
        return ", ".join(map(shape_text, shape))
    return "×".join(map(str, shape)) or "()"


def columns(text: str) -> int:
    """Return how many letters' width a text takes: letters of Chinese, Japanese and Korean take two."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF")
        for each in text
    )


_PLACE = 64
"""Numbers that would take the memory of where the values of one place of all windows lie."""


def largest_made(call: ChildInit, layer: Layer) -> int:
    """Return a bound on how many numbers a layer makes of an example, whatever its options are.

    Options that are sizes of windows or padding tell it by their types: an image is padded by no more
    than the product of the sizes and twice the padding, and every place in a window has an index.
    """
    made, numbers = bare(layer).recipe, count_numbers(call.out_shape)
    names = inspect.signature(made.call).parameters
    sizes, window, pads = [], 1, [0]
    for name, value in inspect.signature(made.call).bind(*made.args, **made.kwargs).arguments.items():
        kind = str(names[name].annotation)
        if "Sizes" in kind:
            sizes.append(max(_integers(value), default=1))
            window = sizes[-1] if names[name].default is inspect.Parameter.empty else window
        elif "Padding" in kind:
            pads.append(max(_integers(value), default=0))
    if not sizes or is_tuple_of_shapes(call.in_shape):
        return numbers
    more = math.prod(sizes) + 2 * max(pads)
    n_channels, *space = call.in_shape
    padded = n_channels * math.prod(n + more for n in space)
    return max(numbers, padded, _PLACE * window ** len(space))


def _integers(value: Any) -> Iterator[int]:
    if isinstance(value, tuple):
        for each in value:
            yield from _integers(each)
    elif isinstance(value, int):
        yield value
