"""Layers for operators of arithmetic that the library has none for: between arrays, with constants.

They are what `from_onnx` builds networks of, beside the library's own, and they train as those do. To
load a saved network of them, `load_model` is told by name what they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fnn.errors import OptionError, ShapeError
from fnn.kernels.gaussian import normal_cdf
from fnn.kernels.values import is_integer, is_tuple_of_shapes, length, named_arrays
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer, Traits
from fnn.layers.leaves import Leaf
from fnn.layers.making import elementwise, keeps_shape, make_layer
from fnn.options import flag, real
from fnn.recipe import constructor
from fnn.tree import EMPTY, Array, Tree

ANY = Traits(has_kinks=True, complex_safe=False, takes_integers=True, takes_tuples=True)

# --- single numbers ---------------------------------------------------------------------------

_EACH: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any, Any], Any]]] = {
    "neg": (lambda x: -x, lambda x, y, dy: -dy),
    "sqrt": (np.sqrt, lambda x, y, dy: dy / (2 * y)),
    "reciprocal": (lambda x: 1 / x, lambda x, y, dy: -dy * y * y),
    "log": (np.log, lambda x, y, dy: dy / x),
    "sin": (np.sin, lambda x, y, dy: dy * np.cos(x)),
    "cos": (np.cos, lambda x, y, dy: -dy * np.sin(x)),
    "erf": (
        lambda x: 2 * normal_cdf(x * math.sqrt(2)) - 1,
        lambda x, y, dy: dy * np.exp(-x * x) * (2 / math.sqrt(math.pi)),
    ),
}


def _known(who: str, kind: Any, kinds: Any) -> None:
    if kind not in kinds:
        raise OptionError(f"kind: expected one of {sorted(kinds)}, got {kind!r}", path=(who,))


def _number(who: str, name: str, value: Any) -> float:
    """Return a number, which may be infinite."""
    return value if value in (-math.inf, math.inf) else real(who, name, value)


@constructor
def Each(kind: str) -> Layer:
    """Map every number: "neg", "sqrt", "reciprocal", "log", "sin", "cos" or "erf"."""
    _known("Each", kind, _EACH)
    return elementwise(kind, *_EACH[kind])


@constructor
def Clip(low: float = -math.inf, high: float = math.inf) -> Layer:
    """Cut off below and above: y = min(max(x, low), high)."""
    low, high = _number("Clip", "low", low), _number("Clip", "high", high)

    def f_vjp(x: Array, y: Array, dy: Array) -> Array:
        return np.where((x > low) & (x < high), dy, dy.dtype.type(0))

    return elementwise(
        "clip", lambda x: np.clip(x, low, high), f_vjp, has_kinks=True, complex_safe=False
    )


# --- two arrays -------------------------------------------------------------------------------

_PAIRS: dict[str, tuple[Callable[..., Any], Callable[..., tuple[Any, Any]]]] = {
    "add": (np.add, lambda a, b, y, dy: (dy, dy)),
    "sub": (np.subtract, lambda a, b, y, dy: (dy, -dy)),
    "mul": (np.multiply, lambda a, b, y, dy: (dy * b, dy * a)),
    "div": (np.divide, lambda a, b, y, dy: (dy / b, -dy * y / b)),
    "pow": (np.power, lambda a, b, y, dy: (dy * b * np.power(a, b - 1), _along_exponent(a, y, dy))),
    "max": (np.maximum, lambda a, b, y, dy: (_where(a >= b, dy), _where(a < b, dy))),
    "min": (np.minimum, lambda a, b, y, dy: (_where(a <= b, dy), _where(a > b, dy))),
}
_SAYS: dict[str, Callable[..., Any]] = {
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "equal": np.equal,
    "and": np.logical_and,
    "or": np.logical_or,
    "xor": np.logical_xor,
}
PAIRS = frozenset(_PAIRS)
SAYS = frozenset(_SAYS)


def _where(here: Array, dy: Array) -> Array:
    return np.where(here, dy, dy.dtype.type(0))


def _along_exponent(a: Array, y: Array, dy: Array) -> Array:
    safe = np.where(a > 0, a, a.dtype.type(1))
    return dy * y * np.log(safe)


def joint_shape(who: str, *shapes: Shape) -> Shape:
    """Return the shape that arrays of one number of axes broadcast to.

    Raises:
        ShapeError: If they do not; the batch stands before each, so that the axes are as many.
    """
    if len({len(shape) for shape in shapes}) > 1:
        raise ShapeError(f"{who}: expected arrays of one number of axes, got examples of {shapes}")
    try:
        return tuple(np.broadcast_shapes(*shapes))
    except ValueError:
        raise ShapeError(f"{who}: expected shapes that broadcast, got examples of {shapes}") from None


def lessened(d: Array, shape: tuple[int, ...]) -> Array:
    """Return the sum of a derivative over the axes along which an array of that shape was repeated."""
    d = np.add.reduce(d, axis=tuple(range(d.ndim - len(shape)))) if d.ndim > len(shape) else d
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and d.shape[i] != 1)
    return np.add.reduce(d, axis=axes, keepdims=True) if axes else d


def _parts(in_shape: Shape, n: int, who: str) -> None:
    if not is_tuple_of_shapes(in_shape) or len(in_shape) != n:
        raise ShapeError(f"{who}: expected {n} arrays, got in_shape={in_shape}")


@constructor
def Between(kind: str) -> Layer:
    """Compute with two arrays, number by number: "add", "sub", "mul", "div", "pow", "max" or "min".

    Also "less", "less_equal", "greater", "greater_equal", "equal", "and", "or" and "xor", which give
    truth values. Axes of size 1 are repeated.
    """
    _known("Between", kind, PAIRS | SAYS)

    def shapes(in_shape: Shape) -> Any:
        _parts(in_shape, 2, kind)
        return joint_shape(kind, *in_shape), {}, {}

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        a, b = x
        if kind in SAYS:
            return _SAYS[kind](a, b), state, lambda dy: (EMPTY, tuple(map(_nothing, x)))
        f, back = _PAIRS[kind]
        y = f(a, b)

        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            if not need_dx:
                return EMPTY, None
            da, db = back(a, b, y, dy)
            return EMPTY, (lessened(da, a.shape), lessened(db, b.shape))

        return y, state, pullback

    return make_layer(kind, shapes, fwd, traits=ANY, flops=1)


def _nothing(part: Array) -> Any:
    """Return the derivative of what only truth values depend on: none of integers, else zeros."""
    return None if is_integer(part) else np.zeros_like(part)


@constructor
def WithNumber(kind: str, number: float, *, first: bool = False) -> Layer:
    """Compute with a number that stays as it is: y = x + number, x - number and so on, as `Between`.

    Args:
        kind: As in `Between`.
        number: The number.
        first: Whether it stands first: y = number - x.
    """
    _known("WithNumber", kind, PAIRS | SAYS)
    number = _number("WithNumber", "number", number)
    first = flag("WithNumber", "first", first)

    def sides(x: Array) -> tuple[Any, Any]:
        # In the dtype of x, as a constant of the model has it.
        c = x.dtype.type(number)
        return (c, x) if first else (x, c)

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        a, b = sides(x)
        if kind in SAYS:
            return _SAYS[kind](a, b), state, lambda dy: (EMPTY, _nothing(x))
        f, back = _PAIRS[kind]
        y = f(a, b)
        if is_integer(x):
            return y, state, lambda dy: (EMPTY, None)
        return y, state, lambda dy: (EMPTY, back(a, b, y, dy)[first])

    traits = Traits(has_kinks=True, complex_safe=False, takes_integers=True)
    return make_layer(kind, keeps_shape, fwd, traits=traits, flops=1)


@constructor
def WithArray(kind: str, shape: Shape, *, first: bool = False) -> Layer:
    """Compute with an array that all examples share: y = x + w, x w and so on, as `Between`.

    Args:
        kind: "add", "sub", "mul", "div", "pow", "max" or "min".
        shape: Shape of the array, which broadcasts with that of an example.
        first: Whether it stands first: y = w - x.

    Params:
        w: The array, of that shape, zeros at first.
    """
    _known("WithArray", kind, PAIRS)
    first = flag("WithArray", "first", first)
    f, back = _PAIRS[kind]
    leaf = Leaf(tuple(shape))

    def shapes(in_shape: Shape) -> Any:
        own = (*(1,) * (len(in_shape) - len(shape)), *shape)
        return joint_shape(kind, in_shape, own), {"w": leaf}, {}

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        w = params["w"]
        wide = w.reshape(*(1,) * (x.ndim - w.ndim), *w.shape)
        a, b = (wide, x) if first else (x, wide)
        y = f(a, b)

        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            both = back(a, b, y, dy)
            dx, dw = (both[1], both[0]) if first else both
            dw = lessened(dw, wide.shape).reshape(w.shape)
            return Tree.own({"w": dw.copy()}), lessened(dx, x.shape)

        return y, state, pullback

    return make_layer(kind, shapes, fwd, traits=Traits(has_kinks=True, complex_safe=False), flops=1)


# --- constants and choices --------------------------------------------------------------------


@constructor
def Held(shape: Shape) -> Layer:
    """Give every example the same array, whatever it is: y[n] = w.

    Args:
        shape: Shape of the array.

    Params:
        w: The array, of that shape, zeros at first.
    """
    leaf = Leaf(tuple(shape))

    def shapes(in_shape: Shape) -> Any:
        return tuple(shape), {"w": leaf}, {}

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            return Tree.own({"w": np.add.reduce(dy, axis=0)}), _nothing(x)

        return np.repeat(params["w"][None], length(x), axis=0), state, pullback

    return make_layer("held", shapes, fwd, traits=_TOLD, flops=0)


_TOLD = Traits(complex_safe=False, takes_integers=True)


@constructor
def Told(values: Any) -> Layer:
    """Give every example the same truth values or integers, nested tuples of them."""
    held = np.array(values)
    if held.dtype.kind not in "bi":
        raise OptionError(
            f"values: expected truth values or integers, got {values!r:.80}", path=("Told",)
        )

    def shapes(in_shape: Shape) -> Any:
        return held.shape, {}, {}

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        return np.repeat(held[None], length(x), axis=0), state, lambda dy: (EMPTY, _nothing(x))

    return make_layer("told", shapes, fwd, traits=_TOLD, flops=0)


@constructor
def Chosen() -> Layer:
    """Choose between two arrays, number by number: y = a where c, else b, of the tuple (c, a, b)."""

    def shapes(in_shape: Shape) -> Any:
        _parts(in_shape, 3, "chosen")
        return joint_shape("chosen", *in_shape), {}, {}

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        c, a, b = x

        def pullback(dy: Any, *, need_dx: bool = True) -> Any:
            if dy is None:
                return EMPTY, tuple(None for _ in named_arrays(x))
            parts = _where(c, dy), _where(~c, dy)
            return EMPTY, (None, *(lessened(d, of.shape) for d, of in zip(parts, (a, b), strict=True)))

        return np.where(c, a, b), state, pullback

    return make_layer("chosen", shapes, fwd, traits=ANY, flops=0)


@constructor
def Negated() -> Layer:
    """Turn truth values round."""

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        return ~x, state, lambda dy: (EMPTY, None)

    return make_layer("negated", keeps_shape, fwd, traits=_TOLD, flops=0)


@constructor
def AsNumbers(dtype: str) -> Layer:
    """Make floating numbers of integers or truth values."""

    def fwd(params: Any, state: Any, x: Any, train: Any, key: Any) -> Any:
        return x.astype(dtype), state, lambda dy: (EMPTY, None)

    return make_layer("as_numbers", keeps_shape, fwd, traits=_TOLD, flops=0)
