"""First values of parameters: functions (key, shape, fan_in, fan_out) -> float32 array.

An initialiser may take fewer arguments, from the right: `lambda key, shape: ...` will do. Here
fan_in is the number of inputs that one output sums over, and fan_out the number of outputs that one
input reaches; a layer passes both. Called without them, they follow from the shape: (n_in, n_out)
for two axes, (channels, in_channels, *window) for more.
"""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, TypeAlias

import attrs
import numpy as np

from fnn.errors import DTypeError, OptionError, ShapeError
from fnn.keys import Key
from fnn.options import real
from fnn.recipe import HasRecipe, Recipe, constructor
from fnn.registry import Registry
from fnn.tree import Array

Initializer: TypeAlias = Callable[..., Any]
Shape: TypeAlias = tuple[int, ...]

INITIALIZERS: Registry[Initializer] = Registry("initializer", package="fnn.layers")
"""Initializers by name: `INITIALIZERS["he_normal"]`."""

_shapes_only: ContextVar[bool] = ContextVar("shapes_only", default=False)


@contextlib.contextmanager
def shapes_only() -> Iterator[None]:
    """Have `draw` return arrays that repeat one zero and take no memory, whatever their shape.

    So that the shapes which a network would have can be compared before anything is allocated.
    """
    token = _shapes_only.set(True)
    try:
        yield
    finally:
        _shapes_only.reset(token)


def are_shapes_only() -> bool:
    """Return whether it is shapes alone that are asked for, and values are none."""
    return _shapes_only.get()


def outline(shape: Shape) -> Array:
    """Return an array that repeats one zero and takes no memory."""
    zero = np.zeros((), "float32")
    zero.setflags(write=False)  # Immutable down to its base, so that no tree copies it.
    try:
        return np.broadcast_to(zero, shape)
    except ValueError:
        raise ShapeError(f"expected a leaf that an array can hold, got shape {shape}") from None


def draw(init: Initializer, key: Key, shape: Shape, fan_in: int, fan_out: int) -> Array:
    """Call `init` with as many arguments as it takes; return float32 of exactly `shape`.

    Raises:
        OptionError: If `init` is no function, or what comes is not finite.
        DTypeError: If what comes is not real numbers.
        ShapeError: If it has another shape.
    """
    if not callable(init):
        hint = f"; write INITIALIZERS[{init!r}]" if isinstance(init, str) else ""
        raise OptionError(f"expected an initializer (key, shape, ...), got {init!r}{hint}")
    if init in (normal, uniform):
        init = init()  # Named as its siblings are, without numbers: those by default.
    if _shapes_only.get():
        return outline(shape)
    arguments = (key, shape, fan_in, fan_out)[: _count_arguments(init)]
    with np.errstate(over="ignore"):  # Overflow shows in the values, which are checked.
        values = np.asarray(init(*arguments))
        if values.dtype.kind not in "fiub":
            raise DTypeError(f"expected {_name(init)} to return real numbers, got {values.dtype}")
        if values.shape != shape:
            raise ShapeError(f"expected {_name(init)} to return shape {shape}, got {values.shape}")
        values = values.astype("float32")
    if not np.isfinite(values).all():
        raise OptionError(f"expected {_name(init)} to return finite float32 values")
    values.setflags(write=False)  # New here, and given away: a tree need not copy it.
    return values


def _name(init: Initializer) -> str:
    # No repr of what is a user's: it may hold an address, which would differ from run to run.
    return repr(init) if isinstance(init, Drawn) else getattr(init, "__name__", type(init).__name__)


