"""Rules of normalisation: over the batch, over the features of an example, over groups of channels."""

from __future__ import annotations

import math
from typing import Any

from fnn.errors import ShapeError
from fnn.interop.arrays import functions as a
from fnn.interop.arrays.translating import Run, rules
from fnn.interop.rules import options_of
from fnn.layers.contract import Layer
from fnn.layers.norm import BatchNorm
from fnn.layers.standardizing import GroupNorm, InstanceNorm, LayerNorm, RMSNorm


def _along(x: Any, axes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape in which an array of the sizes of those axes, in their order, broadcasts."""
    return tuple(n if each in axes else 1 for each, n in enumerate(x.shape))


def _scaled(z: Any, params: Any, shape: tuple[int, ...]) -> Any:
    """Return scale z + shift, of which params may lack both."""
    z = z * params["scale"].reshape(shape) if "scale" in params else z
    return z + params["shift"].reshape(shape) if "shift" in params else z


def _moments(x: Any, axes: tuple[int, ...]) -> tuple[Any, Any]:
    """Return x less its mean and the biased variance; in two passes, for one cancels in float32."""
    centered = x - x.mean(axis=axes, keepdims=True)
    return centered, (centered * centered).mean(axis=axes, keepdims=True)


@rules.of(BatchNorm)
def batch_norm(layer: Layer) -> Run:
    """Standardise over the batch in training, by the running moments in evaluation."""
    o = options_of(layer)

    def run(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        at = o.axis % x.ndim
        wide = _along(x, (at,))
        if not train:
            mean, var = (state[name].reshape(wide) for name in ("mean", "var"))
            return _scaled((x - mean) / a.sqrt(var + o.eps), params, wide), state
        axes = tuple(each for each in range(x.ndim) if each != at)
        count = math.prod(x.shape[each] for each in axes)
        if count < 2:
            expected = "expected 2 or more values per feature in training"
            raise ShapeError(f"{expected}, got {x.shape}")
        centered, var = _moments(x, axes)
        unbiased = var.reshape(-1) * (count / (count - 1))
        batch = {"mean": x.mean(axis=axes), "var": unbiased}
        moved = {
            # What is carried is never differentiated.
            name: a.stop_gradient(o.momentum * state[name] + (1 - o.momentum) * batch[name])
            for name in state
        }
        return _scaled(centered / a.sqrt(var + o.eps), params, wide), moved

    return run


@rules.of(LayerNorm, RMSNorm)
def layer_norm(layer: Layer) -> Run:
    """Standardise every example over axes of its features, or divide it by its root mean square."""
    o, centers = options_of(layer), layer.made_by().call is LayerNorm

    def run(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        given = o.axis if isinstance(o.axis, tuple) else (o.axis,)
        axes = tuple(each % x.ndim for each in given)
        centered, square = _moments(x, axes) if centers else (x, (x * x).mean(axes, keepdims=True))
        return _scaled(centered / a.sqrt(square + o.eps), params, _along(x, axes)), state

    return run


@rules.of(GroupNorm, InstanceNorm)
def group_norm(layer: Layer) -> Run:
    """Standardise every example over groups of its channels and all of space."""
    o = options_of(layer)

    def run(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        batch, channels = x.shape[:2]
        n = getattr(o, "groups", channels)
        centered, var = _moments(x.reshape(batch, n, -1), (2,))
        z = (centered / a.sqrt(var + o.eps)).reshape(x.shape)
        return _scaled(z, params, _along(x, (1,))), state

    return run
