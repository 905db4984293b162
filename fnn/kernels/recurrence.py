"""Recurrences over time, whole sequences at once: simple, LSTM and GRU.

Arrays are time-major: `z` (time, batch, gates · width) holds what the inputs give to every gate, for
all steps from one product, and `states` (time + 1, batch, width) the states, the first before the first
step. `valid` (time, batch, 1) is True where an example has not ended; where it has, its state stays.
On the way back the loop over time carries the states' derivatives alone; those of the weights are one
product over all steps, from the derivatives of what entered the gates.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fnn.kernels.activation import sigmoid
from fnn.kernels.affine import column_sums, product
from fnn.kernels.memory import empty
from fnn.kernels.noting import contiguous
from fnn.tree import Array


def _flat(a: Array) -> Array:
    """View (time, batch, n) as (time · batch, n)."""
    return a.reshape(a.shape[0] * a.shape[1], a.shape[-1])


def _rows(a: Array) -> Array:
    """View (time, batch, gates, width) as (time, batch, gates · width)."""
    return a.reshape(*a.shape[:2], a.shape[2] * a.shape[3])


def inputs_of_gates(xs: Array, w: Array, b: Array) -> Array:
    """Return x w + b for xs (time, batch, features), new memory."""
    z = product(_flat(xs), w)
    z = np.add(z, b, z if z.dtype == b.dtype or z.dtype.kind == "c" else None)
    return z.reshape(*xs.shape[:2], w.shape[1])


def inputs_of_gates_vjp(xs: Array, w: Array, dz: Array, *, need_dx: bool) -> tuple[Any, Any, Any]:
    """Return dw, db and dx of `inputs_of_gates`."""
    rows = _flat(dz)
    dx = product(rows, w.T).reshape(xs.shape) if need_dx else None
    return product(_flat(xs).T, rows), column_sums(rows), dx


def sums(d: Array) -> Array:
    """Return the sum of (time, batch, n) over time and batch."""
    return column_sums(_flat(d))


def states_vjp(states: Array, dz: Array) -> Array:
    """Return dw of the products of all steps' states with w, from the derivatives of the products."""
    return product(_flat(states[:-1]).T, _flat(dz))


def _begun(z: Array, first: Array, *others: Array) -> Array:
    """Return memory for the states of all steps, the first of them filled in."""
    dtype = np.result_type(z, first, *others)
    states = empty((len(z) + 1, *first.shape), dtype)
    states[0] = first
    return states


def _ended(valid: Array | None, t: int) -> Array | None:
    """Return where examples have ended before step t, None if none has."""
    return None if valid is None or valid[t].all() else ~valid[t]


_BLOCK = 1 << 20
"""Bytes of gates that the way back prepares at once, of as many steps: they stay in the cache."""


def _is_complex(gates: Array) -> bool:
    """Return whether the size of the arrays in a product tells its bits.

    NumPy saves a large temporary array by turning a product round, and the bits of complex ones depend
    on which factor comes first.
    """
    return gates.dtype.kind == "c"


