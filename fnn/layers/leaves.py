"""Leaves of params and state: what shapes a layer has them in, who draws them, and whether they fit.

A layer says once, from the shape of an example, which arrays it has. From that follow its `init`, and
the check of every call: for each shape of x the layer is asked once, and a call then compares shapes
and dtypes alone.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import attrs
import numpy as np

from fnn.errors import DTypeError, FnnError, OptionError, ShapeError
from fnn.kernels.checks import check_entry, check_precision, check_shape, check_value, entries
from fnn.kernels.values import example_shape, is_integer, is_tuple_of_shapes, length, named_arrays
from fnn.keys import Key
from fnn.layers.calls import Init, Shape
from fnn.layers.contract import Shapes, Traits
from fnn.layers.initializers import Initializer, draw, zeros
from fnn.options import returned
from fnn.tree import Array, Tree


@attrs.frozen
class Leaf:
    """An array of params or state, before it is drawn.

    Attributes:
        shape: Its shape.
        init: Draws its first values; see `fnn.layers.initializers`.
        fans: How many inputs one output sums over, and how many outputs one input reaches; by default
            the initializer tells them from the shape.
    """

    shape: tuple[int, ...]
    init: Initializer = zeros
    fans: tuple[int, int] | None = None

    def __attrs_post_init__(self) -> None:
        """Refuse a shape that is none, such as 3 for (3,)."""
        if not _is_shape(self.shape):
            expected = "Leaf: expected a shape of integers of 0 or more such as (3,)"
            raise OptionError(f"{expected}, got {self.shape!r}")

    def draw(self, key: Key) -> Array:
        """Return the first values, float32."""
        return draw(self.init, key, self.shape, *(self.fans or (None, None)))


@attrs.define(eq=False)
class Spec:
    """What arrays a layer has for one shape of x, and what was seen to be right for it.

    What has once been right for these shapes and dtypes is not asked again: y in this mode, dparams and
    dx of a pullback of this code. All closures that one `fwd` returns share their code.

    Attributes:
        params, state: Name and shape of every leaf.
        dtype: That of x, or a tuple of those of its parts.
        own_dtype: That of the leaves.
        y_shape: Shape of y, the batch included; of a tuple the shapes of its parts; None if that is
            not known.
        modes: For which `train` y was right.
        seen: Code of a pullback that takes `need_dx`, whose dparams were right.
        trusted: Code of a pullback of which dx was right too: it is returned as it is.
        is_plain: Whether there are neither params nor state.
        last_params, last_state: Weak references to what fitted at the last call of `apply`.
    """

    params: tuple[tuple[str, tuple[int, ...]], ...] = ()
    state: tuple[tuple[str, tuple[int, ...]], ...] = ()
    dtype: Any = None
    own_dtype: Any = None
    y_shape: Shape | None = None
    modes: set[bool] = attrs.field(factory=set)
    seen: Any = False
    trusted: Any = False
    is_plain: bool = attrs.field(init=False)
    last_params: Callable[[], Any] = attrs.field(init=False, default=lambda: None)
    last_state: Callable[[], Any] = attrs.field(init=False, default=lambda: None)

    def __attrs_post_init__(self) -> None:
        self.is_plain = not self.params and not self.state

    def fits(self, params: Any, state: Any) -> bool:
        """Return whether that is what params and state have; called at every call."""
        if len(params) != len(self.params) or len(state) != len(self.state):
            return False
        dtype = self.own_dtype
        for name, shape in self.params:
            leaf = params.get(name)
            if type(leaf) is not np.ndarray or leaf.shape != shape:
                return False
            if leaf.dtype is not dtype and leaf.dtype != dtype:
                return False
        for name, shape in self.state:
            leaf = state.get(name)
            if type(leaf) is not np.ndarray or leaf.shape != shape:
                return False
            if leaf.dtype is not dtype and leaf.dtype != dtype:
                return False
        return True

    def fits_again(self, params: Any, state: Any) -> bool:
        """Return what `fits` does; trees, which cannot change, are compared once while they live."""
        if self.last_params() is params and self.last_state() is state:
            return True
        if not self.fits(params, state):
            return False
        if type(params) is Tree and type(state) is Tree:
            self.last_params, self.last_state = weakref.ref(params), weakref.ref(state)
        return True


_FROM_SHAPES = "out_shape", "leaves of params", "leaves of state"


def _is_shape(shape: Any, *, or_several: bool = False) -> bool:
    """Return whether that is the shape of an array, or of several in a tuple."""
    if not isinstance(shape, tuple | list):
        return False
    if or_several and is_tuple_of_shapes(tuple(shape)):
        return all(_is_shape(part, or_several=True) for part in shape)
    return all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 0 for n in shape)


MOST_SPECS = 64
"""For how many shapes of x a layer remembers what it has."""


class Leaves:
    """The leaves of a layer, as its `shapes` tells them."""

    def __init__(self, shapes: Shapes, traits: Traits) -> None:
        """Ask nothing before the first call."""
        self.shapes, self._traits = shapes, traits
        self.specs: dict[Any, Spec] = {}

    def init(self, key: Key, in_shape: Shape) -> tuple[Shape, dict[str, Array], dict[str, Array]]:
        """Draw every leaf from the key folded with its name."""
        out_shape, *trees = self._asked(in_shape)
        params, state = ({name: leaf.draw(key.fold(name)) for name, leaf in t.items()} for t in trees)
        return out_shape, params, state

    def fitting(self, params: Any, state: Any, x: Any) -> Spec:
        """Return what belongs to x, or refuse what does not fit it.

        Raises:
            ShapeError, DTypeError, TreeError: Naming the leaf, or the axis of x, that disagrees.
        """
        mark, dtype = (x.shape, x.dtype) if type(x) is np.ndarray else _marks(x)
        spec = self.specs.get(mark)
        if spec is not None and dtype == spec.dtype and spec.fits(params, state):
            return spec
        spec = self._checked(params, state, x, dtype)
        if mark is not None:
            if len(self.specs) >= MOST_SPECS:
                self.specs.clear()
            self.specs[mark] = spec
        return spec

    def _asked(self, in_shape: Shape) -> tuple[Shape, Mapping[str, Leaf], Mapping[str, Leaf]]:
        if not self._traits.takes_tuples:
            check_shape(in_shape)
        out_shape, *trees = came = returned("shapes", self.shapes(in_shape), _FROM_SHAPES)
        if not _is_shape(out_shape, or_several=True):
            expected = "expected shapes to return out_shape as integers such as (3,)"
            raise OptionError(f"{expected}, got {out_shape!r}")
        for what, own in zip(_FROM_SHAPES[1:], trees, strict=True):
            if not isinstance(own, Mapping) or not all(isinstance(leaf, Leaf) for leaf in own.values()):
                expected = f"expected shapes to return the {what} as a dict of Leaf"
                raise OptionError(f"{expected}, got {own!r:.80}")
        return came

    def _checked(self, params: Any, state: Any, x: Any, dtype: Any) -> Spec:
        check_taken(x, self._traits)
        in_shape = example_shape(x)
        try:
            out_shape, *trees = self._asked(in_shape)
        except ShapeError as error:
            came = f"{_batched(in_shape, length(x))}, the batch first"
            error.message = error.message.replace(f"in_shape={in_shape}", came)
            raise
        leaves = [
            (name, leaf, array)
            for what, tree, own in zip(("params", "state"), (params, state), trees, strict=True)
            for (name, leaf), array in zip(own.items(), entries(what, tree, tuple(own)), strict=True)
        ]
        if any(array.shape != leaf.shape for _, leaf, array in leaves):
            _blame_x(self._fits, params, state, x)
        floats = [part for _, part in named_arrays(x) if not is_integer(part)]
        if floats and leaves and leaves[0][2].shape == leaves[0][1].shape:
            check_precision(floats[0], leaves[0][2])
        for name, leaf, array in leaves:
            check_entry(name, array, leaf.shape, floats[0] if floats else leaves[0][2])
        params_of, state_of = (tuple((name, leaf.shape) for name, leaf in own.items()) for own in trees)
        own_dtype = leaves[0][2].dtype if leaves else None
        return Spec(params_of, state_of, dtype, own_dtype, _batched(tuple(out_shape), length(x)))

    def _fits(self, in_shape: Shape, params: Any, state: Any) -> bool:
        """Return whether params and state are such as an example of that shape would have."""
        try:
            _, *trees = self._asked(in_shape)
        except (FnnError, ValueError, IndexError):
            return False
        pairs = zip(trees, (params, state), strict=True)
        return all(tree[name].shape == leaf.shape for own, tree in pairs for name, leaf in own.items())


class Unknown:
    """The leaves of a layer that has an `init` of its own: only x is checked."""

    shapes = None
    specs: Mapping[Any, Spec] = {}

    def __init__(self, init: Init, traits: Traits) -> None:
        """Keep the function."""
        self.init, self._traits = init, traits

    def fitting(self, params: Any, state: Any, x: Any) -> Spec:
        """Refuse an x that is not of the kind that the layer takes."""
        check_taken(x, self._traits)
        return Spec()


def _marks(x: Any) -> tuple[Any, Any]:
    """Return shapes and dtypes of a tuple of ordinary arrays, None of anything else."""
    if type(x) is not tuple:
        return None, None
    marks = [(part.shape, part.dtype) if type(part) is np.ndarray else _marks(part) for part in x]
    shapes, dtypes = zip(*marks, strict=True) if marks else ((None,), ())
    return (None, None) if None in shapes else (shapes, dtypes)


def _batched(shape: Shape, n: int) -> Shape:
    return tuple(_batched(part, n) for part in shape) if is_tuple_of_shapes(shape) else (n, *shape)


_MOST_SHARES = 64


def _blame_x(fits: Callable[..., bool], params: Any, state: Any, x: Any, place: str = "") -> None:
    """Raise for the axis of x that disagrees, if params and state fit an x of another such axis."""
    if type(x) is tuple:
        shapes = example_shape(x)
        for i, part in enumerate(x):
            # One part of another shape, the others as they are.
            alone = partial(_fits_part, fits, shapes, i)
            _blame_x(alone, params, state, part, f"{place}part {i} of the tuple: ")
    if not isinstance(x, np.ndarray):
        return
    in_shape = x.shape[1:]
    sizes = {n for tree in (params, state) for leaf in tree.values() for n in leaf.shape}
    # A leaf has the size of an axis, or a share of it (groups).
    sizes |= {n * k for n in sizes for k in range(2, _MOST_SHARES)}
    for i, own in enumerate(in_shape):
        for n in sorted(sizes - {own}):
            other = (*in_shape[:i], n, *in_shape[i + 1 :])
            if fits(other, params, state):
                # Still so behind one more axis? Then it is counted from the end.
                is_last = i + 1 == len(in_shape) and fits((n + 1, *other), params, state)
                axis = f"last axis {n}" if is_last else f"axis {i + 1} of size {n}"
                raise ShapeError(f"{place}expected {axis}, got {x.shape}")
    for other in (in_shape[:-1], (*in_shape, *in_shape[-1:])):
        if fits(other, params, state):
            raise ShapeError(f"{place}expected {len(other) + 1} axes, got {x.shape}")


def _fits_part(
    fits: Callable[..., bool], shapes: Shape, i: int, own: Shape, params: Any, state: Any
) -> bool:
    return fits((*shapes[:i], own, *shapes[i + 1 :]), params, state)


def check_taken(x: Any, traits: Traits) -> None:
    """Refuse what the layer does not take, and say how a layer says that it takes integers."""
    try:
        check_value(x, integers=traits.takes_integers)
    except DTypeError as error:
        if not traits.takes_integers and any(is_integer(part) for _, part in named_arrays(x)):
            error.message += "; a layer that takes integers has traits=Traits(takes_integers=True)"
        raise
