"""`from_torch`: modules of known layers as networks of ours, and numbers of ours back into them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np

from fnn import tree
from fnn.errors import FnnError, OptionError, ShapeError, TreeError
from fnn.interop.torch import known_sequences  # noqa: F401 - adds its rules.
from fnn.interop.torch.arrays import torch
from fnn.interop.torch.known import PLAIN, RULES, Read, of, refuse
from fnn.interop.torch.module import FnnModule, items_of
from fnn.layers.combinators import serial
from fnn.layers.contract import Layer
from fnn.tree import Array, Tree, TreeLike

nn: Any = torch.nn


def read(module: Any) -> Read:
    """Return what a module is.

    Raises:
        OptionError: If fnn has no layer for it, by its path.
    """
    kind = type(module)
    if kind in PLAIN:
        return Read(PLAIN[kind](module))
    if kind in RULES:
        return RULES[kind](module)
    raise refuse(module, "there is no rule for its class")


@of(nn.Sequential)
def sequential(module: Any) -> Read:
    """Compose modules."""
    return chain([*module.named_children()])


@of(nn.TransformerEncoder)
def transformer_encoder(module: Any) -> Read:
    """Compose blocks, and a norm if there is one."""
    children = [(f"layers.{i}", each) for i, each in enumerate(module.layers)]
    return chain([*children, *([("norm", module.norm)] if module.norm is not None else [])])


def chain(children: list[tuple[str, Any]]) -> Read:
    """Return modules one after the other."""
    found = []
    for name, child in children:
        try:
            found.append((name, read(child)))
        except FnnError as error:
            raise error.inside(name, "") from None
    net = serial(*(each.layer for _, each in found))
    entries = []
    for (name, each), (ours, _) in zip(found, net.children, strict=True):
        for entry in each.entries:
            kind, _, path = entry.path.rpartition(":")
            names = tuple(f"{name}.{own}" for own in entry.names)
            path = f"{kind}:{ours}/{path}" if kind else f"{ours}/{path}"
            entries.append(attrs.evolve(entry, path=path, names=names))
    return Read(net, tuple(entries))


def _tensors(module: Any) -> dict[str, Any]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _at(tensors: dict[str, Any], name: str) -> Any:
    """Return a tensor, or rows of one, over the same memory."""
    rows = re.fullmatch(r"(.+)\[(\d+):(\d+)\]", name)
    return tensors[name] if rows is None else tensors[rows[1]][int(rows[2]) : int(rows[3])]


def _array(tensor: Any) -> Array:
    array = tensor.detach().cpu()
    if array.dtype not in (torch.float32, torch.float64):
        raise OptionError(f"expected tensors of float32 or float64, got {tensor.dtype}")
    return np.array(array.numpy())


def from_torch(module: Any) -> tuple[Layer, Tree, Tree]:
    """Return a module of PyTorch as a network, with its params and state.

        net, params, state = from_torch(nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten()))

    Known are `nn.Sequential`, nested as it may be, the layers of `torch.nn` that have the same meaning
    here, and what `to_torch` has made. Images have their channels first on both sides. What it computes
    in evaluation, the derivatives, and the running statistics of training are the module's. A recurrent
    layer gives its outputs alone, and attention is that of x to itself.

    Raises:
        OptionError: If there is no layer of ours for a module, by its path.
    """
    if isinstance(module, FnnModule):
        return module.net, *module.trees()
    if not isinstance(module, nn.Module):
        raise OptionError(f"expected a module of PyTorch, got {module!r:.200}", path=("from_torch",))
    try:
        found = read(module)
        tensors = _tensors(module)
        arrays = {
            e.path: e.ours(*(_array(_at(tensors, name)) for name in e.names)) for e in found.entries
        }
    except FnnError as error:
        raise error.inside("from_torch", "") from None
    params: dict[str, Any] = {}
    state: dict[str, Any] = {}
    for path, array in arrays.items():
        kind, _, place = path.rpartition(":")
        _put(state if kind else params, place.split("/"), np.ascontiguousarray(array))
    return found.layer, Tree(params), Tree(state)


def _put(inside: dict[str, Any], names: list[str], array: Array) -> None:
    for name in names[:-1]:
        inside = inside.setdefault(name, {})
    inside[names[-1]] = array


def into_torch(module: Any, params: TreeLike, state: TreeLike) -> None:
    """Write numbers of ours into a module that has them: that of `from_torch` or `to_torch`.

        net, params, state = from_torch(module)
        fit = fnn.fit(net, …, params=params, state=state)
        into_torch(module, fit.last.params, fit.last.state)

    All shapes are looked at first: nothing is written if one does not fit.

    Raises:
        OptionError: If there is no layer of ours for a module, by its path.
        ShapeError: If an array has another shape than its tensor.
        TreeError: If a tree lacks a path.
    """
    pairs = [*_pairs(module, params, state)]
    for name, tensor, array in pairs:
        if tuple(tensor.shape) != array.shape:
            expected = f"expected {name} of shape {tuple(tensor.shape)}, got {array.shape}"
            raise ShapeError(expected, path=("into_torch",))
    with torch.no_grad():
        for _, tensor, array in pairs:
            tensor.copy_(torch.from_numpy(np.array(array)))


def _pairs(module: Any, params: TreeLike, state: TreeLike) -> Iterator[tuple[str, Any, Array]]:
    if isinstance(module, FnnModule):
        for node, own in ((module.params, params), (module.state, state)):
            arrays = dict(tree.items(own))
            for path, tensor in items_of(node.tree()):
                yield path, tensor, tree.get(own, path)
                del arrays[path]
            if arrays:
                raise TreeError(f"expected no {', '.join(arrays)}", path=("into_torch",))
        return
    tensors, trees = _tensors(module), {"": params, "state": state}
    for entry in read(module).entries:
        kind, _, path = entry.path.rpartition(":")
        array = tree.get(trees[kind], path)
        for name, each in zip(entry.names, entry.theirs(array), strict=True):
            yield name, _at(tensors, name), each
