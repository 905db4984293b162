"""Sliding windows: their geometry, and the batch-innermost memory format they run over.

Images are logically (batch, channels, *space) and physically (channels, *space, batch), as a
transposed view. Every slice of a window then runs over long contiguous stretches, a convolution's
product lands directly in the next layer's format, and ufuncs keep the order by themselves.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import TypeAlias

import attrs
import numpy as np

from fnn.errors import OptionError, ShapeError
from fnn.kernels.memory import empty
from fnn.options import sizes
from fnn.tree import Array

Pairs: TypeAlias = tuple[tuple[int, int], ...]
Sizes: TypeAlias = int | tuple[int, ...]
Padding: TypeAlias = str | int | Pairs


@attrs.frozen(
    eq=False
)  # One for all calls of `windows` with equal arguments; what keys a cache hashes fast.
class Windows:
    """Where windows lie along each spatial axis of one image size.

    `over` is how far the last window reaches beyond the padding that was asked for; `pads` has it.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: Pairs
    space: tuple[int, ...]
    out: tuple[int, ...]
    padded: tuple[int, ...]
    over: tuple[int, ...]

    def offsets(self) -> list[tuple[int, ...]]:
        """Return the places inside a window, in row-major order."""
        return list(itertools.product(*map(range, self.size)))

    def tile(self) -> bool:
        """Return whether every value of the padded image lies in one window and no more."""
        return (
            self.stride == self.size
            and set(self.dilation) <= {1}
            and all(n * k == p for n, k, p in zip(self.out, self.size, self.padded, strict=True))
        )

    def extents(self) -> tuple[int, ...]:
        """Return how many rows a window spans, the gaps between its values included."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.size, self.dilation, strict=True))

    def misses(self) -> bool:
        """Return whether some window holds nothing of the image, only padding.

        It takes no longer for large images or windows than for small ones.
        """
        axes = zip(self.size, self.stride, self.dilation, self.pads, self.space, self.out, strict=True)
        return any(_misses(*axis) for axis in axes)

    def cuts(self) -> tuple[tuple[slice, ...], ...]:
        """Index the first value of all windows, the second and so on, in row-major order."""
        return _cuts(self)

    def interior(self) -> tuple[slice, ...]:
        """Index the image itself in its padded array."""
        cuts = (slice(a, a + n) for (a, _), n in zip(self.pads, self.space, strict=True))
        return (slice(None), *cuts)


def _misses(k: int, s: int, d: int, pad: tuple[int, int], n: int, n_out: int) -> bool:
    """Return whether one of n_out windows of k values misses the n rows behind pad[0] of padding."""
    before = pad[0]
    if n_out and (not n or before > (k - 1) * d or (n_out - 1) * s >= before + n):
        return True
    # What is left are windows that begin in the padding and step over an image of fewer than d rows.
    early = min(n_out, -(-before // s))
    if n >= d or not early:
        return False
    # The first value of window i behind the padding lies (i s - before) mod d rows into the image.
    first = -before % d
    return _floor_sum(early, d, s, first + d - n) > _floor_sum(early, d, s, first)


def _floor_sum(n: int, m: int, a: int, b: int) -> int:
    """Return Σ floor((a i + b) / m) over i in [0, n), by the steps of Euclid's algorithm."""
    total = 0
    while True:
        total += n * (n - 1) // 2 * (a // m) + n * (b // m)
        a, b = a % m, b % m
        end = a * n + b
        if end < m:
            return total
        (n, b), a, m = divmod(end, m), m, a


@functools.lru_cache(maxsize=1024)
def _cuts(geometry: Windows) -> tuple[tuple[slice, ...], ...]:
    """Return for every offset what lies there, in a padded (channels, *space, batch) array."""
    return tuple(
        (
            slice(None),
            *(
                slice(i * d, i * d + (n - 1) * s + 1, s)
                for i, d, n, s in zip(
                    offset, geometry.dilation, geometry.out, geometry.stride, strict=True
                )
            ),
        )
        for offset in geometry.offsets()
    )


