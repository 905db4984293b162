"""Derivatives of whole networks beyond the gradient: for analysis and for proofs, not for the loop.

Directional derivatives come from one evaluation at a point moved by i·10⁻³⁰ along the direction
(Squire & Trapp, 1998): no difference is taken, so nothing cancels, and the result is right to the
last bits of the arithmetic. Networks that are not complex-safe are refused. Points and directions are
real, of one precision; all functions are pure. At a kink the derivative is the one that the layer's
vjp takes there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fnn import tree
from fnn.errors import DTypeError, OptionError, ShapeError, TreeError
from fnn.kernels.values import is_integer, length, named_arrays, take_rows
from fnn.keys import Key
from fnn.layers.contract import Layer
from fnn.losses.reduction import Loss
from fnn.training.state import Batch, unpack
from fnn.training.step import value_and_grad
from fnn.tree import Array, Tree, TreeLike

STEP = 1e-30
"""How far a float64 point is moved along the imaginary axis; its square is nothing beside 1."""

_STEPS = {np.dtype("float32"): 1e-20, np.dtype("float64"): STEP}
# In float32 10⁻³⁰ would leave eight digits above the smallest normal number, too few for small slopes.


# --- moving a point along a direction ----------------------------------------------------------


def _check_point(who: str, what: str, point: Any, direction: Any) -> None:
    """Refuse what cannot be moved; None as direction leaves a part, such as integers, where it is."""
    if isinstance(point, tuple):
        given = direction if isinstance(direction, tuple) else ()
        for i, each in enumerate(point):
            _check_point(who, f"{what}[{i}]", each, given[i] if i < len(given) else each)
        return
    if direction is None:
        return
    for path, leaf in tree.items(point, what):
        if leaf.dtype not in _STEPS:
            raise DTypeError(f"expected float32 or float64 as {path}, got {leaf.dtype}", path=(who,))


def _flat(value: Any) -> list[Any]:
    return [each for part in value for each in _flat(part)] if isinstance(value, tuple) else [value]


def _largest(*directions: Any) -> float:
    """Return the largest entry, by which directions are divided lest their scale over- or underflow."""
    flat = [part for each in directions for part in _flat(each) if part is not None]
    sizes = [float(np.max(np.abs(leaf))) for each in flat for leaf in tree.leaves(each) if leaf.size]
    most = max(sizes, default=0.0)
    return most if math.isfinite(most) and most > 0 else 1.0


def _moved(who: str, what: str, point: Any, direction: Any, size: float) -> Any:
    """Return point + i h direction / size, complex in the point's precision."""
    _check_point(who, what, point, direction)
    _check_point(who, f"d{what}", direction, direction)

    def leaf(a: Array, v: Array) -> Array:
        bent = a.astype(np.result_type(a.dtype, "complex64"))
        bent.imag = v / size * _STEPS[a.dtype]
        return bent

    def move(at: Any, along: Any) -> Any:
        if along is None:
            return at
        if not isinstance(at, tuple):
            return tree.map(leaf, at, along)
        if not isinstance(along, tuple) or len(along) != len(at):
            raise ShapeError(f"expected a tuple of {len(at)} arrays")
        return tuple(map(move, at, along))

    try:
        return move(point, direction)
    except (ShapeError, DTypeError, TreeError) as error:
        raise error.inside(f"d{what}", "").inside(who, "")  # noqa: B904 - the same error, with its place


def _slope(bent: Any, like: Any, size: float) -> Any:
    """Return the derivative that the imaginary parts hold, in the dtypes of `like`."""

    def part(b: Array, a: Array) -> Array:
        return (b.imag / _STEPS[a.dtype] * size).astype(a.dtype)

    if isinstance(like, tuple):
        return tuple(_slope(b, a, size) for b, a in zip(bent, like, strict=True))
    if isinstance(like, np.ndarray) and is_integer(like):
        return None
    return tree.map(part, bent, like)


def _need_complex_safe(who: str, net: Layer) -> None:
    if not net.traits.complex_safe:
        raise OptionError(f"expected a complex-safe network, got {net!r:.200}", path=(who,))


# --- derivatives of networks ---------------------------------------------------------------------


@np.errstate(all="ignore")
def jvp(
    net: Layer,
    params: TreeLike,
    state: TreeLike,
    x: Any,
    dparams: TreeLike | None,
    dx: Any,
    *,
    train: bool = False,
    key: Key | None = None,
) -> tuple[Any, Any]:
    """Return y and its derivative along (dparams, dx): J · (dparams, dx).

    Args:
        net, params, state, x, train, key: As in `net.apply`.
        dparams: Direction in the parameters, a tree of their structure; None stands for zero.
        dx: Direction in the inputs, of x's shape; None stands for zero, also in the place of an array
            of a tuple, such as one of integers.

    Raises:
        OptionError: If the network is not complex-safe.
        DTypeError: If a number is neither float32 nor float64.
        TreeError, ShapeError: If a direction is not shaped as its point.
    """
    who = "jvp"
    _need_complex_safe(who, net)
    given = [each for each in (dparams, dx) if each is not None]
    size = _largest(*given)
    y, _ = net.apply(params, state, x, train=train, key=key)
    bent_params = params if dparams is None else _moved(who, "params", params, dparams, size)
    bent_x = x if dx is None else _moved(who, "x", x, dx, size)
    bent, _ = net.apply(bent_params, state, bent_x, train=train, key=key)
    return y, _slope(bent, y, size)


