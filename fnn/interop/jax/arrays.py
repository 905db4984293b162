"""The functions of arrays that the rules of layers call, in JAX."""

from __future__ import annotations

import itertools
from typing import Any

from fnn.interop.arrays.functions import register
from fnn.interop.jax.peer import jax, jnp, lax

abs_, exp, expm1, isnan, sign, sqrt, tanh = (
    jnp.abs, jnp.exp, jnp.expm1, jnp.isnan, jnp.sign, jnp.sqrt, jnp.tanh,
)  # fmt: skip
relu, sigmoid, softplus = jax.nn.relu, jax.nn.sigmoid, jax.nn.softplus
gelu, softmax, log_softmax = jax.nn.gelu, jax.nn.softmax, jax.nn.log_softmax
clip, maximum, where = jnp.clip, jnp.maximum, jnp.where
argmax, cumsum, sort = jnp.argmax, jnp.cumsum, jnp.sort
concatenate, expand_dims, flip, moveaxis = jnp.concatenate, jnp.expand_dims, jnp.flip, jnp.moveaxis
repeat, split, stack, swapaxes = jnp.repeat, jnp.split, jnp.stack, jnp.swapaxes
take_along_axis, transpose = jnp.take_along_axis, jnp.transpose
stop_gradient, scan = lax.stop_gradient, lax.scan
numpy_dtype = lambda x: jnp.dtype(x.dtype)  # noqa: E731


def amax(x: Any, axis: int) -> Any:
    """Return the largest along an axis, which stays."""
    return x.max(axis=axis, keepdims=True)


# --- what an array is, and arrays like it ------------------------------------------------------


def is_bool(x: Any) -> bool:
    """Return whether an array holds booleans."""
    return bool(x.dtype == bool)


def is_float(x: Any) -> bool:
    """Return whether an array holds floating numbers, those of 16 bits too."""
    return bool(jnp.issubdtype(x.dtype, jnp.floating))


def is_integer(x: Any) -> bool:
    """Return whether an array holds integers."""
    return bool(jnp.issubdtype(x.dtype, jnp.integer))


def arange_like(x: Any, n: int) -> Any:
    """Return 0 to n - 1."""
    return jnp.arange(n)


def as_dtype_of(x: Any, like: Any) -> Any:
    """Return x in the dtype of another array."""
    return x.astype(like.dtype)


def constant(table: Any, like: Any) -> Any:
    """Return an array of NumPy in the precision of another, if it holds floating numbers."""
    return jnp.asarray(table, like.dtype if table.dtype.kind == "f" else None)


def zeros_like(x: Any, shape: tuple[int, ...]) -> Any:
    """Return zeros in the dtype of x."""
    return jnp.zeros(shape, x.dtype)


def rows(w: Any, tokens: Any) -> Any:
    """Return w[tokens]; NaN for those that are out of range."""
    # What is below 0 would be counted from the end.
    return w.at[jnp.where(tokens < 0, w.shape[0], tokens)].get(mode="fill", fill_value=jnp.nan)


# --- images -------------------------------------------------------------------------------------

_MODES = {"zeros": "constant", "reflect": "reflect", "circular": "wrap", "edge": "edge"}


def pad_images(x: Any, pads: Any, mode: str) -> Any:
    """Add rows around images (batch, channels, *space)."""
    return jnp.pad(x, ((0, 0), (0, 0), *pads), _MODES[mode])


def conv(
    x: Any, w: Any, *, stride: Any, pads: Any, dilation: Any, groups: int, apart: Any = None
) -> Any:
    """Convolve images with w (out, in / groups, *window); the images' values lie `apart`."""
    return lax.conv_general_dilated(
        x, w, stride, pads, lhs_dilation=apart, rhs_dilation=dilation, feature_group_count=groups
    )


def _reduced(x: Any, geometry: Any, start: float, f: Any) -> Any:
    """Return f over every window, `start` being the padding."""
    return lax.reduce_window(
        x,
        start,
        f,
        (1, 1, *geometry.size),
        (1, 1, *geometry.stride),
        ((0, 0), (0, 0), *geometry.pads),
        window_dilation=(1, 1, *geometry.dilation),
    )


def window_sum(x: Any, geometry: Any) -> Any:
    """Return the sum of every window."""
    return _reduced(x, geometry, 0.0, lax.add)


def window_max(x: Any, geometry: Any) -> Any:
    """Return the largest value of every window, of equal ones the first."""
    if set(geometry.dilation) <= {1}:
        return _reduced(x, geometry, -jnp.inf, lax.max)
    # JAX has no derivative of a maximum over windows with gaps: their values side by side instead.
    z = lax.pad(x, jnp.array(-jnp.inf, x.dtype), [(0, 0, 0)] * 2 + [(*p, 0) for p in geometry.pads])
    cuts = [
        [slice(i * d, i * d + (n - 1) * s + 1, s) for i in range(k)]
        for k, d, n, s in zip(
            geometry.size, geometry.dilation, geometry.out, geometry.stride, strict=True
        )
    ]
    side = jnp.stack([z[(..., *at)] for at in itertools.product(*cuts)])
    return jnp.take_along_axis(side, jnp.argmax(side, axis=0)[None], 0)[0]


# --- derivatives, loops and draws -----------------------------------------------------------------


def checkpoint(f: Any, *args: Any) -> Any:
    """Return f of the arguments, and store nothing else for the way back."""
    return jax.checkpoint(f)(*args)


def members(
    f: Any, params: Any, state: Any, x: Any, key: Any, *, n: int, shared: bool
) -> tuple[Any, Any]:
    """Return f of every member, each with params, state and a key of its own."""
    # Something has to have a member for each, also where there are neither params nor state.
    keys = jnp.arange(n) if key is None else jax.random.split(key, n)

    def member(params: Any, state: Any, x: Any, own: Any) -> Any:
        return f(params, state, x, None if key is None else own)

    axes = 0, 0, None if shared else 1, 0
    found: tuple[Any, Any] = jax.vmap(member, in_axes=axes, out_axes=(1, 0))(params, state, x, keys)
    return found


def bernoulli(key: Any, p: float, shape: tuple[int, ...], like: Any) -> Any:
    """Return ones, and zeros with probability 1 - p."""
    return jax.random.bernoulli(key, p, shape).astype(like.dtype)


def normal(key: Any, like: Any) -> Any:
    """Return standard normal numbers in the shape of another array."""
    return jax.random.normal(key, like.shape, like.dtype)


def fold(key: Any, number: int) -> Any:
    """Return another key."""
    return jax.random.fold_in(key, number)


def _register() -> None:
    import sys

    register((jax.Array,), sys.modules[__name__])


_register()
