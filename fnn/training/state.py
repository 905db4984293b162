"""The state of training, and what a batch of it is made of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import attrs
import numpy as np

from fnn import tree
from fnn.errors import DataError, DTypeError, OptionError, ShapeError, TreeError
from fnn.kernels.conversion import first_infinite
from fnn.kernels.values import is_tuple_of_shapes
from fnn.keys import Key
from fnn.layers.calls import Shape
from fnn.layers.contract import Layer
from fnn.optimizers.transform import Transform
from fnn.options import integer
from fnn.tree import Tree, TreeLike, freeze

Batch: TypeAlias = tuple[Any, ...]
"""(x, target) or (x, target, weight); x and target are arrays or tuples of them."""


def _step(value: Any) -> int:
    return value if type(value) is int and value >= 0 else integer("TrainState", "step", value, least=0)


def _key(value: Any) -> Key:
    if not isinstance(value, Key):
        raise OptionError(
            f"key: expected a Key, got {value!r}; write Key.of(seed)", path=("TrainState",)
        )
    return value


@attrs.frozen
class TrainState:
    """All that a step changes; immutable, picklable, and equal if all its numbers are.

    Plain dicts are taken for trees, and arrays that their owner could still write to are copied.
    `attrs.evolve(now, params=...)` gives a changed one.

    Attributes:
        step: Number of steps taken, a Python int of 0 or more; the one clock.
        key: Where all randomness of training comes from; it never changes.
        params: What is trained, and beside it what `frozen` layers keep as it is.
        state: What is carried, such as running moments.
        opt_state: The optimizer's memory, of what is trained.
    """

    step: int = attrs.field(converter=_step)
    key: Key = attrs.field(converter=_key)
    params: Tree = attrs.field(converter=tree.freeze)
    state: Tree = attrs.field(converter=tree.freeze)
    opt_state: Tree = attrs.field(converter=tree.freeze)


def init_train_state(net: Layer, optimizer: Transform, in_shape: Shape, key: Key) -> TrainState:
    """Return the state before the first step; weights are drawn from `key.fold("init")`.

    Args:
        net: The network.
        optimizer: The transform that will train it.
        in_shape: Shape of one example, or the tuple of the shapes of its arrays.
        key: Root of all randomness of the run.

    Raises:
        OptionError: If an argument is something else.
        ShapeError: If the network does not take examples of that shape.
    """
    who = "init_train_state"
    check_parts(who, net, optimizer)
    if not isinstance(key, Key):
        raise OptionError(f"key: expected a Key, got {key!r}; write Key.of(seed)", path=(who,))
    _, params, state = net.init(key.fold("init"), _shape(who, in_shape))
    return TrainState(0, key, params, state, optimizer.init(trained(net, params)))


def trained(net: Layer, params: TreeLike) -> Any:
    """Return that part of params, or of a tree of their structure, that an optimizer gets to see.

    It is the tree itself where nothing is frozen; branches of which nothing is left are left out.
    """
    return params if not net.frozen else _without(freeze(params), [p.split("/") for p in net.frozen])


def _without(node: Tree, paths: list[list[str]]) -> Tree:
    if [""] in paths:
        return tree.EMPTY
    below: dict[str, list[list[str]]] = {}
    for head, *rest in paths:
        below.setdefault(head, []).append(rest or [""])
    kept: dict[str, Any] = {}
    for name, value in node.items():
        if name not in below:
            kept[name] = value
        elif type(value) is Tree and (part := _without(value, below[name])):
            kept[name] = part
    return Tree.own(kept)


def merged(net: Layer, params: Tree, part: Tree) -> Tree:
    """Return params with what is trained taken from `part`; what is frozen is the same object."""
    return part if not net.frozen else _over(params, part)


def _over(whole: Tree, part: Any) -> Tree:
    new = {
        name: value
        if name not in part
        else _over(value, part[name])
        if type(value) is Tree
        else part[name]
        for name, value in whole.items()
    }
    return Tree.own(new)


def averaged_state(now: TrainState) -> TrainState:
    """Return the state with the averages that `ema` keeps in place of the parameters; to evaluate with.

    Parameters of which no average is kept, such as those of `frozen` layers, stay what they are.

    Raises:
        OptionError: If its optimizer keeps no average, or more than one.
    """
    found = list(_averages(now.opt_state))
    if len(found) != 1:
        got = [path for path, _ in found] if found else f"a memory of {sorted(now.opt_state)}"
        raise OptionError(f"expected one average by `ema`, got {got}", path=("averaged_state",))
    return attrs.evolve(now, params=_over(now.params, found[0][1]))


def _averages(memory: Tree, path: str = "") -> Iterator[tuple[str, Tree]]:
    """Yield (path, average) of every `ema`: its memory is the average alone."""
    if memory.keys() == {"average"}:
        yield path or "/", memory["average"]
        return
    for name, value in memory.items():
        if type(value) is Tree:
            yield from _averages(value, f"{path}/{name}" if path else name)


def _shape(who: str, in_shape: Any) -> Shape:
    if not isinstance(in_shape, tuple | list):
        expected = "the shape of one example, e.g. (784,)"
        raise OptionError(f"in_shape: expected {expected}, got {in_shape!r}", path=(who,))
    if is_tuple_of_shapes(tuple(in_shape)):
        return tuple(_shape(who, part) for part in in_shape)
    return tuple(integer(who, "in_shape", n, least=0) for n in in_shape)


def cast(now: TrainState, dtype: str) -> TrainState:
    """Return the state with all floating numbers in `dtype`, "float32" or "float64"."""
    parts = {name: tree.cast(getattr(now, name), dtype) for name in ("params", "state", "opt_state")}
    return attrs.evolve(now, **parts)


def check_parts(who: str, net: Any, optimizer: Any) -> None:
    """Refuse what is no network or no optimizer, such as a constructor that was not called."""
    for name, value, kind in (("net", net, Layer), ("optimizer", optimizer, Transform)):
        if not isinstance(value, kind):
            hint = f"; call it: {value.__name__}(...)" if hasattr(value, "__name__") else ""
            raise OptionError(f"{name}: expected a {kind.__name__}, got {value!r}{hint}", path=(who,))


def unpack(batch: Batch) -> tuple[Any, Any, dict[str, Any]]:
    """Return x, target and the loss's keyword arguments of a batch.

    Raises:
        DataError: If the batch is not (x, target) or (x, target, weight).
    """
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        kind = f"{len(batch)} of them" if isinstance(batch, tuple | list) else type(batch).__name__
        raise DataError(f"expected a batch (x, target) or (x, target, weight), got {kind}")
    x, target, *weight = batch
    return x, target, {"weight": weight[0]} if weight else {}


def is_finite(node: Any) -> bool:
    """Return whether all numbers of a tree or tuple are finite; call where overflow does not warn."""
    if type(node) is not np.ndarray:
        if isinstance(node, Mapping):
            return all(map(is_finite, node.values()))
        if isinstance(node, tuple):
            return all(map(is_finite, node))
    kind = node.dtype.kind
    if kind not in "fc":
        return True
    # One pass in BLAS, without a temporary; where the squares overflow, look closely.
    flat = node if node.ndim == 1 else node.reshape(-1)
    squares = flat.dot(flat) if kind == "f" else np.vdot(flat, flat).real
    return math.isfinite(squares) or first_infinite(node) is None


def check_kept(before: TreeLike, after: TreeLike, path: str) -> None:
    """Refuse a tree that has not the structure, shapes and dtypes that it had.

    Raises:
        TreeError, ShapeError, DTypeError: With the path of the first difference.
    """
    old, new = list(tree.items(before, path)), list(tree.items(after, path))
    for (at, a), (other, b) in zip(old, new, strict=False):
        if at == other and a.shape != b.shape:
            raise ShapeError(f"expected {a.shape} as before the step, got {b.shape}", path=(at,))
        if at == other and a.dtype != b.dtype:
            raise DTypeError(f"expected {a.dtype} as before the step, got {b.dtype}", path=(at,))
    paths, others = [at for at, _ in old], [at for at, _ in new]
    if paths != others:
        raise TreeError(f"expected {paths} as before the step, got {others}")


class Reached:
    """A state that lies in the memory of programs; valid until the second step after it.

    What comes between (a state that is loaded) gives it memory of its own before.
    """

    __slots__ = ("_state", "_turn", "programs", "step")

    def __init__(self, programs: Any, turn: int, step: int) -> None:
        """Note in which of their two sets of memory it lies."""
        self.programs, self._turn, self.step = programs, turn, step
        self._state: TrainState | None = None

    def state(self) -> TrainState:
        """Return it in memory of its own."""
        if self._state is None:
            found: TrainState = self.programs.state(self._turn, self.step)
            self._state = found
        return self._state


def settled(now: TrainState | Reached) -> TrainState:
    """Return a state that stays what it is."""
    return now.state() if isinstance(now, Reached) else now