def hvp(
    net: Layer,
    loss: Loss,
    params: TreeLike,
    state: TreeLike,
    batch: Batch,
    direction: TreeLike,
    *,
    train: bool = False,
    key: Key | None = None,
) -> tuple[Tree, Tree]:
    """Return the loss's gradient in params and its derivative along `direction`: H · direction.

    The gradient itself is evaluated at a complex point, so layers and loss must be analytic in their
    vjps too, as all of this library are. A loss that gives a real gradient there is refused; one that
    takes an absolute value on the way cannot be told.

    Args:
        net, params, state, train, key: As in `net.vjp`.
        loss: `loss(pred, target, *, weight=None) -> (value, dpred)`.
        batch: (x, target) or (x, target, weight).
        direction: A tree of the parameters' structure.

    Raises:
        OptionError: If the network or the loss is not complex-safe.
        DTypeError: If a parameter or a direction is neither float32 nor float64.
        TreeError, ShapeError: If the direction is not shaped as the parameters.
    """
    who = "hvp"
    _need_complex_safe(who, net)

    def analytic(pred: Any, target: Any, **weight: Any) -> tuple[Any, Array]:
        value, dpred = loss(pred, target, **weight)
        if np.iscomplexobj(pred) and not np.iscomplexobj(dpred):
            name = getattr(loss, "__name__", repr(loss))
            raise OptionError(
                f"expected a complex-safe loss, {name} drops imaginary parts", path=(who,)
            )
        return value, dpred

    size = _largest(direction)
    bent_params = _moved(who, "params", params, direction, size)
    at = value_and_grad(net, analytic)
    _, grads = at(params, state, batch, train=train, key=key)
    _, bent = at(bent_params, state, batch, train=train, key=key)
    with np.errstate(all="ignore"):
        return grads, _slope(bent, grads, size)


def jacobian(
    net: Layer,
    params: TreeLike,
    state: TreeLike,
    x: Array,
    *,
    train: bool = False,
    key: Key | None = None,
) -> Array:
    """Return dy/dx as an array of shape (*y.shape, *x.shape), by one pullback per number of y.

    For small networks: it takes y.size pullbacks and y.size · x.size numbers. Both axes of examples
    are kept; without a layer that mixes the batch, blocks of two different examples are zero.

    Raises:
        OptionError: If x or y is not one array of real floating numbers.
    """
    y, _, pullback = net.vjp(params, state, x, train=train, key=key)
    for what, array in (("x", x), ("y", y)):
        if not isinstance(array, np.ndarray) or array.dtype not in _STEPS:
            kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise OptionError(f"expected {what} as one float array, got {kind}", path=("jacobian",))
    rows = np.empty((y.size, *x.shape), y.dtype)
    for i in range(y.size):
        unit = np.zeros(y.size, y.dtype)
        unit[i] = 1
        rows[i] = pullback(unit.reshape(y.shape))[1]
    return rows.reshape(*y.shape, *x.shape)


def per_example_grads(
    net: Layer,
    loss: Loss,
    params: TreeLike,
    state: TreeLike,
    batch: Batch,
    *,
    train: bool = False,
    key: Key | None = None,
) -> Tree:
    """Return the gradient of every example's own loss, as a tree with a leading batch axis.

    Where the loss is a mean over examples their mean is the batch's gradient, where it is a sum their
    sum is. Masks are those of the whole batch; each example takes one pullback of it, so that time
    grows with the square of the batch size. An example's weight does not enter.

    Raises:
        OptionError: If the network mixes the batch (batch normalisation in training): an example has
            no loss of its own then, for its output depends on the others. If it gives several arrays.
        ShapeError: If there are no examples.
    """
    path = ("per_example_grads",)
    if train and net.traits.mixes_batch:
        raise OptionError(
            "expected a network that treats examples apart, got one that mixes the batch in training "
            "(batch normalisation), where no example has a loss of its own; use train=False",
            path=path,
        )
    x, target, _ = unpack(batch)
    y, _, pullback = net.vjp(params, state, x, train=train, key=key)
    if not isinstance(y, np.ndarray):
        raise OptionError(f"expected a network that gives one array, got {type(y).__name__}", path=path)
    if not len(y):
        raise ShapeError(f"expected one example or more, got y of shape {y.shape}", path=path)
    several = bool(named_arrays(target)) and isinstance(target, tuple)
    if (length(target),) != y.shape[:1] if several else np.shape(target)[:1] != y.shape[:1]:
        got = f"{length(target)} of them" if several else f"shape {np.shape(target)}"
        raise ShapeError(f"expected {len(y)} targets, got {got}", path=path)
    grads = []
    for i in range(len(y)):
        dy = np.zeros_like(y)
        with np.errstate(all="ignore"):
            at = slice(i, i + 1)
            _, dy[at] = loss(y[at], take_rows(target, at) if several else target[at])
            grads.append(pullback(dy, need_dx=False)[0])
    return tree.map_new(lambda *leaves: np.stack(leaves), *grads)
