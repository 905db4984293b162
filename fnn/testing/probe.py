"""A layer at a random point: params off their first values, a state, an input, and guarded calls."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from fnn.keys import Key
from fnn.layers.contract import Layer
from fnn.testing.drawing import Inputs, in_dtype, perturbed, spread
from fnn.testing.oracles import difference, doubled
from fnn.testing.problem import Problem
from fnn.testing.values import (
    Arrays,
    BrokenError,
    arrays_of,
    described,
    like,
    line_of,
    named_leaves,
    norm,
    rebuilt,
    shown,
    skeleton,
    with_integers,
    without_integers,
)

SAME = object()
"""Stands for "the probe's own", where None is a value."""


@attrs.frozen
class Setting:
    """What a check was asked for; `inputs(key, n)` draws x where its shape does not say enough."""

    key: Key
    dtype: str
    batch: int
    rtol: float
    directions: int
    inputs: Inputs = None


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

    def at(self, seed: int, nearer: float = 1.0) -> Probe:
        """Return the same at another point, x nearer to 0 unless somebody else draws it."""
        there = Probe(self.layer, self.in_shape, self.setting, self.train, seed)
        if nearer != 1 and self.setting.inputs is None:
            there.x = rebuilt(there.x, [leaf * leaf.dtype.type(nearer) for leaf in arrays_of(there.x)])
        return there

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
        n = self.batch if batch is None else batch
        if self.setting.inputs is not None:
            key = self.setting.key.fold("inputs", self.seed, label)
            return in_dtype(self.setting.inputs(key, n), self.dtype)
        rng = self.rng(label)

        def draw(shape: Any) -> Any:
            if any(isinstance(part, tuple) for part in shape):
                return tuple(map(draw, shape))
            x = spread((n, *shape), rng).astype(self.dtype)
            x.setflags(write=False)
            return x

        return draw(self.in_shape)

    def draw_like(self, value: Any, label: str) -> Any:
        """Draw normal values like those of y or x, complex where they are; 0 in integers' place."""
        rng = self.rng(label)
        made = rebuilt(
            value,
            [
                rng.normal(size=a.shape).astype(a.dtype) if a.dtype.kind in "fc" else np.zeros_like(a)
                for a in arrays_of(value)
            ],
        )
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
            raise _broken(part, error, params, x) from error
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
        """Call vjp; its pullback returns checked pairs (dparams, dx) and raises `BrokenError`.

        In the place of integers there is no cotangent: it hands None to the layer and takes None from
        it, and laws see zeros there.
        """
        x = given.get("x", self.x)
        params = given.get("params", self.params)
        y, state, pullback = self._call("vjp", 3, "(y, state, pullback)", given)
        if not callable(pullback):
            raise BrokenError("contract", f"vjp: expected a pullback to call, got {shown(pullback)}")

        def pull(dy: Any, *, need_dx: bool = True, checked: bool = True) -> tuple[Any, Any]:
            dy = without_integers(dy, y)
            try:
                result = pullback(dy) if need_dx else pullback(dy, need_dx=False)
            except Exception as error:
                raise _broken("pullback", error, params, x, dy) from error
            dparams, dx = _parts(result, 2, "pullback", "(dparams, dx)")
            if checked:
                like(dparams, params, "dparams")
                if need_dx:
                    dx = with_integers(dx, x, "dx")
                    like(dx, x, "dx")
            return dparams, dx

        return y, state, pull

    def y_moves(self) -> dict[str, Any]:
        """Return how far each entry of y moves, by apply, if the point is rounded otherwise."""
        problem = self.problem("complex")
        moves: dict[str, Any] = {}
        base = named_leaves(self.apply()[0], "y")
        for k in range(3):
            params, x = rebuilt((self.params, self.x), problem.shaken(k))
            there = named_leaves(self.apply(params=params, x=x)[0], "y")
            for (name, a), (_, b) in zip(there, base, strict=True):
                moves[name] = np.maximum(np.abs(a - b), moves.get(name, 0.0))
        return moves

    # --- for the derivative laws ---

    def problem(self, method: str) -> Problem:
        """Return this point as a function of its params and its input."""
        y, _, pull = self.vjp()
        names = [name for name, _ in named_leaves(self.params, "dparams")]
        names += [name for name, _ in named_leaves(self.x, "dx")]

        def forward(arrays: Arrays) -> Arrays:
            leaves = arrays_of(self.y_at(arrays), "y")
            return [leaf for leaf, has in zip(leaves, floating, strict=True) if has]

        def back(dy: Arrays) -> Arrays:
            rest = iter(dy)
            whole = [next(rest).copy() if has else np.zeros_like(leaf) for leaf, has in parts]
            return arrays_of(pull(rebuilt(y, whole)), "gradient")

        floating = [leaf.dtype.kind in "fc" for leaf in arrays_of(y)]
        parts = list(zip(arrays_of(y), floating, strict=True))
        leaves = [*arrays_of(self.params), *arrays_of(self.x)]
        values = [leaf for leaf, has in parts if has]
        rtol, notes = self.setting.rtol, self.notes
        still = frozenset(f"dparams/{path}" for path in self.layer.frozen_paths(self.params))
        return Problem(names, leaves, values, forward, back, self.rng, method, rtol, notes, still=still)

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

    def drifts(self) -> str | None:
        """Say how far float32 is from the same function in float64, if not by rounding alone."""
        if self.dtype == "float64":
            return None
        problem = self.problem("complex")
        double = problem.forward(doubled(problem.point))
        off = norm([a - b for a, b in zip(double, problem.y, strict=True)])
        size = norm(double)
        if off <= 1e-3 * size or not np.isfinite(size):
            return None
        moves = norm([leaf.astype("float64") for leaf in self.y_moves().values()])
        if off <= 1e-3 * size + 100 * moves:
            return None
        return f"y in float32 is {off / size:.1e} of its size off y in float64"

    def bends(self) -> str | None:
        """Say why complex steps cannot be trusted although the layer declares them safe, or None."""
        problem = self.problem("complex")
        v = problem.direction("trust")
        try:
            (jv, _) = problem.along(v) or ([], 0.0)
        except BrokenError as broken:
            return broken.message
        if self.drifts():  # Then float64 has no say, and float32 has few digits.
            estimate, bound = difference(problem.forward, problem.point, v, double=False), 0.1
            is_sharp = estimate.error <= 1e-2 * norm(estimate.jv)
        else:
            estimate = difference(problem.forward, problem.point, v)
            bound, is_sharp = 1e-6 if self.dtype == "float64" else 1e-3, estimate.is_sharp
        if not is_sharp:
            return None
        off = norm([a - b for a, b in zip(jv, estimate.jv, strict=True)])
        scale = norm(estimate.jv)
        if off <= bound * scale + 1e3 * self.eps * norm(problem.y) + 10 * estimate.error:
            return None
        return (
            f"the complex step gives a derivative of norm {norm(jv):.6g}, differences one of "
            f"{scale:.6g}, {off:.1e} apart"
        )


