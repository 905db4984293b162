"""`to_torch`: a network as a module of PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fnn.errors import DTypeError, FnnError, TreeError
from fnn.interop.arrays import translating
from fnn.interop.arrays.functions import arrays_in
from fnn.interop.arrays.translating import Run, System, within
from fnn.interop.torch.arrays import Draws, torch
from fnn.layers.chains import check_layer
from fnn.layers.contract import Layer
from fnn.tree import Tree, TreeLike, items

TORCH = System("PyTorch", "fnn.interop.torch")
rules = TORCH.rules
"""How PyTorch expresses layers of one's own: a function for each constructor.

    @rules.of(Scale)
    def scale(layer):
        return lambda params, state, x, train, key: (params["g"] * x, state)

`fnn.interop.rules.options_of(layer)` has the options that the layer was made with, and `function_of`
the functions of layers inside it. Of a cell (`make_cell`) the rule returns
`step(params, carry, x) -> (carry, y)`.
"""


def function_of(layer: Layer) -> Run:
    """Return what a layer is in PyTorch: `run(params, state, x, train, key) -> (y, state)`.

    For rules of compositions; `to_torch` is for everybody else.

    Raises:
        OptionError: If there is no rule for it or for a layer inside it.
    """
    with within(TORCH):
        return translating.function_of(layer)


class Node(torch.nn.Module):  # type: ignore[misc]
    """A tree of parameters, or of buffers, under the names that it has here."""

    def __init__(self, tree: TreeLike, *, trained: bool) -> None:
        """Copy the leaves."""
        super().__init__()
        self._own: dict[str, str] = {}
        for name, each in tree.items():  # type: ignore[union-attr]
            # Some names are those of methods, such as the parts of `bidirectional`.
            own = self._own[name] = f"{name}_" if hasattr(self, name) else name
            if isinstance(each, Mapping):
                self.add_module(own, Node(each, trained=trained))
            elif trained:
                self.register_parameter(own, torch.nn.Parameter(torch.from_numpy(np.array(each))))
            else:
                self.register_buffer(own, torch.from_numpy(np.array(each)))

    def tree(self) -> dict[str, Any]:
        """Return the tensors as a tree."""
        parts = self.parts().items()
        return {name: each.tree() if isinstance(each, Node) else each for name, each in parts}

    def put(self, values: Mapping[str, Any]) -> None:
        """Write a tree of the same structure into the tensors."""
        for name, each in self.parts().items():
            if isinstance(each, Node):
                each.put(values[name])
            elif values[name] is not each:
                each.copy_(values[name])

    def parts(self) -> dict[str, Any]:
        """Return the entries by our names: tensors, and what is below."""
        return {name: getattr(self, own) for name, own in self._own.items()}


class FnnModule(torch.nn.Module):  # type: ignore[misc]
    """A network as a module; see `to_torch`.

    Attributes:
        net: The network.
        params, state: Its trees, as modules that hold parameters and buffers.
        generator: What dropout and noise draw with; None is PyTorch's own.
    """

    def __init__(self, net: Layer, params: TreeLike, state: TreeLike) -> None:
        """Copy the numbers of a network."""
        super().__init__()
        self.net, self.generator = net, None
        self.params, self.state = Node(params, trained=True), Node(state, trained=False)
        tensors = dict(items_of(self.params.tree()))
        for path in net.frozen_paths(params):
            tensors[path].requires_grad_(False)
        self._run: Run = function_of(net)

    def forward(self, *x: Any) -> Any:
        """Return the outputs: of one array, or of several that stand for a tuple."""
        value = x[0] if len(x) == 1 else x
        try:
            for each in arrays_in(value):
                if not isinstance(each, torch.Tensor):
                    raise DTypeError(f"expected tensors of PyTorch, got {type(each).__name__}")
            y, moved = self._run(
                self.params.tree(), self.state.tree(), value, self.training, Draws(self.generator)
            )
        except FnnError as error:
            raise error.inside(self.net.name, self.net.where) from error.__cause__
        if self.training:
            with torch.no_grad():
                self.state.put(moved)
        return y

    def trees(self) -> tuple[Tree, Tree]:
        """Return params and state as trees of NumPy, for `net`."""
        return _numpy(self.params.tree()), _numpy(self.state.tree())

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the function, which follows from the network."""
        return {name: value for name, value in self.__dict__.items() if name != "_run"}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        """Make the function anew."""
        super().__setstate__(kept)
        self._run = function_of(self.net)


def items_of(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the tensors of a tree by their paths."""
    for name, each in tree.items():
        if isinstance(each, Mapping):
            yield from items_of(each, f"{path}{name}/")
        else:
            yield f"{path}{name}", each


def _numpy(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return Tree({name: _numpy(each) for name, each in tree.items()})
    return tree.detach().cpu().numpy().copy()


def to_torch(net: Layer, params: TreeLike, state: TreeLike) -> FnnModule:
    """Return a network as a module of PyTorch, with copies of its numbers.

        module = to_torch(net, fit.last.params, fit.last.state)
        module.eval()(torch.from_numpy(x))
        optimizer = torch.optim.Adam(module.parameters(), 1e-3)   # And train on.
        params, state = module.train().trees()                     # And back.

    Its outputs, the derivatives of every parameter and of x, and its running statistics are those of
    `net`. `state_dict` has the names of the trees, `params.dense_0.w` and `state.batch_norm_0.mean`, in
    our layouts; parameters that `frozen` holds ask for no gradient. It may be moved, cast, copied,
    pickled and saved as any module; a tuple of arrays is given as several arguments. Dropout and noise
    draw from PyTorch's generator, or from `module.generator`: other numbers than here, of the same
    distribution. What values alone can tell (a token or a length out of range) gives NaN.

    Raises:
        OptionError: If a layer has no rule, by its path. Layers of one's own get theirs by
            `rules.of(MyLayer)`.
        TreeError: If params or state are no trees.
    """
    check_layer("to_torch", "net", net)
    for tree in (params, state):
        if not isinstance(tree, Mapping):
            got = type(tree).__name__
            raise TreeError(
                f"expected params and state as init returns them, got {got}", path=("to_torch",)
            )
        dict(items(tree))  # Refuses what is no tree of arrays.
    try:
        return FnnModule(net, params, state)
    except FnnError as error:
        raise error.inside(net.name, net.where) from error.__cause__


__all__ = ["FnnModule", "function_of", "rules", "to_torch"]
