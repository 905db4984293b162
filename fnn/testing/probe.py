"""A layer at a random point: params off their first values, a state, an input, and guarded calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np

from fnn.errors import FnnError
from fnn.keys import Key
from fnn.layer import Layer, Shape
from fnn.testing.adjoint import Problem
from fnn.testing.oracles import difference, doubled
from fnn.testing.values import (
    Arrays,
    BrokenError,
    arrays_of,
    described,
    like,
    named_leaves,
    norm,
    rebuilt,
    shown,
    skeleton,
)

SAME = object()
"""Stands for "the probe's own", where None is a value."""


@attrs.frozen
class Setting:
    """What a check was asked for."""

    key: Key
    dtype: str
    batch: int
    rtol: float
    directions: int


def spread(shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    """Return distinct values in (-2, 2), apart from one another and from 0: no kink or tie is near."""
    n = int(np.prod(shape))
    places = rng.permutation(n) - (n - 1) / 2 + 0.25 + rng.uniform(-0.2, 0.2, n)
    return (places * (4 / max(n, 8))).reshape(shape)


def perturbed(leaf: Any, rng: np.random.Generator, dtype: str, *, keeps_sign: bool = False) -> Any:
    """Return a float leaf off its first values, which hide errors: biases of 0, scales of 1.

    A state that is positive everywhere (a running variance) stays so: |a + noise| + 1/2.
    """
    if leaf.dtype.kind != "f":
        return leaf.copy()
    noisy = leaf.astype("float64") + 0.3 * rng.normal(size=leaf.shape)
    if keeps_sign and leaf.size and (leaf > 0).all():
        noisy = np.abs(noisy) + 0.5
    return noisy.astype(dtype)


class Probe:
    """One layer, one input shape, one mode; laws call it through here.

    What a call raises becomes `BrokenError`, with the words "apply raised ShapeError: ...".
    """

    def __init__(
        self, layer: Layer, in_shape: Any, setting: Setting, train: bool, seed: int = 0
    ) -> None:
        """Draw params, state and x of the setting's dtype."""
        self.layer, self.in_shape, self.setting, self.train, self.seed = (
            layer, in_shape, setting, train, seed,
        )  # fmt: skip
        self.dtype, self.batch = setting.dtype, setting.batch
        self.key = setting.key.fold("call", seed)
        self.eps = float(np.finfo(self.dtype).eps)
        self.notes: list[str] = []
        self.out_shape, self.first_params, self.first_state = self.init(setting.key)
        self.params = self.draw_params("params")
        self.state = self.draw_state("state")
        self.x = self.draw_x("x")

    def at(self, seed: int) -> Probe:
        """Return the same at another point."""
        return Probe(self.layer, self.in_shape, self.setting, self.train, seed)

    def of(self, **changes: Any) -> Probe:
        """Return the same in another setting, dtype or batch."""
        setting = attrs.evolve(self.setting, **changes)
        return Probe(self.layer, self.in_shape, setting, self.train, self.seed)

    def rng(self, label: str) -> np.random.Generator:
        """Return the generator of everything that is drawn under a label."""
        return self.setting.key.fold("law", self.seed, label).generator()

    # --- drawing ---

    def draw_params(self, label: str) -> Any:
        """Draw params near those of init."""
        rng = self.rng(label)
        arrays = [perturbed(leaf, rng, self.dtype) for leaf in arrays_of(self.first_params)]
        return rebuilt(self.first_params, arrays)

    def draw_state(self, label: str) -> Any:
        """Draw a state near that of init."""
        rng = self.rng(label)
        arrays = [
            perturbed(leaf, rng, self.dtype, keeps_sign=True) for leaf in arrays_of(self.first_state)
        ]
        return rebuilt(self.first_state, arrays)

    def draw_x(self, label: str, batch: int | None = None) -> Any:
        """Draw distinct inputs, a tuple of arrays where in_shape is one of shapes."""
        rng, n = self.rng(label), self.batch if batch is None else batch

        def draw(shape: Any) -> Any:
            if any(isinstance(part, tuple) for part in shape):
                return tuple(map(draw, shape))
            x = spread((n, *shape), rng).astype(self.dtype)
            x.setflags(write=False)
            return x

        return draw(self.in_shape)

    def draw_like(self, value: Any, label: str) -> Any:
        """Draw normal values like those of y or x."""
        rng = self.rng(label)
        made = rebuilt(value, [rng.normal(size=a.shape).astype(a.real.dtype) for a in arrays_of(value)])
        for leaf in arrays_of(made):
            leaf.setflags(write=False)
        return made

    # --- guarded calls ---

    def init(self, key: Key, in_shape: Any = None) -> tuple[Any, Any, Any]:
        """Call init."""
        try:
            result = self.layer.init(key, self.in_shape if in_shape is None else in_shape)
        except Exception as error:
            raise BrokenError("contract", f"init raised {described(error)}") from error
        _, params, state = _parts(result, 3, "init", "(out_shape, params, state)")
        named_leaves(params, "params")
        named_leaves(state, "state")
        return result

    def _call(self, part: str, n: int, expected: str, given: dict[str, Any]) -> Any:
        params, state, x, train, key = (
            own if (value := given.pop(name, SAME)) is SAME else value
            for name, own in (
                ("params", self.params), ("state", self.state), ("x", self.x),
                ("train", self.train), ("key", self.key),
            )
        )  # fmt: skip
        if given:
            raise TypeError(f"unknown arguments {sorted(given)}")
        try:
            result = getattr(self.layer, part)(params, state, x, train=train, key=key)
        except Exception as error:
            raise BrokenError("contract", f"{part} raised {described(error)}") from error
        result = _parts(result, n, part, expected)
        for what, value in zip(("y", "state"), result, strict=False):
            named_leaves(value, what)
        if skeleton(result[1]) is None or isinstance(result[1], tuple | list):
            raise BrokenError(
                "contract", f"{part}: expected the state as a dict, got {shown(result[1])}"
            )
        return result

    def apply(self, **given: Any) -> tuple[Any, Any]:
        """Call apply at the probe's point, or with the arguments given instead."""
        return self._call("apply", 2, "(y, state)", given)

    def vjp(self, **given: Any) -> tuple[Any, Any, Any]:
        """Call vjp; its pullback returns checked pairs (dparams, dx) and raises `BrokenError`."""
        x = given.get("x", self.x)
        params = given.get("params", self.params)
        y, state, pullback = self._call("vjp", 3, "(y, state, pullback)", given)
        if not callable(pullback):
            raise BrokenError("contract", f"vjp: expected a pullback to call, got {shown(pullback)}")

        def pull(dy: Any, *, need_dx: bool = True, checked: bool = True) -> tuple[Any, Any]:
            try:
                result = pullback(dy) if need_dx else pullback(dy, need_dx=False)
            except Exception as error:
                raise BrokenError("contract", f"pullback raised {described(error)}") from error
            dparams, dx = _parts(result, 2, "pullback", "(dparams, dx)")
            if checked:
                like(dparams, params, "dparams")
                if need_dx:
                    like(dx, x, "dx")
            return dparams, dx

        return y, state, pull

    def wobble(self, dy: Any) -> dict[str, Any]:
        """Return how far y and the gradient move, entry by entry, if the point is rounded otherwise.

        What is ill-conditioned, such as 1 - y² where tanh saturates, keeps no more digits than this
        leaves, and laws that compare two right results have to allow for it.
        """
        moved: dict[str, Any] = {}
        base = self._run(self.params, self.x, dy)
        for k in range(3):
            rng = self.rng(f"wobble {k}")
            params, x = (
                rebuilt(value, [self._shaken(leaf, rng) for leaf in arrays_of(value)])
                for value in (self.params, self.x)
            )
            for (name, a), (_, b) in zip(self._run(params, x, dy), base, strict=True):
                moved[name] = np.maximum(np.abs(a - b), moved.get(name, 0.0))
        return moved

    def _shaken(self, leaf: Any, rng: np.random.Generator) -> Any:
        if leaf.dtype.kind != "f":
            return leaf.copy()
        return (leaf * (1 + self.eps * rng.choice([-1.0, 1.0], size=leaf.shape))).astype(leaf.dtype)

    def _run(self, params: Any, x: Any, dy: Any) -> list[tuple[str, Any]]:
        y, _, pull = self.vjp(params=params, x=x)
        dparams, dx = pull(dy)
        return [
            (name, leaf.copy())
            for value, what in ((y, "y"), (dparams, "dparams"), (dx, "dx"))
            for name, leaf in named_leaves(value, what)
        ]

    # --- for the derivative laws ---

    def problem(self, method: str) -> Problem:
        """Return this point as a function of its params and its input."""
        y, _, pull = self.vjp()
        names = [name for name, _ in named_leaves(self.params, "dparams")]
        names += [name for name, _ in named_leaves(self.x, "dx")]

        def forward(arrays: Arrays) -> Arrays:
            return arrays_of(self.y_at(arrays), "y")

        def back(dy: Arrays) -> Arrays:
            return arrays_of(pull(rebuilt(y, [leaf.copy() for leaf in dy])), "gradient")

        leaves = [*arrays_of(self.params), *arrays_of(self.x)]
        rtol, notes = self.setting.rtol, self.notes

        def wobble(dy: Arrays) -> Arrays:
            moved = self.wobble(rebuilt(y, [leaf.copy() for leaf in dy]))
            return [moved[name] for name in names]

        return Problem(
            names, leaves, arrays_of(y), forward, back, self.rng, method, rtol, notes, wobble
        )

    def y_at(self, arrays: Arrays) -> Any:
        """Return y at other values of params and x, the state brought to their precision."""
        params, x = rebuilt((self.params, self.x), arrays)
        state = self.state
        double = any(leaf.dtype.char in "dD" for leaf in arrays)
        if double and self.dtype == "float32":
            state = rebuilt(
                state,
                [a.astype("float64") if a.dtype.kind == "f" else a.copy() for a in arrays_of(state)],
            )
        return self.apply(params=params, state=state, x=x)[0]

    def drifts(self) -> bool:
        """Say whether the float64 run that differences need is another function (other masks)."""
        if self.dtype == "float64":
            return False
        leaves = doubled([*arrays_of(self.params), *arrays_of(self.x)])
        single, double = arrays_of(self.apply()[0]), arrays_of(self.y_at(leaves))
        off = norm([a - b for a, b in zip(double, single, strict=True)])
        return not off <= 1e-2 * norm(double)

    def bends(self) -> str | None:
        """Say why complex steps cannot be trusted although the layer declares them safe, or None."""
        problem = self.problem("complex")
        v = problem.direction("trust")
        try:
            (jv, _) = problem.along(v) or ([], 0.0)
        except BrokenError as broken:
            return f"complex arrays: {broken.message}"
        if self.drifts():
            return None
        estimate = difference(problem.forward, problem.point, v)
        if not estimate.is_sharp:
            return None
        off = norm([a - b for a, b in zip(jv, estimate.jv, strict=True)])
        scale = norm(estimate.jv)
        bound = 1e-6 if self.dtype == "float64" else 1e-3
        if off <= bound * scale + 1e3 * self.eps * norm(problem.y):
            return None
        return (
            f"the complex step gives a derivative of norm {norm(jv):.6g}, differences one of "
            f"{scale:.6g}, {off:.1e} apart"
        )