def _blocks(gates: Array) -> Iterator[tuple[slice, range]]:
    """Yield from the last to the first block of steps: their slice, and the places in it, backwards."""
    steps = len(gates)
    most = steps if _is_complex(gates) else max(1, _BLOCK * steps // max(gates.nbytes, 1))
    for end in range(steps, 0, -most):
        begin = max(0, end - most)
        yield slice(begin, end), range(end - begin - 1, -1, -1)


_SMALL_PRODUCT = 1 << 20


def _turned(w: Array, n: int) -> Array:
    """Return the transpose of w for products of n rows with it, one at every step.

    Lying in order it takes two thirds of the time. OpenBLAS has kernels of their own for small products
    and for a single row, which add up in another order then; the others have the same bits.
    """
    return contiguous(w.T) if n > 1 and n * w.size > _SMALL_PRODUCT else w.T


# --- h ← f(z + h w) ---------------------------------------------------------------------------


def simple(z: Array, w: Array, first: Array, valid: Array | None, *, relu: bool) -> Array:
    """Return the states h ← tanh(z + h w), or with max(·, 0) for tanh."""
    states = _begun(z, first, w)
    for t in range(len(z)):
        new = states[t + 1]
        np.matmul(states[t], w, out=new)
        new += z[t]
        if relu:
            np.copyto(new, 0, where=new.real <= 0)  # Where it is not a number it stays none.
        else:
            np.tanh(new, out=new)
        if (ended := _ended(valid, t)) is not None:
            np.copyto(new, states[t], where=ended)
    return states


def simple_vjp(
    states: Array, w: Array, dstates: Array, dlast: Array, valid: Array | None, *, relu: bool
) -> tuple[Array, Array]:
    """Return dz and dfirst, from dstates (time, batch, width) of all steps and dlast of the last."""
    after = states[1:]
    slopes = (after.real > 0).astype(after.real.dtype) if relu else 1 - after * after
    dz = empty(dstates.shape, np.result_type(dstates, dlast, slopes, w))
    dh, turned = dlast, _turned(w, dstates.shape[1])
    for t in reversed(range(len(dz))):
        dh = dh + dstates[t]
        np.multiply(dh, slopes[t], out=dz[t])
        if (ended := _ended(valid, t)) is not None:
            np.copyto(dz[t], 0, where=ended)
            dh = np.where(ended, dh, 0) + dz[t] @ turned
        else:
            dh = dz[t] @ turned
    return dz, dh


# --- LSTM -------------------------------------------------------------------------------------


def lstm(
    z: Array, w: Array, first: tuple[Array, Array], valid: Array | None
) -> tuple[Array, Array, Array, Array]:
    """Return the states h and c, the gates (time, batch, 4, width) and tanh c of every step.

    c ← f c + i g and h ← o tanh c, with i, f, o = σ(·) and g = tanh(·) of the four parts of z + h w.
    """
    steps, n = z.shape[:2]
    width = w.shape[0]
    hs, cs = _begun(z, first[0], first[1], w), _begun(z, first[1], first[0], w)
    gates = empty((steps, n, 4, width), hs.dtype)
    bent = empty((steps, n, width), hs.dtype)  # tanh c.
    new = empty((n, width), hs.dtype)
    # All four at once, g for nothing, take less time than two calls for parts of every row.
    squashed = [slice(0, 2), slice(3, 4)] if _is_complex(gates) else [slice(0, 4)]
    for t in range(steps):
        parts = gates[t]
        flat = parts.reshape(n, 4 * width)
        np.matmul(hs[t], w, out=flat)
        flat += z[t]
        i, f, g, o = (parts[:, k] for k in range(4))
        np.tanh(g, out=new)
        for gate in squashed:
            _squash(parts[:, gate], parts[:, gate])
        g[...] = new
        c = cs[t + 1]
        np.multiply(f, cs[t], out=c)
        c += i * g
        np.tanh(c, out=bent[t])
        np.multiply(o, bent[t], out=hs[t + 1])
        if (ended := _ended(valid, t)) is not None:
            np.copyto(c, cs[t], where=ended)
            np.copyto(hs[t + 1], hs[t], where=ended)
    return hs, cs, gates, bent


def _squash(x: Array, out: Array) -> None:
    """Write σ(x) to `out`; x is scratch."""
    if x.dtype.kind == "c":
        out[...] = sigmoid(x)
        return
    # Not `negative`, which NumPy 2.4 gets wrong in place where steps are of 16 bytes (one unit).
    np.multiply(x, -1, out=x)
    np.exp(x, out=x)
    x += 1
    np.reciprocal(x, out=out)


def lstm_vjp(
    saved: tuple[Array, Array, Array, Array],
    w: Array,
    dstates: Array,
    dlast: tuple[Array, Array],
    valid: Array | None,
) -> tuple[Array, tuple[Array, Array]]:
    """Return dz, of the four parts one after the other, and (dh, dc) of the first state."""
    _, cs, gates, bent = saved
    dtype, n = np.result_type(dstates, *dlast, gates, w), gates.shape[1]
    dz = empty(gates.shape, dtype)
    dh, dc = (d.astype(dtype, copy=False) for d in dlast)
    turned = _turned(w, n)
    for block, places in _blocks(gates):
        f = gates[block, :, 1]
        slopes, into_c = _lstm_slopes(gates[block], bent[block], cs[block])
        for k in places:
            t = block.start + k
            into = dz[t]
            dh = dh + dstates[t]
            dc_here = dh * into_c[k]
            dc_here += dc
            np.multiply(dc_here[:, None], slopes[k, :, :3], out=into[:, :3])
            np.multiply(dh, slopes[k, :, 3], out=into[:, 3])
            if (ended := _ended(valid, t)) is not None:
                np.copyto(into, 0, where=ended[:, None])
                dc = np.where(ended, dc, dc_here * f[k])
                dh = np.where(ended, dh, 0) + into.reshape(n, len(w.T)) @ turned
            else:
                dc = np.multiply(dc_here, f[k], out=dc_here)
                dh = into.reshape(n, len(w.T)) @ turned
    return _rows(dz), (dh, dc)


def _lstm_slopes(gates: Array, bent: Array, before: Array) -> tuple[Array, Array]:
    """Return by what dc (dh for the last gate) is multiplied on its way into gates, and dh into c."""
    i, _, g, o = (gates[:, :, k] for k in range(4))
    slopes = empty(gates.shape, gates.dtype)
    np.multiply(gates, 1 - gates, out=slopes)
    slopes[:, :, 0] *= g
    slopes[:, :, 1] *= before
    np.multiply(i, 1 - g * g, out=slopes[:, :, 2])
    slopes[:, :, 3] *= bent
    return slopes, o * (1 - bent * bent)


# --- GRU --------------------------------------------------------------------------------------


def gru(z: Array, w: Array, b: Array, first: Array, valid: Array | None) -> tuple[Array, Array, Array]:
    """Return the states, the gates (time, batch, 3, width), and what r lets through: h w_n + b_n.

    r, u = σ(·), n = tanh(z_n + r (h w_n + b_n)) and h ← (1 - u) n + u h, with z + h w + b in the order
    r, u, n.
    """
    steps, n = z.shape[:2]
    width = w.shape[0]
    hs = _begun(z, first, w, b)
    gates = empty((steps, n, 3, width), hs.dtype)
    through = empty((steps, n, width), hs.dtype)
    both = empty((n, 2, width), hs.dtype)
    for t in range(steps):
        parts = gates[t]
        flat = parts.reshape(n, 3 * width)
        np.matmul(hs[t], w, out=flat)
        flat += b
        through[t] = parts[:, 2]
        into = z[t].reshape(n, 3, width)
        # In memory of their own, without gaps: so much faster is every one of the calls.
        np.add(parts[:, :2], into[:, :2], out=both)
        _squash(both, parts[:, :2])
        r, u, new = parts[:, 0], parts[:, 1], parts[:, 2]
        new *= r
        new += into[:, 2]
        np.tanh(new, out=new)
        h = hs[t + 1]
        np.subtract(hs[t], new, out=h)
        h *= u
        h += new
        if (ended := _ended(valid, t)) is not None:
            np.copyto(h, hs[t], where=ended)
    return hs, gates, through


def gru_vjp(
    saved: tuple[Array, Array, Array],
    w: Array,
    dstates: Array,
    dlast: Array,
    valid: Array | None,
) -> tuple[Array, Array, Array]:
    """Return dz, the derivative of h w + b, both (time, batch, 3 width), and dh of the first state."""
    hs, gates, through = saved
    dtype, n = np.result_type(dstates, dlast, gates, w), gates.shape[1]
    dz, dproducts = empty(gates.shape, dtype), empty(gates.shape, dtype)
    dh, turned = dlast, _turned(w, n)
    for block, places in _blocks(gates):
        r, u, new = (gates[block, :, k] for k in range(3))
        # By what dh is multiplied on its way into u and n, and dn on its way into r.
        slope_n = (1 - u) * (1 - new * new)
        slope_u = (hs[block] - new) * u * (1 - u)
        slope_r = through[block] * r * (1 - r)
        for k in places:
            t = block.start + k
            dh = dh + dstates[t]
            into, back = dz[t], dproducts[t]
            np.multiply(dh, slope_n[k], out=into[:, 2])
            np.multiply(dh, slope_u[k], out=into[:, 1])
            np.multiply(into[:, 2], slope_r[k], out=into[:, 0])
            if (ended := _ended(valid, t)) is not None:
                np.copyto(into, 0, where=ended[:, None])
            back[:, :2] = into[:, :2]
            np.multiply(into[:, 2], r[k], out=back[:, 2])
            if ended is not None:  # r need not be a number there.
                np.copyto(back[:, 2], 0, where=ended)
            kept = dh * u[k] if ended is None else np.where(ended, dh, dh * u[k])
            dh = back.reshape(n, len(w.T)) @ turned
            dh += kept
    return _rows(dz), _rows(dproducts), dh