def _count_arguments(init: Initializer) -> int:
    kinds = [parameter.kind for parameter in inspect.signature(init).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return 4
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(kind in positional for kind in kinds)


def fans_of(shape: Shape, fan_in: int | None, fan_out: int | None) -> tuple[float, float]:
    """Return the fans that were given, or those that follow from the shape."""
    if fan_in is None or fan_out is None:
        if len(shape) == 2:
            default = shape
        else:
            window = math.prod(shape[2:])
            default = (math.prod(shape[1:2]) * window, math.prod(shape[:1]) * window)
        fan_in = default[0] if fan_in is None else fan_in
        fan_out = default[1] if fan_out is None else fan_out
    if fan_in < 1 or fan_out < 1:
        raise ShapeError(f"expected fans of 1 or more, got {fan_in} and {fan_out} for shape {shape}")
    return fan_in, fan_out


def _normal(key: Key, shape: Shape, std: float, mean: float = 0.0) -> Array:
    return key.generator().standard_normal(shape, "float32") * np.float32(std) + np.float32(mean)


def _uniform(key: Key, shape: Shape, low: float, high: float) -> Array:
    return key.generator().random(shape, "float32") * np.float32(high - low) + np.float32(low)


@INITIALIZERS.builtin("zeros")
def zeros(key: Key, shape: Shape, fan_in: int | None = None, fan_out: int | None = None) -> Array:
    """Return zeros."""
    return np.zeros(shape, "float32")


@INITIALIZERS.builtin("ones")
def ones(key: Key, shape: Shape, fan_in: int | None = None, fan_out: int | None = None) -> Array:
    """Return ones."""
    return np.ones(shape, "float32")


@attrs.frozen(eq=False, repr=False)
class Drawn(HasRecipe):
    """An initializer with numbers of its own; it prints, compares and pickles by its recipe."""

    draw: Callable[..., Array]
    takes_fans: bool = attrs.field(default=False, kw_only=True)
    recipe: Recipe | None = None
    where: str = ""

    def direct_recipe(self) -> Recipe:
        """Return the call of `Drawn` itself."""
        return Recipe(Drawn, (self.draw,), {"takes_fans": self.takes_fans})

    def __call__(
        self, key: Key, shape: Shape, fan_in: int | None = None, fan_out: int | None = None
    ) -> Array:
        """Return the drawn array; the fans matter to some."""
        return self.draw(key, shape, fan_in, fan_out) if self.takes_fans else self.draw(key, shape)


@constructor
def constant(value: float) -> Drawn:
    """Fill with `value`."""
    value = real("constant", "value", value)
    return Drawn(lambda key, shape: np.full(shape, value, "float32"))


@constructor
def normal(std: float = 1.0, mean: float = 0.0) -> Drawn:
    """Draw from N(mean, std²), untruncated."""
    std, mean = real("normal", "std", std, least=0), real("normal", "mean", mean)
    return Drawn(lambda key, shape: _normal(key, shape, std, mean))


INITIALIZERS.builtin("normal")(normal())


@constructor
def uniform(low: float = -1.0, high: float = 1.0) -> Drawn:
    """Draw uniformly between `low` and `high`."""
    low = real("uniform", "low", low)
    high = real("uniform", "high", high, least=low)
    return Drawn(lambda key, shape: _uniform(key, shape, low, high))


INITIALIZERS.builtin("uniform")(uniform())


@INITIALIZERS.builtin("glorot_normal")
def glorot_normal(
    key: Key, shape: Shape, fan_in: int | None = None, fan_out: int | None = None
) -> Array:
    """Draw from N(0, 2 / (fan_in + fan_out)). Glorot & Bengio (2010), eq. 12."""
    return _normal(key, shape, math.sqrt(2.0 / sum(fans_of(shape, fan_in, fan_out))))


@INITIALIZERS.builtin("glorot_uniform")
def glorot_uniform(
    key: Key, shape: Shape, fan_in: int | None = None, fan_out: int | None = None
) -> Array:
    """Draw uniformly from ±√(6 / (fan_in + fan_out)). Glorot & Bengio (2010), eq. 16."""
    limit = math.sqrt(6.0 / sum(fans_of(shape, fan_in, fan_out)))
    return _uniform(key, shape, -limit, limit)


@INITIALIZERS.builtin("he_normal")
def he_normal(key: Key, shape: Shape, fan_in: int | None = None, fan_out: int | None = None) -> Array:
    """Draw from N(0, 2 / fan_in). He et al. (2015), eq. 10."""
    return _normal(key, shape, math.sqrt(2.0 / fans_of(shape, fan_in, fan_out)[0]))


@INITIALIZERS.builtin("he_uniform")
def he_uniform(key: Key, shape: Shape, fan_in: int | None = None, fan_out: int | None = None) -> Array:
    """Draw uniformly from ±√(6 / fan_in), of variance 2 / fan_in. He et al. (2015), eq. 10."""
    limit = math.sqrt(6.0 / fans_of(shape, fan_in, fan_out)[0])
    return _uniform(key, shape, -limit, limit)


@INITIALIZERS.builtin("lecun_normal")
def lecun_normal(
    key: Key, shape: Shape, fan_in: int | None = None, fan_out: int | None = None
) -> Array:
    """Draw from N(0, 1 / fan_in). LeCun et al. (1998), eq. 16."""
    return _normal(key, shape, math.sqrt(1.0 / fans_of(shape, fan_in, fan_out)[0]))


@INITIALIZERS.builtin("lecun_uniform")
def lecun_uniform(
    key: Key, shape: Shape, fan_in: int | None = None, fan_out: int | None = None
) -> Array:
    """Draw uniformly from ±√(3 / fan_in), of variance 1 / fan_in. LeCun et al. (1998), eq. 16."""
    limit = math.sqrt(3.0 / fans_of(shape, fan_in, fan_out)[0])
    return _uniform(key, shape, -limit, limit)
