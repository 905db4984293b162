"""The functions of arrays that the rules of layers call, in PyTorch."""

from __future__ import annotations

import itertools
import math
import sys
from typing import Any

import attrs
import numpy as np

from fnn.interop.arrays.functions import map_value, register
from fnn.interop.rules import needed

torch: Any = needed("torch", "torch")
F: Any = torch.nn.functional


@attrs.frozen(eq=False)
class Draws:
    """What random numbers are drawn with: a generator, or that of PyTorch itself."""

    generator: Any = None


abs_, exp, expm1, isnan, sign, sqrt, tanh = (
    torch.abs, torch.exp, torch.expm1, torch.isnan, torch.sign, torch.sqrt, torch.tanh,
)  # fmt: skip
relu, sigmoid, where = torch.relu, torch.sigmoid, torch.where
moveaxis, swapaxes, transpose = torch.movedim, torch.swapaxes, torch.permute
clip, stack = torch.clamp, torch.stack


def gelu(x: Any, *, approximate: bool) -> Any:
    """Return x Φ(x), or its approximation by tanh, whose constants PyTorch keeps in float32."""
    if not approximate:
        return F.gelu(x)
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def softplus(x: Any) -> Any:
    """Return log(1 + exp(x)), which PyTorch takes for x above 20."""
    return torch.logaddexp(x, torch.zeros_like(x))


def maximum(x: Any, least: float) -> Any:
    """Return x, or a number where that is larger."""
    return torch.clamp(x, min=least)


# --- over an axis -------------------------------------------------------------------------------


def amax(x: Any, axis: int) -> Any:
    """Return the largest along an axis, which stays."""
    return torch.amax(x, axis, keepdim=True)


def argmax(x: Any, axis: int, keepdims: bool = False) -> Any:
    """Return where the largest is, the first of equal ones."""
    return torch.argmax(x, axis, keepdim=keepdims)


def cumsum(x: Any, axis: int) -> Any:
    """Return the sums so far."""
    return torch.cumsum(x, axis)


def softmax(x: Any, axis: int) -> Any:
    """Return shares that sum to 1."""
    return torch.softmax(x, axis)


def log_softmax(x: Any, axis: int) -> Any:
    """Return the logarithms of shares that sum to 1."""
    return torch.log_softmax(x, axis)


def sort(x: Any, axis: int) -> Any:
    """Return the numbers in order."""
    return torch.sort(x, axis).values


# --- arrangement --------------------------------------------------------------------------------


def concatenate(parts: Any, axis: int) -> Any:
    """Return parts one after the other."""
    return torch.cat(list(parts), axis)


def expand_dims(x: Any, axis: int) -> Any:
    """Return x with one more axis."""
    return torch.unsqueeze(x, axis)


def flip(x: Any, axis: Any) -> Any:
    """Return x with an axis, or several, the other way round."""
    return torch.flip(x, axis if isinstance(axis, tuple) else (axis,))


def repeat(x: Any, n: int, axis: int) -> Any:
    """Return every slice n times."""
    return torch.repeat_interleave(x, n, axis)


def split(x: Any, n: int, axis: int) -> Any:
    """Return n equal parts."""
    return torch.tensor_split(x, n, axis)


def take_along_axis(x: Any, at: Any, axis: int) -> Any:
    """Return the elements at these places of an axis."""
    return torch.take_along_dim(x, at, axis)


# --- what an array is, and arrays like it -------------------------------------------------------


def is_bool(x: Any) -> bool:
    """Return whether an array holds booleans."""
    return bool(x.dtype == torch.bool)


def is_float(x: Any) -> bool:
    """Return whether an array holds floating numbers, those of 16 bits too."""
    return bool(x.dtype.is_floating_point)


def is_integer(x: Any) -> bool:
    """Return whether an array holds integers."""
    return not (is_float(x) or is_bool(x) or x.dtype.is_complex)


def arange_like(x: Any, n: int) -> Any:
    """Return 0 to n - 1 on the device of x."""
    return torch.arange(n, device=x.device)


def as_dtype_of(x: Any, like: Any) -> Any:
    """Return x in the dtype of another array."""
    return x.to(like.dtype)


def constant(table: Any, like: Any) -> Any:
    """Return an array of NumPy on the device of another, in its precision if it holds floats."""
    made = torch.from_numpy(np.array(table)).to(like.device)
    return made.to(like.dtype) if table.dtype.kind == "f" else made


def numpy_dtype(x: Any) -> np.dtype[Any]:
    """Return the dtype of NumPy in which tables for x are computed."""
    return np.dtype("float64" if x.dtype == torch.float64 else "float32")


def zeros_like(x: Any, shape: tuple[int, ...]) -> Any:
    """Return zeros in the dtype of x, on its device."""
    return x.new_zeros(shape)


