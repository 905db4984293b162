"""A trained network in one file: what it is made of, its weights, and the shape that it takes."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fnn.errors import DataError, FnnError, OptionError, ShapeError
from fnn.files import PathLike
from fnn.keys import Key
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.layers.initializers import shapes_only
from fnn.options import integer
from fnn.runs.checkpoint.networks import RUNS_PER_LAYER, layers_allowed, network_from, network_text
from fnn.runs.checkpoint.trees import load_tree, save_tree
from fnn.tree import Tree, TreeLike


def save_model(
    path: PathLike,
    net: Layer,
    params: TreeLike,
    state: TreeLike,
    in_shape: Shape,
    *,
    within: PathLike | None = None,
) -> None:
    """Write a network with its weights to one file, all or nothing, for `load_model`.

    It holds the network's recipe, `params`, `state` and `in_shape`, as `save_tree` writes them: equal
    models give equal bytes, and nothing is pickled.

    Args:
        path: The file.
        net: The network. Layers of one's own are kept by name.
        params: Its parameters.
        state: What it carries.
        in_shape: Shape of one example; a tuple of shapes if it takes a tuple.
        within: The folder that the caller chose, below which no link is followed.

    Raises:
        OptionError: If a layer has an option that text cannot say, such as a lambda or an array, or if
            two layers or functions of one's own have one name.
        TreeError, ShapeError, DTypeError: If params and state are not the network's.
        DataError: If the file system refuses; an older file at `path` is then untouched.
    """
    if not isinstance(net, Layer):
        raise OptionError(f"net: expected a Layer, got {net!r:.80}", path=("save_model",))
    recipe = network_text(net)
    try:
        misfits = list(_misfits(net, Tree({"params": params, "state": state}), in_shape))
        model = model_tree(params, state, in_shape)
    except FnnError:
        raise
    # What arithmetic on huge sizes comes to.
    except (ValueError, OverflowError) as error:
        message = f"in_shape: expected sizes that arrays can have, got {in_shape}"
        raise ShapeError(message, path=("save_model",)) from error
    if misfits:
        raise ShapeError("\n  ".join([f"{path}: does not fit its network:", *misfits]))
    save_tree(path, model | {"recipe": _as_leaf(recipe)}, within=within)


def model_tree(params: TreeLike, state: TreeLike, in_shape: Shape) -> Tree:
    """Return weights and the shape that they are for as one tree."""
    return Tree({"params": params, "state": state, "in_shape": _shape_tree(in_shape)})


def load_model(
    path: PathLike,
    layers: Mapping[str, Any] = {},
    *,
    most_layers: int | None = None,
    within: PathLike | None = None,
) -> tuple[Layer, Tree, Tree, Shape]:
    """Return net, params, state and in_shape as `save_model` wrote them.

    Whoever wrote the file, nothing in it is executed. Weights are compared with the shapes that the
    network would have before anything of such a shape is allocated.

    Args:
        path: The file.
        layers: Layers of one's own, by name: a constructor (`{"Swish": Swish}`), or, for a layer that
            `make_layer`, `elementwise` or `Layer` made directly, the layer or a function without
            arguments that makes it (`{"swish": layer}`). Cells and initializers of one's own go here
            too, and for an ensemble `{"stacked": fnn.stacked}`. What they do with options out of the
            file is their business.
        most_layers: How many layers the file may have, each counted twice where some are `frozen`; by
            default 128 and one more for every 7 KiB of the file, which take 4 times its size and 4 MiB.
            In one call of the network, layers may run 1000 times as often: a `shared` one runs n times,
            and one inside another n times for each of those.
        within: The folder that the caller chose, below which no link is followed; without, `path` is
            the caller's own and may be a link.

    Raises:
        DataError: If the file is missing, damaged, no model, larger than allowed, or needs a layer
            that is not in `layers`; or if network and weights do not fit. Names the file.
        OptionError: If `layers` is no dict, or `most_layers` no integer of 1 or more.
    """
    if not isinstance(layers, Mapping):
        expected = "expected a dict of layers by name"
        raise OptionError(f"layers: {expected}, got {layers!r:.80}", path=("load_model",))
    if most_layers is not None:
        most_layers = integer("load_model", "most_layers", most_layers)
    model = load_tree(path, within=within)
    try:
        if most_layers is None:
            most_layers = layers_allowed(os.stat(path).st_size)
        expected = {"params", "state", "in_shape", "recipe"}
        if not expected <= model.keys():
            raise DataError(f"expected a model of {sorted(expected)}, got {sorted(model)[:8]}")
        in_shape = shape_of(model["in_shape"])
        recipe = _text_of(model["recipe"])
        most_runs = RUNS_PER_LAYER * most_layers
        net = network_from(recipe, own=layers, most_layers=most_layers, most_runs=most_runs)
        # Some alone: there may be very many, with very long paths.
        misfits = [f"{line:.200}" for line in itertools.islice(_misfits(net, model, in_shape), 20)]
        if misfits:
            raise DataError("weights do not fit the network:\n  " + "\n  ".join(misfits))
    except FnnError as error:
        raise DataError(f"{path}: {error}") from None
    # What arithmetic on a stranger's sizes comes to; the file may also have gone meanwhile.
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError, OSError) as error:
        raise DataError(f"{path}: {error or type(error).__name__}") from None
    return net, model["params"], model["state"], in_shape


def _misfits(net: Layer, model: Tree, in_shape: Shape) -> Iterator[str]:
    """Yield a line per path at which weights and network differ in structure, shape or dtype."""
    with shapes_only():
        _, params, state = net.init(Key.of(0), in_shape)
    for name, wanted in (("params", params), ("state", state)):
        yield from _differences(wanted, model[name], (name,))


def _differences(want: Any, got: Any, path: tuple[str, ...]) -> Iterator[str]:
    if isinstance(want, Mapping | None) and isinstance(got, Mapping | None):
        want, got = want or {}, got or {}
        for name in sorted(want.keys() | got.keys()):
            yield from _differences(want.get(name), got.get(name), (*path, name))
    elif isinstance(want, Mapping) or isinstance(got, Mapping) or want is None or got is None:
        yield f"{'/'.join(path)}: expected {_kind(want)}, got {_kind(got)}"
    elif want.shape != got.shape:
        yield f"{'/'.join(path)}: expected {want.shape}, got {got.shape}"
    elif got.dtype not in (_TRAINABLE if want.dtype in _TRAINABLE else (want.dtype,)):
        yield f"{'/'.join(path)}: expected {want.dtype}, got {got.dtype}"


_TRAINABLE = tuple(map(np.dtype, ("float32", "float64", "complex64", "complex128")))
"""What stands for each other: a network trains in float32 or float64, and takes complex weights."""


def _kind(node: Any) -> str:
    if node is None:
        return "no such path"
    return "a tree" if isinstance(node, Mapping) else str(node.shape)


def _as_leaf(text: str) -> Any:
    return np.frombuffer(text.encode(), np.uint8)


def _text_of(leaf: Any) -> str:
    if not isinstance(leaf, np.ndarray) or leaf.ndim != 1 or leaf.dtype != np.uint8:
        raise DataError("recipe: expected text")
    try:
        return leaf.tobytes().decode()
    except UnicodeDecodeError:
        raise DataError("recipe: expected text in UTF-8") from None


def _shape_tree(in_shape: Any) -> Any:
    """Return a shape as an array, and a tuple of shapes as a tree with the keys "0", "1", …"""
    if any(isinstance(part, tuple | list) for part in in_shape):
        return {str(i): _shape_tree(part) for i, part in enumerate(in_shape)}
    return np.array(in_shape, np.int64)


def shape_of(node: Any) -> Any:
    """Return the shape of one example, or the tuple of shapes, that a model's file holds.

    Raises:
        DataError: If it holds anything else.
    """
    if isinstance(node, Mapping):
        if set(node) != {str(i) for i in range(len(node))}:
            raise DataError(f"in_shape: expected shapes 0, 1, …, got {sorted(node)[:8]}")
        return tuple(shape_of(node[str(i)]) for i in range(len(node)))
    if (
        not isinstance(node, np.ndarray)
        or node.ndim != 1
        or node.dtype.kind not in "iu"
        or node.size > 32
    ):
        raise DataError("in_shape: expected a few integers")
    if node.size and int(node.min()) < 0:
        raise DataError(f"in_shape: expected sizes of 0 or more, got {node.tolist()}")
    return tuple(int(n) for n in node)