@functools.lru_cache(maxsize=1024)
def windows(
    space: tuple[int, ...],
    size: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes = 1,
    ceil: bool = False,
) -> Windows:
    """Lay windows over images of size `space`; a size of one integer is that of every axis.

    Rows at the end that fill no whole window are left out; with `ceil` one more window takes them,
    which reaches beyond the padding and begins before it.

    Padding is "valid" (none), "same" (ceil(n / stride) windows, the odd row at the end), a number
    of rows at every end, or one (before, after) pair per axis; "causal", along one axis, puts before
    the image all that a window lacks there.

    Raises:
        OptionError: If a size or the padding has another number of axes.
        ShapeError: If a window is larger than the padded image.
    """
    size, stride, dilation = (
        sizes("", name, value, len(space))
        for name, value in (("window", size), ("stride", stride), ("dilation", dilation))
    )
    extents = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
    if padding == "same":
        totals = [
            max((-(-n // s) - 1) * s + extent - n, 0)
            for n, s, extent in zip(space, stride, extents, strict=True)
        ]
        pads = tuple((total // 2, total - total // 2) for total in totals)
    elif padding == "causal":
        if len(space) != 1:
            raise OptionError(f"padding: expected 'causal' along one axis, got {len(space)}")
        pads = ((extents[0] - 1, 0),)
    elif isinstance(padding, tuple):
        pads = padding
        if len(pads) != len(space):
            raise OptionError(f"padding: expected {len(space)} pairs, got {padding!r}")
    else:
        pads = ((0 if padding == "valid" else int(padding),) * 2,) * len(space)
    padded = tuple(n + a + b for n, (a, b) in zip(space, pads, strict=True))
    if any(extent > n for extent, n in zip(extents, padded, strict=True)):
        raise ShapeError(f"expected images of {tuple(extents)} or more after padding, got {padded}")
    out = tuple((n - e) // s + 1 for n, e, s in zip(padded, extents, stride, strict=True))
    over = (0,) * len(out)
    if ceil:
        begun = zip(out, padded, extents, stride, pads, space, strict=True)
        out = tuple(
            n_out + ((n - e) % s > 0 and n_out * s < before + image)
            for n_out, n, e, s, (before, _), image in begun
        )
        ends = ((n_out - 1) * s + e for n_out, s, e in zip(out, stride, extents, strict=True))
        over = tuple(max(end - n, 0) for end, n in zip(ends, padded, strict=True))
        pads = tuple((a, b + more) for (a, b), more in zip(pads, over, strict=True))
        padded = tuple(n + more for n, more in zip(padded, over, strict=True))
    return Windows(size, stride, dilation, pads, space, out, padded, over)


@functools.lru_cache(maxsize=1024)
def pool_windows(
    space: tuple[int, ...], size: Sizes, stride: Sizes, padding: Padding, dilation: Sizes, ceil: bool
) -> Windows:
    """Lay windows of which each holds something of the image: no maximum or mean is over nothing.

    Raises:
        OptionError, ShapeError: As `windows` does; also if the padding is as large as a window, or a
            window lies in the padding alone.
    """
    geometry = windows(space, size, stride, padding, dilation, ceil)
    asked = tuple((a, b - over) for (a, b), over in zip(geometry.pads, geometry.over, strict=True))
    if any(side >= e for pair, e in zip(asked, geometry.extents(), strict=True) for side in pair):
        raise ShapeError(f"expected less padding than the window {geometry.extents()}, got {asked}")
    if geometry.misses():
        raise ShapeError(
            f"expected windows that all meet the image {space}, got {geometry.pads} padding"
        )
    return geometry


def image_shape(in_shape: tuple[int, ...], *, least: int = 0) -> tuple[int, tuple[int, ...]]:
    """Return the number of channels of an example, and its space.

    Raises:
        ShapeError: If it has no spatial axis, or one of fewer than `least` rows.
    """
    if len(in_shape) < 2:
        raise ShapeError(f"expected examples (channels, *space), got in_shape={in_shape}")
    if min(in_shape[1:]) < least:
        raise ShapeError(f"expected images of {least} or more values, got in_shape={in_shape}")
    return in_shape[0], in_shape[1:]


def cached_windows(
    size: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes = 1,
    ceil: bool = False,
    *,
    make: Callable[..., Windows] = windows,
) -> Callable[[tuple[int, ...]], Windows]:
    """Return the function from the space of an image to the windows over it.

    What it has once laid it keeps, for a layer is called again and again with images of one size.

    Args:
        size, stride, padding, dilation, ceil: As in `windows`.
        make: `windows`, or `pool_windows`.
    """
    return functools.lru_cache(maxsize=64)(
        lambda space: make(space, size, stride, padding, dilation, ceil)
    )


_LAST = [(*range(1, n), 0) for n in range(33)]
_FIRST = [(n - 1, *range(n - 1)) for n in range(33)]


def batch_last(x: Array) -> Array:
    """Return (batch, channels, *space) as a contiguous (channels, *space, batch) array."""
    z = x.transpose(_LAST[x.ndim])
    if z.flags.c_contiguous:
        return z
    copied = empty(z.shape, z.dtype)
    np.copyto(copied, z)
    return copied


def batch_first(z: Array) -> Array:
    """Return (channels, *space, batch) as a (batch, channels, *space) view."""
    return z.transpose(_FIRST[z.ndim])


def pad(z: Array, geometry: Windows, value: float) -> Array:
    """Return z (channels, *space, batch) with its space padded by `value`."""
    if geometry.padded == geometry.space:
        return z
    padded = empty((z.shape[0], *geometry.padded, z.shape[-1]), z.dtype)
    padded.fill(value)
    padded[geometry.interior()] = z
    return padded
