"""The contract: a layer is a pure triple over immutable parameter trees.

    init(key, in_shape)                               -> out_shape, params, state
    apply(params, state, x, *, train=False, key=None) -> y, state
    vjp(params, state, x, *, train=False, key=None)   -> y, state, pullback
    pullback(dy, *, need_dx=True)                     -> dparams, dx

Shapes are those of one example; arrays carry a leading batch axis, axis 0. `params` are trained,
`state` is carried (running statistics) and never differentiated; each is `{}` if there is none.
`dparams` has the structure of `params`; `need_dx=False` returns None for dx and spares its cost.
x has the precision of params (float32 or float64) or its complex counterpart.

x and y are arrays, or tuples of them where the layer says so; then `in_shape` and `out_shape` are
tuples of shapes, and dx and dy tuples. Where a layer takes integers (tokens, lengths, masks:
`Traits.takes_integers`), they have no derivative: dx, and dy where y hands them on, is None in their
place.

No argument is written to, and a pullback is linear and may be called again. Equal arguments of equal
layout in memory give equal bits. In another layout (a Fortran-ordered, strided or reversed copy) sums
may run in another order, and the same values come to rounding; no layout is refused. Numbers that are
not finite pass through a layer; they are refused where data come in: `Dataset`, `predict`, the train
step.

A pullback may have an argument `need_dparams` too; told False, it may return anything for dparams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import attrs

from fnn.errors import OptionError
from fnn.files import markup
from fnn.keys import Key
from fnn.layers.calls import Apply, Core, Init, Shape, Vjp, check_functions, check_name, checked_core
from fnn.recipe import HasRecipe, Recipe
from fnn.tree import TreeLike, items

Flops: TypeAlias = Callable[[Shape, Shape, Any], int]
"""Operations per example, from in_shape, out_shape and params, whose leaves may be empty outlines."""

Keeps: TypeAlias = Callable[[Shape, Shape], int]
"""Numbers per example that a training step keeps for the way back, from in_shape and out_shape."""

Shapes: TypeAlias = Callable[[Shape], tuple[Shape, Mapping[str, Any], Mapping[str, Any]]]
"""From the shape of an example to out_shape, and the leaves of params and of state by name."""

Inputs: TypeAlias = Callable[[Key, int, Shape], Any]
"""From a key, a number n and in_shape to n valid examples."""

Change: TypeAlias = "Callable[[str, Layer], Layer]"
"""From the name and the layer of a child to the layer that takes its place."""

MEMBERS = {
    "each": "one after the other, each by the layer itself",
    "fold": "the examples of all as one batch: for layers without params or state that take every "
    "example alone; those that draw do so for one member after the other",
    "chain": "a composition that is rebuilt of its layers' members, each fed by the one before",
    "branch": "likewise, where several layers get x",
    "none": "not at all",
}
"""How `stacked` computes the members of a layer at once."""


@attrs.frozen(repr=False)
class Traits:
    """What a layer declares about itself, for the laws and the loops to read.

    Attributes:
        mixes_batch: In training an example's output depends on the other examples.
        stochastic: Training needs a key; a layer that does not say so gets none inside a network.
        has_kinks: Somewhere the derivative jumps.
        complex_safe: Complex perturbations pass through, so that complex-step derivatives are right.
        takes_integers: x, or some arrays of it, are integers: tokens, lengths, masks; dx is None in
            their place. A layer that does not say so refuses them.
        takes_tuples: x is a tuple of arrays. A layer whose shapes `make_layer` knows refuses tuples
            unless it says so.
    """

    mixes_batch: bool = False
    stochastic: bool = False
    has_kinks: bool = False
    complex_safe: bool = True
    takes_integers: bool = False
    takes_tuples: bool = False

    def __repr__(self) -> str:
        fields = attrs.fields(Traits)
        given = (f"{f.name}={v}" for f in fields if (v := getattr(self, f.name)) != f.default)
        return f"Traits({', '.join(given)})"

    @classmethod
    def joint(cls, children: tuple[Traits, ...]) -> Traits:
        """Return the traits of layers one after the other; the first says what comes in."""
        return cls(
            mixes_batch=any(child.mixes_batch for child in children),
            stochastic=any(child.stochastic for child in children),
            has_kinks=any(child.has_kinks for child in children),
            complex_safe=all(child.complex_safe for child in children),
            takes_integers=bool(children) and children[0].takes_integers,
            takes_tuples=bool(children) and children[0].takes_tuples,
        )


@attrs.frozen(eq=False, repr=False)
class Layer(HasRecipe):
    """A differentiable map as a value; it holds no weights. `init, apply, vjp = layer`.

    Layers print as the code that makes them, equal recipes are equal, and they pickle and copy by
    their recipe.

    Attributes:
        name: Kind of layer, as it stands in paths.
        init, apply, vjp: The triple; see the top of this file.
        core: The triple as it was written, for combinators and loops; see `Core`.
        children: Name and layer of each of a composition's layers; what of params and state is theirs
            stands there by that name.
        traits: What it declares about itself.
        shapes: From in_shape to out_shape and the leaves of params and state, as in `make_layer`; None
            where only `init` knows.
        flops: From in_shape, out_shape and params to its operations per example in evaluation, those
            of its children not counted; None if that is not known.
        keeps: From in_shape and out_shape to how many numbers of one example a training step keeps of
            it for the way back: what comes out, if that is new memory, and what it keeps besides; what
            its children keep is not counted. None stands for what comes out.
        members: How `stacked` computes many of it at once; one of `MEMBERS`, or a function like `fwd`
            of `make_layer` over params and x with a leading axis of members.
        inputs: From a key, n and in_shape to n examples that it takes, for the laws and for random
            networks, where a shape does not say enough: tokens in a range, lengths, masks. None where
            any numbers of that shape will do.
        rebuilt: For a composition: from `change(name, layer) -> layer` to the same composition of
            the layers that `change` returns; None for others.
        recipe: The call that made it, None for one made directly.
        where: File and line of that call.
        is_named: Whether the name is the user's own and not that of the kind.
    """

    name: str
    _init: Init
    _apply: Apply
    _vjp: Vjp
    children: tuple[tuple[str, Layer], ...] = attrs.field(default=(), kw_only=True)
    traits: Traits = attrs.field(default=Traits(), kw_only=True)
    shapes: Shapes | None = attrs.field(default=None, kw_only=True)
    flops: Flops | None = attrs.field(default=None, kw_only=True)
    keeps: Keeps | None = attrs.field(default=None, kw_only=True)
    members: str | Callable[..., Any] = attrs.field(default="each", kw_only=True)
    inputs: Inputs | None = attrs.field(default=None, kw_only=True)
    rebuilt: Callable[[Change], Layer] | None = attrs.field(default=None, kw_only=True)
    recipe: Recipe | None = attrs.field(default=None, kw_only=True)
    where: str = attrs.field(default="", kw_only=True)
    is_named: bool = attrs.field(default=False, kw_only=True)
    _frozen: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    core: Core = attrs.field(init=False)
    init: Init = attrs.field(init=False)
    apply: Apply = attrs.field(init=False)
    vjp: Vjp = attrs.field(init=False)
    # The paths once they were asked for: at every level of a deep network they would take much memory.
    _paths: tuple[str, ...] | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        check_name("Layer", self.name)
        core = Core(self._init, self._apply, self._vjp)
        check_functions("Layer", **core._asdict())
        if not callable(self.members) and self.members not in MEMBERS:
            message = f"members: expected a function or one of {sorted(MEMBERS)}, got {self.members!r}"
            raise OptionError(message, path=("Layer",))
        checked = checked_core(core, self.name, self.where)
        for name, value in {"core": core, **checked._asdict()}.items():
            object.__setattr__(self, name, value)

    @property
    def frozen(self) -> tuple[str, ...]:
        """Paths in params of what stands still, those of the children too; ("",) if all of it does."""
        if self._paths is None:
            object.__setattr__(self, "_paths", _joined_paths(self._frozen, self.children))
        return self._paths or ()

    @property
    def stands_still(self) -> bool:
        """Whether all of its params stand still."""
        return "" in self._frozen

    def direct_recipe(self) -> Recipe:
        """Return the call of `Layer` itself."""
        options = {
            str(each.alias): value
            for each in attrs.fields(Layer)
            if each.init and each.kw_only and each.name not in ("recipe", "where", "is_named")
            if (value := getattr(self, each.name)) != each.default
            or each.name in ("children", "traits")
        }
        return Recipe(Layer, (self.name, *self.core), options)

    def frozen_paths(self, params: TreeLike) -> list[str]:
        """Return the paths of those leaves of params that stand still: `frozen` made them so.

        Their gradient is exactly zero whatever the derivative of y in them is, so that the adjoint
        law does not hold there; no optimizer sees them.
        """
        heads = tuple(f"{path}/" for path in self.frozen)
        there = [path for path, _ in items(params)]
        return [path for path in there if self.stands_still or f"{path}/".startswith(heads)]

    def _repr_html_(self, name: str = "") -> str:
        """Return the nested layers, for notebooks; `fnn.report.network_svg` draws a picture."""
        if not self.children:
            return markup.nested(name, repr(self))
        recipe = self.made_by()
        while self.is_named and getattr(recipe.call, "__name__", "") == "named":
            recipe = recipe.args[1].made_by()  # The name stands before it.
        call = getattr(recipe.call, "__name__", self.name)
        return markup.nested(name, call, [each._repr_html_(own) for own, each in self.children])

    def __iter__(self) -> Iterator[Any]:
        return iter((self.init, self.apply, self.vjp))


def _joined_paths(own: tuple[str, ...], children: tuple[tuple[str, Layer], ...]) -> tuple[str, ...]:
    """Return what is frozen of a composition: its own paths and those of its children below it."""
    if "" in own:
        return ("",)
    below = [f"{name}/{path}" if path else name for name, each in children for path in each.frozen]
    return tuple(dict.fromkeys((*own, *below)))
