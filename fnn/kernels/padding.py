"""Padding of images by what they hold themselves: reflected, circular, or the edge repeated."""

from __future__ import annotations

import functools
from typing import Any, Literal, cast

import numpy as np

from fnn.errors import ShapeError
from fnn.kernels.windows import Pairs
from fnn.tree import Array

_NUMPY = {"reflect": "reflect", "circular": "wrap", "edge": "edge"}
MODES = ("zeros", *_NUMPY)


def check_pads(space: tuple[int, ...], pads: Pairs, mode: str) -> None:
    """Refuse paddings that an image of that size cannot fill.

    Raises:
        ShapeError: Saying how much there may be.
    """
    least = {"reflect": 1, "circular": 0, "edge": 0}.get(mode)
    for n, pair in zip(space, pads, strict=True):
        if least is None or not any(pair):
            continue
        most = n - least if mode != "edge" else (max(pair) if n else 0)
        if max(pair) > most:
            raise ShapeError(f"expected {mode} padding of at most {most} rows of {n}, got {pair}")


@functools.lru_cache(maxsize=256)
def _sources(n: int, pair: tuple[int, int], mode: str) -> Array:
    """Return which row of the image each row of the padded one repeats."""
    rows: Array = np.pad(np.arange(n), pair, cast(Any, _NUMPY[mode]))
    rows.setflags(write=False)
    return rows


def padded(x: Array, pads: Pairs, mode: str) -> Array:
    """Return x (batch, channels, *space) with its space padded."""
    if mode == "zeros":
        return np.pad(x, ((0, 0), (0, 0), *pads))
    for axis, pair in enumerate(pads, start=2):
        if any(pair):
            x = np.take(x, _sources(x.shape[axis], pair, mode), axis=axis)
    return x


def padded_vjp(dy: Array, pads: Pairs, mode: str) -> Array:
    """Return dx: what goes to a row that is repeated is added up."""
    for axis, (before, after) in reversed(list(enumerate(pads, start=2))):
        n = dy.shape[axis] - before - after
        inside = dy[(*(slice(None),) * axis, slice(before, before + n))]
        if mode == "zeros" or not before + after:
            dy = inside
            continue
        dx = inside.copy()
        rows = np.moveaxis(dx, axis, 0)
        given = np.moveaxis(dy, axis, 0)
        sources = _sources(n, (before, after), mode)
        for place in (*range(before), *range(before + n, before + n + after)):
            rows[sources[place]] += given[place]
        dy = dx
    return dy


Kind = Literal["nearest", "bilinear", "adaptive"]


@functools.lru_cache(maxsize=256)
def _weights(n: int, n_out: int, kind: Kind, dtype: np.dtype[Any]) -> Array:
    """Return the matrix (n_out, n) that resizes a row of n values to n_out."""
    matrix = np.zeros((n_out, n))
    places = np.arange(n_out)
    if kind == "nearest":
        matrix[places, places * n // n_out] = 1
    elif kind == "adaptive":
        for i in range(n_out):
            start, stop = i * n // n_out, -(-(i + 1) * n // n_out)
            matrix[i, start:stop] = 1 / (stop - start)
    else:
        # The centres of both rows' values lie on one scale; beyond the outer centres the edge counts.
        at = np.clip((places + 0.5) * n / n_out - 0.5, 0, n - 1)
        low = np.minimum(at.astype(int), max(n - 2, 0))
        share = at - low
        matrix[places, low] += 1 - share
        matrix[places, np.minimum(low + 1, n - 1)] += share
    matrix = matrix.astype(dtype)
    matrix.setflags(write=False)
    return matrix


def resized(x: Array, out: tuple[int, ...], kind: Kind) -> Array:
    """Return x (batch, channels, *space) with its space resized to `out`, axis by axis."""
    for axis, n_out in enumerate(out, start=2):
        weights = _weights(x.shape[axis], n_out, kind, x.real.dtype)
        x = np.moveaxis(np.moveaxis(x, axis, -1) @ weights.T, -1, axis)
    return x


def resized_vjp(dy: Array, space: tuple[int, ...], kind: Kind) -> Array:
    """Return dx of `resized` from images of size `space`."""
    for axis, n in enumerate(space, start=2):
        weights = _weights(n, dy.shape[axis], kind, dy.real.dtype)
        dy = np.moveaxis(np.moveaxis(dy, axis, -1) @ weights, -1, axis)
    return dy
