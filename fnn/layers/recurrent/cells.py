"""Cells: one step of a recurrence as a value, the library's own and those of its users.

    shapes(in_shape)        -> out_shape, carry_shape, leaves of params by name
    step(params, carry, x)  -> carry, y, pullback
    pullback(dcarry, dy)    -> dparams, dcarry, dx

`in_shape` is that of one example at one step, without time. What is carried from step to step is an
array or a tuple of them, with the batch first; it begins as zeros. `rnn` runs a cell over time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs
import numpy as np

from fnn.errors import OptionError, TreeError
from fnn.kernels.checks import check_array, check_cotangent, check_like
from fnn.kernels.noting import as_array
from fnn.kernels.values import map_arrays
from fnn.layers.calls import Shape, check_functions, check_name
from fnn.layers.contract import Keeps, Traits
from fnn.options import returned
from fnn.recipe import HasRecipe, Recipe, constructor
from fnn.tree import Array

CellShapes: TypeAlias = Callable[[Shape], tuple[Shape, Shape, Any]]
Step: TypeAlias = Callable[[Any, Any, Array], tuple[Any, Array, Callable[[Any, Any], Any]]]
OverTime: TypeAlias = Callable[[Any, Any, Array, Array | None], tuple[Array, Any, Any]]


@attrs.frozen(eq=False, repr=False)
class Cell(HasRecipe):
    """One step of a recurrence; made by `make_cell`, or one of `RNNCell`, `LSTMCell` and `GRUCell`.

    Attributes:
        name: Kind of cell; the layer that runs it is called so in paths.
        shapes, step: See the top of this file.
        over_time: All steps at once, where there is a faster way than one after the other: from
            (params, carry, xs, valid) to (ys, carry, pullback), where pullback(dys, dcarry, need_dx)
            returns (dparams, dcarry, dxs). xs is (time, batch, ...); `valid` (time, batch, 1) is None
            or says where an example has not ended: where it has, what is carried stays.
        traits: What the laws should know of it.
        flops: Operations per example and step, from in_shape, out_shape and params; None if unknown.
        keeps: From in_shape and out_shape to how many numbers of one example a training step keeps of
            each step of time for the way back; None stands for what comes out and what is carried.
        recipe, where: As of a layer.
    """

    name: str
    shapes: CellShapes
    step: Step
    over_time: OverTime | None = attrs.field(default=None, kw_only=True)
    traits: Traits = attrs.field(default=Traits(), kw_only=True)
    flops: Callable[[Shape, Shape, Any], int] | None = attrs.field(default=None, kw_only=True)
    keeps: Keeps | None = attrs.field(default=None, kw_only=True)
    recipe: Recipe | None = attrs.field(default=None, kw_only=True)
    where: str = attrs.field(default="", kw_only=True)

    def direct_recipe(self) -> Recipe:
        """Return the call of `Cell` itself."""
        more: dict[str, Any] = {"over_time": self.over_time, "traits": self.traits}
        more |= {"flops": self.flops, "keeps": self.keeps}
        return Recipe(Cell, (self.name, self.shapes, self.step), more)


@constructor
def make_cell(
    name: str,
    shapes: CellShapes,
    step: Step,
    *,
    traits: Traits = Traits(),  # noqa: B008 - a constant.
    flops: Callable[[Shape, Shape, Any], int] | None = None,
) -> Cell:
    """Make a cell of the shapes of its arrays and one step; `rnn(cell)` is a layer over time.

        def shapes(in_shape):
            n = in_shape[-1]
            return (n,), (n,), {"decay": Leaf((n,), constant(0.5))}

        def step(params, carry, x):
            a, (batch, _) = params["decay"], x.shape

            def pullback(dcarry, dy):
                d = dcarry + dy
                return {"decay": (carry * d).sum(axis=0)}, a * d, d

            h = a * carry + x
            return h, h, pullback

        layer = rnn(make_cell("leaky", shapes, step))

    Args:
        name: Kind of cell, as the layer will stand in paths ("leaky").
        shapes: From the shape of one example at one step to (out_shape, carry_shape, leaves), the
            leaves of params by name, each a `Leaf(shape, init, fans)`.
        step: From (params, carry, x), x and what is carried with the batch first, to (carry, y,
            pullback), where pullback(dcarry, dy) returns (dparams, dcarry, dx).
        traits: What the laws should know, as in `make_layer`: kinks, what is not analytic.
        flops: Operations per example and step, for `summary`.
    """
    check_name("make_cell", name)
    check_functions(
        "make_cell", shapes=shapes, step=step, **({} if flops is None else {"flops": flops})
    )
    if not isinstance(traits, Traits):
        raise OptionError(f"traits: expected Traits, got {traits!r}", path=("make_cell",))
    return Cell(name, shapes, step, traits=traits, flops=flops)


def check_cell(who: str, cell: Any) -> None:
    """Refuse what is no cell, and say how to call a constructor that was given instead."""
    if not isinstance(cell, Cell):
        name = getattr(cell, "__name__", "") if callable(cell) else ""
        got = f"{name}; call it: {name}(...)" if name else repr(cell)
        raise OptionError(f"cell: expected a Cell, got {got}", path=(who,))


def step_of(over_time: OverTime) -> Step:
    """Return one step of what computes all at once: a sequence of length 1."""

    def step(params: Any, carry: Any, x: Array) -> Any:
        ys, carry, back = over_time(params, carry, x[None], None)

        def pullback(dcarry: Any, dy: Array) -> Any:
            dparams, dcarry, dxs = back(dy[None], dcarry, need_dx=True)
            return dparams, dcarry, dxs[0]

        return carry, ys[0], pullback

    return step


def over_time_of(step: Step) -> OverTime:
    """Return what runs a step over time, one after the other."""

    def over_time(params: Any, carry: Any, xs: Array, valid: Array | None) -> Any:
        ys: list[Array] = []
        backs = []
        for t, x in enumerate(xs):
            new, y, back = returned("step", step(params, carry, x), ("carry", "y", "pullback"))
            check_cotangent("what is carried", new, carry)
            check_array(y)
            if ys:
                check_like("y", y, ys[0])
            ended = None if valid is None or valid[t].all() else ~valid[t, :, 0]
            carry = new if ended is None else map_arrays(_chosen(ended), new, carry)
            ys.append(y)
            backs.append((back, ended))

        def pullback(dys: Array, dcarry: Any, *, need_dx: bool) -> Any:
            total: dict[str, Any] = {}
            dxs = []
            for dy, (back, ended) in zip(reversed(dys), reversed(backs), strict=True):
                into = dcarry if ended is None else map_arrays(_zeroed(ended), dcarry)
                came = returned("the step's pullback", back(into, dy), ("dparams", "dcarry", "dx"))
                dparams, before, dx = came
                if not isinstance(dparams, Mapping) or dparams.keys() != params.keys():
                    got = sorted(dparams) if isinstance(dparams, Mapping) else type(dparams).__name__
                    raise TreeError(f"expected dparams {sorted(params)}, got {got}")
                check_cotangent("dcarry", before, dcarry)
                check_cotangent("dx", dx, xs[0])
                dcarry = before if ended is None else map_arrays(_chosen(ended), before, dcarry)
                # NumPy makes the sum of two arrays without axes a number.
                total = {
                    name: as_array(total[name] + dparams[name]) if total else dparams[name]
                    for name in params
                }
                dxs.append(dx)
            return total, dcarry, np.stack(dxs[::-1]) if need_dx else None

        return np.stack(ys), carry, pullback

    return over_time


def _rows(where: Array, like: Array) -> Array:
    return where.reshape(-1, *(1,) * (like.ndim - 1))


def _chosen(ended: Array) -> Callable[[Array, Array], Array]:
    """Return the function of (new, old) that keeps the old rows where examples have ended."""
    return lambda new, old: np.where(_rows(ended, new), old, new)


def _zeroed(ended: Array) -> Callable[[Array], Array]:
    return lambda d: np.where(_rows(ended, d), d.dtype.type(0), d)
