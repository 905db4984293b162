"""A trained network in one file: what it is made of, its weights, and the shape that it takes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from fnn import tree
from fnn.checkpoint.networks import layers_allowed, network_from, network_text
from fnn.checkpoint.trees import load_tree, save_tree
from fnn.errors import DataError, FnnError, OptionError, ShapeError
from fnn.files import PathLike
from fnn.initializers import shapes_only
from fnn.keys import Key
from fnn.layer import Layer, Shape
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
        OptionError: If a layer has an option that text cannot say, such as a lambda or an array.
        TreeError, ShapeError: If params and state are not the network's.
        DataError: If the file system refuses; an older file at `path` is then untouched.
    """
    if not isinstance(net, Layer):
        raise OptionError(f"net: expected a Layer, got {net!r:.80}", path=("save_model",))
    recipe = network_text(net)
    misfits = _misfits(net, Tree({"params": params, "state": state}), in_shape)
    if misfits:
        raise ShapeError("\n  ".join([f"{path}: does not fit its network:", *misfits]))
    save_tree(path, model_tree(params, state, in_shape) | {"recipe": _as_leaf(recipe)}, within=within)


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
            arguments that makes it (`{"swish": layer}`). Initializers of one's own go here too. What
            they do with options out of the file is their business.
        most_layers: How many layers the file may have; by default 128 and one more for every 2 KiB of
            the file, which take 4 times its size and 1 MiB.
        within: The folder that the caller chose, below which no link is followed; without, `path` is
            the caller's own and may be a link.

    Raises:
        DataError: If the file is missing, damaged, no model, larger than allowed, or needs a layer
            that is not in `layers`; or if network and weights do not fit. Names the file.
    """
    model = load_tree(path, within=within)
    try:
        if most_layers is None:
            most_layers = layers_allowed(os.stat(path).st_size)
        expected = {"params", "state", "in_shape", "recipe"}
        if not expected <= model.keys():
            raise DataError(f"expected a model of {sorted(expected)}, got {sorted(model)[:8]}")
        in_shape = shape_of(model["in_shape"])
        recipe = _text_of(model["recipe"])
        net = network_from(recipe, own=layers, most_layers=most_layers)
        misfits = _misfits(net, model, in_shape)
        if misfits:
            lines = [f"{line:.200}" for line in misfits[:20]]
            raise DataError("weights do not fit the network:\n  " + "\n  ".join(lines))
    except FnnError as error:
        raise DataError(f"{path}: {error}") from None
    # What arithmetic on a stranger's sizes comes to.
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise DataError(f"{path}: {error or type(error).__name__}") from None
    return net, model["params"], model["state"], in_shape


def _misfits(net: Layer, model: Tree, in_shape: Shape) -> list[str]:
    """Return a line per path at which weights and network differ in structure or shape."""
    with shapes_only():
        _, params, state = net.init(Key.of(0), in_shape)
    lines = []
    for name, wanted in (("params", params), ("state", state)):
        if not isinstance(model[name], Mapping):
            lines.append(f"{name}: expected a tree, got an array")
            continue
        want, got = (
            {at: leaf.shape for at, leaf in tree.items(t, name)} for t in (wanted, model[name])
        )
        lines += [
            f"{at}: expected {want.get(at, 'no such path')}, got {got.get(at, 'no such path')}"
            for at in sorted(want.keys() | got.keys())
            if want.get(at) != got.get(at)
        ]
    return lines


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