def _parts(result: Any, n: int, part: str, expected: str) -> Any:
    if not isinstance(result, tuple | list) or len(result) != n:
        raise BrokenError("contract", f"{part}: expected {expected}, got {shown(result)}")
    return result


def children_of(layer: Layer, in_shape: Any, key: Key) -> Iterator[tuple[str, Layer, Any]]:
    """Yield (name, child, in_shape) for the children of a composed layer.

    The composition is built anew of children that note the shapes they are initialised with; one
    without a recipe is taken to be a chain.
    """
    if not layer.children:
        return
    seen: dict[Any, Any] = {}
    try:
        spied = _spied(layer, seen)
        spied.init(key, in_shape)
        shapes = [seen.get(i) for i in range(len(layer.children))]
    except Exception:
        shapes = [None] * len(layer.children)
    shape = in_shape
    for (name, child), own in zip(layer.children, shapes, strict=True):
        own = shape if own is None else own
        try:
            shape = child.init(key, own)[0]
        except Exception:
            continue
        yield name, child, own


def keys_given(p: Probe) -> dict[str, Key]:
    """Return the keys that a composition hands its stochastic children, if it can be built anew."""
    seen: dict[Any, Any] = {}
    try:
        _spied(p.layer, seen).apply(p.params, p.state, p.x, train=p.train, key=p.key)
    except Exception:
        return {}
    return {
        name: seen[f"key {i}"]
        for i, (name, child) in enumerate(p.layer.children)
        if child.traits.stochastic and isinstance(seen.get(f"key {i}"), Key)
    }