def explained(p: Probe, y: Any, dy: Any, name: str, gap: Any) -> float:
    """Return how far a leaf of the gradient may be off along `gap` by rounding, as the oracle sees it.

    Where two right results are compared, as of one example alone and in a batch, this much may lie
    between them.
    """
    problem = p.problem("complex" if p.layer.traits.complex_safe else "difference")
    leaf, off = problem.names.index(name), norm([gap])
    if not 0 < off < np.inf:
        return 0.0
    v = problem.zeros()
    v[leaf] = (gap / off).astype(v[leaf].dtype)
    cotangent = [
        each for each, has in zip(arrays_of(dy), arrays_of(y), strict=True) if has.dtype.kind in "fc"
    ]
    at = problem.along(v)
    if at is None:
        return 0.0
    return problem.explained(v, cotangent, at[0], f"gap of {name}", off)


def _broken(part: str, error: Exception, *given: Any) -> BrokenError:
    """Return what a call raised as a violation, of complex safety where complex arrays came."""
    place = line_of(error)
    message = f"{part} raised {described(error)}" + (f", at {place}" if place else "")
    for value in given:
        if any(leaf.dtype.kind == "c" for leaf in arrays_of(value)):
            advice = (
                "allocate arrays in the dtype of what goes into them (x.dtype, np.result_type(w, dy)), "
                "or declare complex_safe=False"
            )
            return BrokenError("complex_safe", f"with complex arrays {message}; {advice}")
    return BrokenError("contract", message)


def _parts(result: Any, n: int, part: str, expected: str) -> Any:
    if not isinstance(result, tuple | list) or len(result) != n:
        raise BrokenError("contract", f"{part}: expected {expected}, got {shown(result)}")
    return result