def rows(w: Any, tokens: Any) -> Any:
    """Return w[tokens]; NaN for those that are out of range."""
    n = w.shape[0]
    found = w[tokens.clamp(0, n - 1)] if n else w.new_zeros((*tokens.shape, *w.shape[1:]))
    wrong = (tokens < 0) | (tokens >= n)
    return found.masked_fill(wrong[..., None], math.nan)


# --- images -------------------------------------------------------------------------------------

_MODES: dict[str, Any] = {"reflect": "reflect", "circular": "wrap", "edge": "edge"}


def pad_images(x: Any, pads: Any, mode: str) -> Any:
    """Add rows around images (batch, channels, *space)."""
    if mode == "zeros":
        return _around(x, pads, 0.0)
    for axis, pad in enumerate(pads, start=2):
        at = np.pad(np.arange(x.shape[axis]), pad, _MODES[mode])
        x = x.index_select(axis, torch.from_numpy(at).to(x.device))
    return x


def _around(x: Any, pads: Any, value: float) -> Any:
    flat = [n for pad in reversed(tuple(pads)) for n in pad]
    return F.pad(x, flat, value=value) if any(flat) else x


def conv(
    x: Any, w: Any, *, stride: Any, pads: Any, dilation: Any, groups: int, apart: Any = None
) -> Any:
    """Convolve images with w (out, in / groups, *window); the images' values lie `apart`."""
    if apart is not None and any(n > 1 for n in apart):
        space = [(n - 1) * step + 1 for n, step in zip(x.shape[2:], apart, strict=True)]
        wide = x.new_zeros((*x.shape[:2], *space))
        wide[(..., *(slice(None, None, step) for step in apart))] = x
        x = wide
    same = all(before == after >= 0 for before, after in pads)
    if not same:
        x = _around(x, pads, 0.0)
    padding = tuple(before for before, _ in pads) if same else 0
    f = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[w.ndim - 2]
    return f(x, w, None, tuple(stride), padding, tuple(dilation), groups)


def _side_by_side(x: Any, geometry: Any, start: float) -> Any:
    """Return the values of all windows, by their place in the window."""
    z = _around(x, geometry.pads, start)
    cuts = [
        [slice(i * d, i * d + (n - 1) * s + 1, s) for i in range(k)]
        for k, d, n, s in zip(
            geometry.size, geometry.dilation, geometry.out, geometry.stride, strict=True
        )
    ]
    return torch.stack([z[(..., *at)] for at in itertools.product(*cuts)])


def window_sum(x: Any, geometry: Any) -> Any:
    """Return the sum of every window."""
    return _side_by_side(x, geometry, 0.0).sum(0)


def window_max(x: Any, geometry: Any) -> Any:
    """Return the largest value of every window, of equal ones the first."""
    side = _side_by_side(x, geometry, -math.inf)
    return torch.take_along_dim(side, torch.argmax(side, 0, keepdim=True), 0)[0]


# --- derivatives, loops and draws ---------------------------------------------------------------


def stop_gradient(x: Any) -> Any:
    """Return x without a way back."""
    return x.detach()


def checkpoint(f: Any, *args: Any) -> Any:
    """Return f of the arguments, and store nothing else for the way back."""
    return torch.utils.checkpoint.checkpoint(f, *args, use_reentrant=False)


def scan(f: Any, carry: Any, xs: Any) -> Any:
    """Return what is carried in the end, and y of all steps."""
    inputs, shown = xs
    ys = []
    for t in range(len(inputs)):
        carry, y = f(carry, (inputs[t], None if shown is None else shown[t]))
        ys.append(y)
    return carry, map_value(lambda *each: torch.stack(each), *ys)


def members(
    f: Any, params: Any, state: Any, x: Any, key: Any, *, n: int, shared: bool
) -> tuple[Any, Any]:
    """Return f of every member, each with params and state of its own."""
    # Something has to have a member for each, also where there are neither params nor state.
    axes = 0, 0, None if shared else 1, 0
    mapped = torch.func.vmap(
        lambda params, state, x, _: f(params, state, x, key), axes, (1, 0), randomness="different"
    )
    found: tuple[Any, Any] = mapped(params, state, x, torch.arange(n))
    return found


def bernoulli(key: Draws, p: float, shape: tuple[int, ...], like: Any) -> Any:
    """Return ones, and zeros with probability 1 - p."""
    drawn = torch.rand(tuple(shape), generator=key.generator, dtype=like.dtype, device=like.device)
    return (drawn < p).to(like.dtype)


def normal(key: Draws, like: Any) -> Any:
    """Return standard normal numbers in the shape of another array."""
    return torch.randn(like.shape, generator=key.generator, dtype=like.dtype, device=like.device)


def fold(key: Draws, number: int) -> Draws:
    """Return the same: a generator goes on by itself."""
    return key


register((torch.Tensor, Draws), sys.modules[__name__])
