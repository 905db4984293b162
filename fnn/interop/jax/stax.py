"""Weights of `jax.example_libraries.stax`, imported into a network of ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from fnn import tree
from fnn.errors import FnnError, OptionError, ShapeError, TreeError
from fnn.keys import Key
from fnn.layers import pooling
from fnn.layers.calls import ChildInit, Shape
from fnn.layers.chains import asked, asked_once, check_layer, parts_of
from fnn.layers.contract import Layer
from fnn.layers.convolution import Conv, ConvTranspose
from fnn.layers.dense import Dense
from fnn.layers.fans import fan_in, fan_out
from fnn.layers.norm import BatchNorm
from fnn.layers.shape import Flatten
from fnn.layers.wiring import bare, wiring
from fnn.tree import Array, Tree

Order: TypeAlias = Any
"""Where stax has the numbers of one example, beside ours.

None if the axes are the same; "image" if ours has the channels first and stax last; an array of places
for a row of features, of which the i-th in stax is ours at place [i]; of a tuple a tuple.
"""


def from_stax(
    params: Any, net: Layer, in_shape: Shape, *, kernels: str | Mapping[str, str] = ""
) -> tuple[Tree, Tree]:
    """Return params and state of `net` with the weights that a network of stax has.

        init, apply = stax.serial(stax.Conv(8, (3, 3)), stax.Relu, stax.Flatten, stax.Dense(10))
        _, weights = init(jax.random.key(0), (-1, 28, 28, 1))
        net = fnn.serial(fnn.Conv(8, 3), fnn.Relu(), fnn.Flatten(), fnn.Dense(10))
        params, state = from_stax(weights, net, (1, 28, 28))

    stax keeps no record of its layers, so that `net` has to be written once more with ours. Layers with
    weights pair in order; how they are nested does not matter, so that FanOut, parallel and FanInSum
    may have become `residual` or `branch`. Images of stax have their channels last, and ours first:
    `net` takes the images turned, and the rows of a `Dense` behind a `Flatten` are put in our order.

    - BatchNorm of stax has no running moments and takes those of the batch always: the networks agree
      with `train=True`, and evaluation wants a few steps of training before.
    - Pools of stax have a stride of 1 unless told otherwise, ours that of the window. Its Dropout is
      told what to keep, ours what to drop.

    Args:
        params: Those of stax, of NumPy or of JAX.
        net: The same network, of Dense, Conv, ConvTranspose, BatchNorm and layers without weights.
        in_shape: Shape of one example of `net`, images (channels, *space).
        kernels: How the kernels' axes lie, as in stax's GeneralConv: "HWIO" and the like, where I and O
            are the channels and the rest is space; by default space first, then I and O. One for all,
            or for some layers by their paths, `{"conv_0": "OIHW"}`.

    Raises:
        OptionError: If a layer with weights is none of those above, or mixes the axes of an image
            otherwise than stax does; or if there is no such path in `kernels`.
        ShapeError: If an array has another size than that of the layer.
        TreeError: If there are more or fewer layers with weights in stax than in `net`.
    """
    check_layer("from_stax", "net", net)
    fresh: Any
    state: Any
    _, fresh, state = net.init(Key.of(0), in_shape)
    walk = _Walk(list(_groups(params)), kernels)
    with asked_once():
        try:
            walk.through(
                asked(net.name, net, in_shape), net, "", "image" if len(in_shape) > 2 else None
            )
        except FnnError as error:
            raise error.inside(net.name, net.where) from error.__cause__
    walk.finish()
    dtypes = sorted({str(leaf.dtype) for leaf in walk.found.values()})
    if len(dtypes) > 1:
        raise TreeError(f"expected weights of one dtype, got {dtypes}", path=("from_stax",))
    moved = tree.cast(state, dtypes[0]) if dtypes else state
    return tree.update(fresh, walk.found), moved


def _groups(node: Any) -> Iterator[list[Any]]:
    """Yield the arrays of each layer that has some; in the place of one that it lacks stands None."""
    if not isinstance(node, list | tuple):
        raise TreeError(
            f"expected params of stax, lists and tuples of arrays, got {type(node).__name__}"
        )
    if any(not isinstance(each, list | tuple) for each in node):
        if any(isinstance(each, list | tuple) and each for each in node):
            raise TreeError("expected params of stax, got arrays and layers side by side")
        yield [None if isinstance(each, list | tuple) else np.asarray(each) for each in node]
        return
    for each in node:
        yield from _groups(each)


_IN_SPACE = (Conv, ConvTranspose, pooling.MaxPool, pooling.AvgPool, pooling.SumPool)


class _Walk:
    """Goes through a network with the weights of stax, and notes where the numbers lie."""

    def __init__(self, groups: list[list[Any]], kernels: str | Mapping[str, str]) -> None:
        self.groups, self.kernels, self.taken = groups, kernels, 0
        self.found: dict[str, Array] = {}
        self.convolutions: set[str] = set()

    def finish(self) -> None:
        """Refuse weights that nobody has taken, and layouts of layers that are none."""
        if self.taken < len(self.groups):
            raise TreeError(f"expected {self.taken} layers with weights, got {len(self.groups)}")
        if isinstance(self.kernels, Mapping) and (odd := set(self.kernels) - self.convolutions):
            expected = f"paths of convolutions, {sorted(self.convolutions)}"
            raise OptionError(f"kernels: expected {expected}, got {min(odd)!r}", path=("from_stax",))

    def through(self, call: ChildInit, layer: Layer, path: str, order: Order) -> Order:
        """Return where the numbers of y lie."""
        parts = parts_of(call, layer)
        if not parts:
            return self._leaf(call, layer, path, order)

        def inside(part: tuple[ChildInit, Layer], order: Order) -> Order:
            child, own = part
            try:
                return self.through(child, own, f"{path}/{child.name}" if path else child.name, order)
            except FnnError as error:
                raise error.inside(child.name, own.where) from error.__cause__

        kind = wiring(call, layer)
        if kind == "chain":
            for each in parts:
                order = inside(each, order)
            return order
        if kind == "residual":
            short = order
            for each in parts:
                if each[0].name == "shortcut":
                    short = inside(each, short)
                else:
                    order = inside(each, order)
            return _one((order, short))
        if kind == "parallel":
            orders = order if isinstance(order, tuple) else (order,) * len(parts)
            return tuple(map(inside, parts, orders))
        if kind == "branch":
            ends_here = parts[-1][0].name == "merge"
            ways = parts[:-1] if ends_here else parts
            came = tuple(inside(each, order) for each in ways)
            if ends_here:
                return inside(parts[-1], came)
            more = bare(layer).recipe.kwargs
            shapes = tuple(child.out_shape for child, _ in ways)
            return _merged(more.get("merge", "sum"), shapes, came)
        raise OptionError(f"expected a composition that stax has, got {layer!r:.200}")

    def _leaf(self, call: ChildInit, layer: Layer, path: str, order: Order) -> Order:
        recipe = bare(layer).recipe
        if call.params:
            return self._weights(call, layer, path, order)
        if recipe.call in _IN_SPACE:
            return "image"
        if recipe.call is Flatten:
            return _flattened(call.in_shape, order)
        if recipe.call is fan_out:
            return (order,) * recipe.args[0]
        if recipe.call is fan_in:
            return _merged(recipe.args[0], call.in_shape, order)
        if call.out_shape != call.in_shape and order is not None:
            raise OptionError(f"expected a layer that keeps the shape of images, got {layer!r:.200}")
        return order

    def _weights(self, call: ChildInit, layer: Layer, path: str, order: Order) -> Order:
        """Take the next weights for a layer; return where the numbers of y lie."""
        make = bare(layer).recipe.call
        if make not in _TAKING:
            raise OptionError(f"expected a layer that stax has, got {layer!r:.200}")
        if self.taken == len(self.groups):
            raise TreeError(f"expected weights for it, got {self.taken} layers in stax")
        arrays, layout = self.groups[self.taken], ""
        self.taken += 1
        if make in (Conv, ConvTranspose):
            self.convolutions.add(path)
            layout = self.kernels if isinstance(self.kernels, str) else self.kernels.get(path, "")
        new, order = _TAKING[make](call, arrays, order, layout)
        if make is ConvTranspose:
            # stax spreads by correlation, ours is the derivative of one: its window is turned round.
            new["w"] = np.flip(new["w"].swapaxes(0, 1), tuple(range(2, new["w"].ndim)))
        own: Any = call.params
        if new.keys() != own.keys():
            raise TreeError(f"expected arrays for {sorted(own)}, got those for {sorted(new)} in stax")
        for name, leaf in own.items():
            if new[name].shape != leaf.shape:
                got = f"{new[name].shape} of stax in our layout"
                raise ShapeError(f"expected {name} of shape {leaf.shape}, got {got}")
            self.found[f"{path}/{name}" if path else name] = np.ascontiguousarray(new[name])
        return order


# --- layers with weights: our arrays of those of stax, and the order of what comes out -----------

_Taken: TypeAlias = tuple[dict[str, Array], Order]


def _present(**arrays: Any) -> dict[str, Array]:
    return {name: array for name, array in arrays.items() if array is not None}


def _dense(call: ChildInit, arrays: list[Any], order: Order, layout: str) -> _Taken:
    if isinstance(order, str):
        raise OptionError(f"expected a Flatten before, got images {call.in_shape}: stax maps channels")
    w, b = (*arrays, None)[:2]
    if order is not None:
        if len(w) != len(order):
            raise ShapeError(f"expected w of {len(order)} rows, got {w.shape}")
        w = w[np.argsort(order)]
    return _present(w=w, b=b), None


def _conv(call: ChildInit, arrays: list[Any], order: Order, layout: str) -> _Taken:
    w, b = (*arrays, None)[:2]
    n_axes = len(call.in_shape) - 1
    layout = layout or "HWD"[:n_axes] + "IO"
    if len(layout) != n_axes + 2 or len(set(layout)) != len(layout) or not {*"IO"} <= set(layout):
        raise OptionError(f"kernels: expected I, O and {n_axes} axes beside them, got {layout!r}")
    if w.ndim != n_axes + 2:
        raise ShapeError(f"expected kernels of {n_axes + 2} axes, got {w.shape}")
    space = [at for at, axis in enumerate(layout) if axis not in "IO"]
    w = w.transpose(layout.index("O"), layout.index("I"), *space)
    # The bias of stax has axes of size 1 beside.
    return _present(w=w, b=None if b is None else b.reshape(-1)), "image"


def _batch_norm(call: ChildInit, arrays: list[Any], order: Order, layout: str) -> _Taken:
    shift, scale = (*arrays, None)[:2]
    if isinstance(order, np.ndarray):
        if any(each is not None and each.shape != order.shape for each in (shift, scale)):
            raise ShapeError(f"expected {len(order)} features, got {[np.shape(a) for a in arrays]}")
        back = np.argsort(order)
        shift, scale = (None if each is None else each[back] for each in (shift, scale))
    return _present(shift=shift, scale=scale), order


_TAKING: dict[Any, Callable[[ChildInit, list[Any], Order, str], _Taken]] = {
    Dense: _dense,
    Conv: _conv,
    ConvTranspose: _conv,
    BatchNorm: _batch_norm,
}


# --- layers without weights -------------------------------------------------------------------


def _flattened(shape: Shape, order: Order) -> Order:
    if order is None or not isinstance(order, str):
        return order
    return np.moveaxis(np.arange(math.prod(shape)).reshape(shape), 0, -1).reshape(-1)


def _one(orders: tuple[Order, ...]) -> Order:
    """Return the order of numbers that are added and the like: one for all."""
    first = orders[0]
    if any(not np.array_equal(each, first) for each in orders[1:]):
        raise OptionError("expected ways that end in one order of their numbers, got others in stax")
    return first


def _merged(merge: str, shapes: Any, orders: Order) -> Order:
    """Return the order of what a merge makes of several arrays, of which `shapes` are the examples'."""
    if merge != "concat" or not any(isinstance(each, np.ndarray) for each in orders):
        return _one(orders)
    if any(isinstance(each, str) for each in orders):
        raise OptionError("expected features or images to be joined, got both")
    starts = np.cumsum([0, *(shape[-1] for shape in shapes)])[:-1]
    return np.concatenate(
        [
            start + (np.arange(shape[-1]) if each is None else each)
            for start, shape, each in zip(starts, shapes, orders, strict=True)
        ]
    )
