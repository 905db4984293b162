"""First values of parameters: functions (key, shape, fan_in, fan_out) -> float32 array.

An initialiser may take fewer arguments, from the right: `lambda key, shape: ...` will do. Here
fan_in is the number of inputs that one output sums over, and fan_out the number of outputs that one
input reaches; a layer passes both. Called without them, they follow from the shape: (n_in, n_out)
for two axes, (channels, in_channels, *window) for more.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import attrs
import numpy as np

from fnn.errors import OptionError, ShapeError
from fnn.keys import Key
from fnn.options import real
from fnn.registry import Registry
from fnn.tree import Array

Initializer: TypeAlias = Callable[..., Any]
Shape: TypeAlias = tuple[int, ...]


def draw(init: Initializer, key: Key, shape: Shape, fan_in: int, fan_out: int) -> Array:
    """Call `init` with as many arguments as it takes; return float32 of exactly `shape`.

    Raises:
        ShapeError: If what comes has another shape.
        OptionError: If what comes is not finite.
    """
    arguments: tuple[Any, ...] = (key, shape, fan_in, fan_out)
    parameters = inspect.signature(init).parameters.values()
    if not any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        arguments = arguments[: sum(parameter.kind in positional for parameter in parameters)]
    values = np.asarray(init(*arguments))
    if values.shape != shape:
        raise ShapeError(f"expected {init!r} to return shape {shape}, got {values.shape}")
    values = values.astype("float32")
    if not np.isfinite(values).all():
        raise OptionError(f"expected {init!r} to return finite float32 values")
    return values


def _fans(shape: Shape, fan_in: int | None, fan_out: int | None) -> tuple[float, float]:
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


def zeros(key: Key, shape: Shape) -> Array:
    """Return zeros."""
    return np.zeros(shape, "float32")


def ones(key: Key, shape: Shape) -> Array:
    """Return ones."""
    return np.ones(shape, "float32")


def _finite(who: Any, attribute: Any, value: Any) -> None:
    real(type(who).__name__, attribute.name, value)


# Lower-case classes: they are used as functions are, and equal arguments make equal initialisers.


@attrs.frozen
class constant:  # noqa: N801
    """Fill with `value`."""

    value: float = attrs.field(validator=_finite)

    def __call__(self, key: Key, shape: Shape) -> Array:
        """Return the filled array."""
        return np.full(shape, self.value, "float32")


@attrs.frozen
class normal:  # noqa: N801
    """Draw from N(mean, std²), untruncated."""

    std: float = attrs.field(default=1.0, validator=_finite)
    mean: float = attrs.field(default=0.0, validator=_finite)

    def __attrs_post_init__(self) -> None:
        real("normal", "std", self.std, least=0)

    def __call__(self, key: Key, shape: Shape) -> Array:
        """Return the drawn array."""
        return _normal(key, shape, self.std, self.mean)


@attrs.frozen
class uniform:  # noqa: N801
    """Draw uniformly from [low, high)."""

    low: float = attrs.field(default=-1.0, validator=_finite)
    high: float = attrs.field(default=1.0, validator=_finite)

    def __attrs_post_init__(self) -> None:
        real("uniform", "high", self.high, least=self.low)

    def __call__(self, key: Key, shape: Shape) -> Array:
        """Return the drawn array."""
        return _uniform(key, shape, self.low, self.high)


def glorot_normal(
    key: Key, shape: Shape, fan_in: int | None = None, fan_out: int | None = None
) -> Array:
    """Draw from N(0, 2 / (fan_in + fan_out)). Glorot & Bengio (2010), eq. 12."""
    return _normal(key, shape, math.sqrt(2.0 / sum(_fans(shape, fan_in, fan_out))))


def glorot_uniform(
    key: Key, shape: Shape, fan_in: int | None = None, fan_out: int | None = None
) -> Array:
    """Draw uniformly from ±√(6 / (fan_in + fan_out)). Glorot & Bengio (2010), eq. 16."""
    limit = math.sqrt(6.0 / sum(_fans(shape, fan_in, fan_out)))
    return _uniform(key, shape, -limit, limit)


def he_normal(key: Key, shape: Shape, fan_in: int | None = None, fan_out: int | None = None) -> Array:
    """Draw from N(0, 2 / fan_in). He et al. (2015), eq. 10."""
    return _normal(key, shape, math.sqrt(2.0 / _fans(shape, fan_in, fan_out)[0]))


def he_uniform(key: Key, shape: Shape, fan_in: int | None = None, fan_out: int | None = None) -> Array:
    """Draw uniformly from ±√(6 / fan_in), of variance 2 / fan_in. He et al. (2015), eq. 10."""
    limit = math.sqrt(6.0 / _fans(shape, fan_in, fan_out)[0])
    return _uniform(key, shape, -limit, limit)


def lecun_normal(
    key: Key, shape: Shape, fan_in: int | None = None, fan_out: int | None = None
) -> Array:
    """Draw from N(0, 1 / fan_in). LeCun et al. (1998), eq. 16."""
    return _normal(key, shape, math.sqrt(1.0 / _fans(shape, fan_in, fan_out)[0]))


def lecun_uniform(
    key: Key, shape: Shape, fan_in: int | None = None, fan_out: int | None = None
) -> Array:
    """Draw uniformly from ±√(3 / fan_in), of variance 1 / fan_in. LeCun et al. (1998), eq. 16."""
    limit = math.sqrt(3.0 / _fans(shape, fan_in, fan_out)[0])
    return _uniform(key, shape, -limit, limit)


INITIALIZERS: Registry[Initializer] = Registry(
    "initializer",
    {
        "zeros": zeros,
        "ones": ones,
        "normal": normal(),
        "uniform": uniform(),
        "glorot_normal": glorot_normal,
        "glorot_uniform": glorot_uniform,
        "he_normal": he_normal,
        "he_uniform": he_uniform,
        "lecun_normal": lecun_normal,
        "lecun_uniform": lecun_uniform,
    },
)