def _spied(layer: Layer, seen: dict[Any, Any]) -> Layer:
    """Build a layer anew, its children noting their in_shapes under their places."""
    recipe = layer.recipe
    if recipe is None:
        raise FnnError("no recipe")
    places = {id(child): i for i, (_, child) in enumerate(layer.children)}
    taken: set[int] = set()

    def spy(value: Any) -> Any:
        if not isinstance(value, Layer):
            return tuple(map(spy, value)) if isinstance(value, tuple) else value
        if id(value) not in places:  # `named` around a composition.
            return _spied(value, seen) if value.children else value
        same = [i for i, (_, child) in enumerate(layer.children) if child is value and i not in taken]
        place = same[0]
        taken.add(place)

        def init(key: Key, in_shape: Shape, *, inner: Any = value.init) -> Any:
            seen[place] = in_shape
            return inner(key, in_shape)

        def apply(params: Any, state: Any, x: Any, *, train: bool = False, key: Any = None) -> Any:
            seen[f"key {place}"] = key
            return value.apply(params, state, x, train=train, key=key)

        return attrs.evolve(value, init=init, apply=apply)

    args = tuple(map(spy, recipe.args))
    kwargs = {name: spy(value) for name, value in recipe.kwargs.items()}
    return recipe.call(*args, **kwargs)
