"""Draws: distinct inputs, parameters off their first values, and inputs that somebody else draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from fnn.errors import OptionError
from fnn.keys import Key
from fnn.layers.contract import Layer
from fnn.testing.values import arrays_of, described, rebuilt, shown

Inputs: TypeAlias = Callable[[Key, int], Any] | None
"""From a key and n to n examples, where the shape of one does not say enough."""


def inputs_of(layer: Layer, in_shape: Any, inputs: Inputs) -> Inputs:
    """Return what draws x: what the caller gave, or what the layer itself declares."""
    own = layer.inputs
    if inputs is not None or own is None:
        return inputs
    return lambda key, n: own(key, n, in_shape)


def spread(shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    """Return distinct values in (-2, 2), apart from one another and from 0: no kink or tie is near."""
    n = int(np.prod(shape))
    places = rng.permutation(n) - (n - 1) / 2 + 0.25 + rng.uniform(-0.2, 0.2, n)
    return (places * (4 / max(n, 8))).reshape(shape)


def perturbed(leaf: Any, rng: np.random.Generator, dtype: str, *, keeps_sign: bool = False) -> Any:
    """Return a float leaf off its first values, which hide errors: biases of 0, scales of 1.

    A state that is positive everywhere (a running variance) stays so: |a + noise| + 1/2.
    """
    if leaf.dtype.kind != "f":
        return leaf.copy()
    noisy = leaf.astype("float64") + 0.3 * rng.normal(size=leaf.shape)
    if keeps_sign and leaf.size and (leaf > 0).all():
        noisy = np.abs(noisy) + 0.5
    return np.asarray(noisy, dtype)  # Of a leaf without axes arithmetic makes a number.


def in_dtype(value: Any, dtype: str) -> Any:
    """Return a read-only copy of an array or of a tuple of them, floats in `dtype`."""
    made = rebuilt(
        value,
        [a.astype(dtype) if a.dtype.kind in "fc" else np.array(a) for a in arrays_of(value, "x")],
    )
    for leaf in arrays_of(made):
        leaf.setflags(write=False)
    return made


def check_inputs(who: str, inputs: Any, key: Key, n: int) -> None:
    """Refuse what does not draw n examples: an array or a tuple of arrays of n rows each.

    Raises:
        OptionError: Saying what came instead.
    """
    if inputs is None:
        return
    expected = "inputs: expected a function (key, n) -> x, an array of n examples or a tuple of them"
    if not callable(inputs):
        raise OptionError(f"{who}: {expected}, got {inputs!r:.80}")
    try:
        drawn = inputs(key, n)
    except Exception as error:
        raise OptionError(f"{who}: inputs: raised {described(error)}") from error
    for part in _parts(drawn):
        fits = isinstance(part, np.ndarray) and part.dtype.kind in "fiub" and part.shape[:1] == (n,)
        if not fits:
            raise OptionError(f"{who}: {expected}, got {shown(part)} for n = {n}")
    if not _parts(drawn):
        raise OptionError(f"{who}: {expected}, got an empty tuple")


def _parts(drawn: Any) -> list[Any]:
    if isinstance(drawn, tuple):
        return [part for each in drawn for part in _parts(each)]
    return [drawn]
