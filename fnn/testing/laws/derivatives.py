"""Laws of derivatives: the pullback is the adjoint, is linear, and traits say what is true of J."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np

from fnn.testing.laws import adjoint as adjoint_law
from fnn.testing.oracles import complex_step, moved, step_of
from fnn.testing.probe import Probe, explained
from fnn.testing.report import Violation
from fnn.testing.values import (
    BrokenError,
    arrays_of,
    bits_differ,
    copies,
    like,
    named_leaves,
    norm,
    rebuilt,
    worst,
)

MOST_ENTRIES = 256
LARGE = 20_000
"""Numbers in a point from which on the costlier laws look at fewer samples."""
ATTEMPTS = 5
NEARER = (1.0, 1.0, 2.0**-3, 2.0**-8, 2.0**-15)
"""How much nearer to 0 each attempt looks: what saturates has its derivative there."""
WAKINGS = 12
"""How often entries of x are moved so that others count: as many as a window of 3 by 4 has."""


def _problem(p: Probe, *, doubtful: bool = False) -> Any:
    """Return the point with the oracle that fits: complex steps where declared and true."""
    method = "complex" if p.layer.traits.complex_safe else "difference"
    # Asked of large layers only where a law is broken: it takes some dozen evaluations.
    if method == "complex" and (doubtful or size_of(p) <= LARGE) and (why := p.bends()) is not None:
        p.notes.append(f"declared complex-safe but is not ({why}): derivatives by differences")
        method = "difference"
    return p.problem(method)


def size_of(p: Probe) -> int:
    """Return how many numbers params and x hold."""
    return sum(leaf.size for leaf in (*arrays_of(p.params), *arrays_of(p.x)))


def _at_a_smooth_point(p: Probe, law: str, run: Any) -> Iterator[Violation]:
    """Run a law, at another point where no derivative can be told; never skip it silently."""
    null = 0
    for attempt, nearer in enumerate(NEARER):
        here = p if attempt == 0 else p.at(p.seed + 1000 * attempt, nearer)
        problem = _problem(here)
        drift = here.drifts()
        if drift is not None and not (p.train and p.layer.traits.stochastic):
            message = f"float32 computes another function than float64: {drift}, not by rounding"
            yield Violation(law, message, leaf="y")
            return
        if drift is not None and problem.method != "complex":
            # What draws otherwise in float64 can be looked at in float32 alone.
            p.notes.append(f"{law}: {drift} (other draws?), checked by differences in float32, to 1e-2")
            problem = here.problem("coarse")
        found = list(run(problem))
        if found and problem.method == "complex" and size_of(p) > LARGE:
            doubted = _problem(here, doubtful=True)
            found = found if doubted.method == "complex" else list(run(doubted))
        p.notes.extend(here.notes if here is not p else ())
        if found or not problem.unsharp:
            yield from found
            return
        null += problem.null == problem.unsharp
    if null == len(NEARER):
        p.notes.append(f"{law}: the derivative is 0, but for rounding, wherever it was looked at")
        return
    message = f"no derivative can be told at any of {len(NEARER)} random points"
    yield Violation(law, f"{message}: does the function jump or bend everywhere?")


def adjoint(p: Probe) -> Iterator[Violation]:
    """⟨dy, J v⟩ = ⟨J* dy, v⟩ over params and x, jointly and leaf by leaf."""
    # Past a kink a derivative may be 0 at one point, which hides what is wrong there.
    points = 4 if p.layer.traits.has_kinks and size_of(p) <= LARGE else 1
    others = (p.at(p.seed + k) for k in range(1, points))
    reaching = _reaching_every_entry(p) if points > 1 else ()
    for here in itertools.chain((p,), others, reaching):
        found = list(
            _at_a_smooth_point(
                here, "adjoint", lambda problem: adjoint_law.adjoint(problem, p.setting.directions)
            )
        )
        p.notes.extend(here.notes if here is not p else ())
        if found:
            yield from (attrs.evolve(each, seed=here.seed) for each in found)
            return


def _reaching_every_entry(p: Probe) -> Iterator[Probe]:
    """Yield points at which other entries of x have a derivative, until every entry had one.

    What had no derivative is raised, what had one is lowered: an entry below a ReLU's kink gets over
    it, and in every window of a pool another entry becomes the largest.
    """
    here, seen = p, [np.zeros(leaf.shape, bool) for leaf in arrays_of(p.x)]
    for _ in range(WAKINGS):
        y, _, pull = here.vjp()
        dx = arrays_of(pull(here.draw_like(y, "dy that wakes"))[1])
        news = [(leaf != 0) & ~known for leaf, known in zip(dx, seen, strict=True)]
        seen = [known | new for known, new in zip(seen, news, strict=True)]
        if not any(new.any() for new in news) or all(known.all() for known in seen):
            return
        here = p.at(p.seed)
        far = [4 * np.abs(leaf).max(initial=1.0) for leaf in arrays_of(p.x)]
        moved = zip(arrays_of(p.x), seen, far, strict=True)
        here.x = rebuilt(
            p.x,
            [
                x + np.where(known, -by, by).astype(x.dtype) if x.dtype.kind == "f" else x
                for x, known, by in moved
            ],
        )
        if p.setting.inputs is not None and not _is_allowed(here):
            return
        yield here


def _is_allowed(p: Probe) -> bool:
    """Say whether a layer takes an input that is off those which its own `inputs` draws."""
    try:
        y, _ = p.apply()
    except BrokenError:
        return False
    return all(np.isfinite(leaf).all() for leaf in arrays_of(y))


def entries(p: Probe) -> Iterator[Violation]:
    """Every entry of the gradient is the derivative of ⟨dy, f⟩ in it."""
    most = max(8, min(MOST_ENTRIES, 2_000_000 // max(1, size_of(p))))
    yield from _at_a_smooth_point(p, "entries", lambda problem: adjoint_law.entries(problem, most))


def pullback_linear(p: Probe) -> Iterator[Violation]:
    """The pullback is linear, repeatable, zero at zero, and need_dx=False changes no dparams."""
    y, _, pull = p.vjp()
    a, b = p.draw_like(y, "dy a"), p.draw_like(y, "dy b")
    both = rebuilt(y, [2 * u - v for u, v in zip(arrays_of(a), arrays_of(b), strict=True)])

    def at(dy: Any, pull: Any = pull) -> list[tuple[str, Any]]:
        dparams, dx = pull(dy)
        return copies([*named_leaves(dparams, "dparams"), *named_leaves(dx, "dx")])

    first, second, together = at(a), at(b), at(both)
    size = norm([leaf for _, leaf in first]) + norm([leaf for _, leaf in second])
    # Of the whole gradient's size: a bias before BatchNorm has none but rounding.
    bound = 50 * p.eps * size

    def slack(name: str, gap: Any) -> float:
        # Asked only where the bound is broken at first sight.
        return 2 * explained(p, y, a, name, gap) + explained(p, y, b, name, gap)

    for (name, one), (_, two), (_, got) in zip(first, second, together, strict=True):
        want = 2 * one - two
        off = norm([got - want]) if want.size else 0.0
        if not off <= bound and not off <= bound + slack(name, got - want):
            bad = worst(name, got, want, "")
            yield Violation(
                "pullback_linear", "pullback(2a - b) is not 2 pullback(a) - pullback(b)", **bad.parts()
            )
            break
    for what, again in (
        ("the same pullback, called again,", at(a)),
        ("the pullback of an equal vjp", at(a, p.vjp()[2])),
    ):
        gap = bits_differ(again, first)
        if gap is not None:
            message = f"{what} gives another result: {gap.message}"
            yield Violation("pullback_linear", message, **gap.parts())
    zero = at(rebuilt(y, [np.zeros_like(leaf) for leaf in arrays_of(y)]))
    for name, leaf in zero:
        if leaf.dtype.kind == "f" and not (leaf == 0).all():
            bad = worst(name, leaf, np.zeros_like(leaf), "")
            yield Violation("pullback_linear", "pullback(0) is not 0", **bad.parts())
            break
    dparams, dx = pull(a, need_dx=False)
    if dx is not None:
        yield Violation("pullback_linear", "with need_dx=False dx should be None", leaf="dx")
    own = [(name, leaf) for name, leaf in first if name.startswith("dparams")]
    gap = bits_differ(like(dparams, p.params, "dparams"), own)
    if gap is not None:
        message = f"with need_dx=False dparams differ: {gap.message}"
        yield Violation("pullback_linear", message, **gap.parts())


def complex_safe(p: Probe) -> Iterator[Violation]:
    """Declared complex-safe: complex steps agree with differences and are linear in the step."""
    if not p.layer.traits.complex_safe:
        p.notes.append("complex_safe: not declared, derivatives by differences")
        return
    why = p.bends()
    if why is not None:
        message = f"declared complex-safe, but {why}; say complex_safe=False, or branch on x.real"
        yield Violation("complex_safe", message, leaf="y")
        return
    problem = p.problem("complex")
    v = problem.direction("linear in h")
    h = step_of(problem.point)
    near, far = (complex_step(problem.forward, problem.point, v, step) for step in (h, h * 1e8))
    size = norm(near) + norm(problem.y)
    if not norm([a - b for a, b in zip(near, far, strict=True)]) <= 1e3 * p.eps * size:
        yield Violation("complex_safe", "Im f(p + ihv) is not linear in h", leaf="y")
        return
    point = moved(problem.point, v, 1j * h)
    params, x = rebuilt((p.params, p.x), point)
    forward, _ = p.apply(params=params, x=x)
    both, _, pull = p.vjp(params=params, x=x)
    gap = bits_differ(named_leaves(both, "y"), named_leaves(forward, "y"))
    if gap is not None:
        message = f"vjp and apply differ at a complex point: {gap.message}"
        yield Violation("complex_safe", message, **gap.parts())
    real = [(name, leaf.real) for name, leaf in named_leaves(forward, "y") if leaf.dtype.kind in "fc"]
    for (name, got), want in zip(real, problem.y, strict=True):
        size = np.abs(want).max(initial=0)
        if not np.abs(got - want).max(initial=0) <= 1e3 * p.eps * size + h:
            bad = worst(name, got, want, "")
            message = "the real part at a complex point is not the value at the real one"
            yield Violation("complex_safe", message, **bad.parts())
    pull(p.draw_like(both, "dy"))
