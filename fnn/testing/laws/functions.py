"""Any function with a pullback, proved by the oracle of one's choice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
import numpy as np

from fnn.errors import OptionError
from fnn.keys import Key
from fnn.testing.laws.adjoint import adjoint
from fnn.testing.oracles import doubled, moved, taylor_order, weighed
from fnn.testing.problem import Problem, unit
from fnn.testing.report import Report, Violation, concluded
from fnn.testing.values import (
    Arrays,
    BrokenError,
    arrays_of,
    described,
    inner,
    like,
    named_leaves,
    norm,
    rebuilt,
    shown,
)

RTOL = {"d": 1e-12, "f": 1e-5}
METHODS = ("complex", "difference", "taylor")


def checked_rtol(rtol: float | None, char: str) -> float:
    """Return the tolerance, by default that of the precision.

    Raises:
        OptionError: If rounding alone would exceed it.
    """
    least = 16 * float(np.finfo(char).eps)
    if rtol is None:
        return RTOL[char]
    if not least <= rtol < 1:
        name = np.dtype(char).name
        raise OptionError(
            f"rtol: expected {least:.0e} or more in {name}, whose rounding alone is "
            f"{np.finfo(char).eps:.0e} per operation, and less than 1, got {rtol!r}"
        )
    return float(rtol)


def taylor(problem: Problem, directions: int) -> Iterator[Violation]:
    """Yield a violation for every direction along which what J leaves does not fall as h²."""
    for leaf, label, called in problem.directions(directions):
        v = problem.direction(label, leaf)
        rng = problem.rng(f"{label} dy")
        random = [rng.normal(size=y.shape).astype(y.dtype) for y in problem.y]
        ends = problem.forward(moved(doubled(problem.point), doubled(v), 1e-4))
        secant = unit([a - b for a, b in zip(ends, doubled(problem.y), strict=True)], problem.y)
        for dy in (random, secant):
            slope = inner(problem.pull(dy), v)
            phi = weighed(dy, problem.forward, problem.point, v)
            order = taylor_order(phi, slope, norm(dy) * norm(doubled(problem.y)))
            if not order.slope >= 1.8:
                message = (
                    f"|f(p + h v) - f(p) - h J v| falls as h^{order.slope:.2f} along {called!r}, not "
                    f"as h²; at h = {order.h:.0e} there is {order.rest:.1e} left"
                )
                name = problem.names[leaf] if leaf is not None else "all leaves"
                yield Violation("adjoint", message, leaf=name, got=order.slope, want=2.0)
                break


def check_vjp(
    fn: Callable[..., Any],
    args: Any,
    *,
    method: str = "complex",
    directions: int = 3,
    rtol: float | None = None,
    seed: int = 0,
) -> Report:
    """Check that `fn(*args) -> (y, pullback)` carries derivatives back: pullback(dy) = J* dy.

    Args:
        fn: Function of arrays or trees; `pullback(dy)` returns a tuple of cotangents like `args`. Under
            "complex" it is called with complex arrays.
        args: Where to look: a tuple of arrays, trees or tuples, in float32 or float64. Integers have
            no derivative; what comes for them is not looked at.
        method: "complex" (exact where fn is analytic), "difference" (to 1e-7) or "taylor" (no
            tolerance: what is left must fall as h²).
        directions: Number of random directions over all arguments, beside one along each leaf.
        rtol: Relative to ‖dy‖ ‖J v‖; by default 1e-12 in float64 and 1e-5 in float32.
        seed: Of the directions.

    Returns:
        A report that says what was looked at.

    Raises:
        LawError: If a gradient is wrong.
        OptionError: If an option is out of range.
    """
    if method not in METHODS:
        raise OptionError(f"check_vjp: method: expected one of {METHODS}, got {method!r}")
    subject = getattr(fn, "__name__", type(fn).__name__)
    notes: list[str] = []
    args = tuple(args)
    leaves = named_leaves(args, "args")
    chars = [leaf.dtype.char for _, leaf in leaves if leaf.dtype.kind == "f"]
    rtol = checked_rtol(rtol, "f" if "f" in chars else "d")

    def generator(label: str) -> np.random.Generator:
        return Key.of(seed).fold(label).generator()

    def call(arrays: Arrays) -> Any:
        try:
            result = fn(*rebuilt(args, arrays))
        except Exception as error:
            raise BrokenError("contract", f"the function raised {described(error)}") from error
        if not isinstance(result, tuple) or len(result) != 2:
            raise BrokenError("contract", f"expected (y, pullback), got {shown(result)}")
        return result

    def pull(dy: Arrays) -> Arrays:
        try:
            back = pullback(rebuilt(y, [leaf.copy() for leaf in dy]))
        except Exception as error:
            raise BrokenError("contract", f"pullback raised {described(error)}") from error
        back = tuple(
            a if all(leaf.dtype.kind != "f" for leaf in arrays_of(a)) else b
            for a, b in zip(args, back if isinstance(back, tuple | list) else (back,), strict=False)
        )
        return [leaf for _, leaf in like(back, args, "args", "contract")]

    violations: list[Violation] = []
    with np.errstate(all="ignore"):
        try:
            y, pullback = call([leaf.copy() for _, leaf in leaves])
            problem = Problem(
                [name for name, _ in leaves],
                [leaf for _, leaf in leaves],
                arrays_of(y, "y"),
                lambda arrays: arrays_of(call(arrays)[0], "y"),
                pull,
                generator,
                method,
                rtol,
                notes,
            )
            law = taylor if method == "taylor" else adjoint
            violations += [attrs.evolve(each, seed=seed) for each in law(problem, directions)]
            if problem.unsharp and problem.unsharp >= len(leaves) + directions:
                message = "no derivative can be told at this point"
                violations.append(Violation("adjoint", message, seed=seed))
        except BrokenError as broken:
            violations.append(Violation(broken.law, broken.message, leaf=broken.leaf))
    return concluded(f"{subject}, by {method}", ("adjoint",), violations, notes)
