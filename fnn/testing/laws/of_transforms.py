"""Laws of transforms of gradients.

A transform is held to its contract bit for bit; only a closed form given for its first steps, and the
agreement of float32 with float64, are compared to rounding.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs
import numpy as np

from fnn import tree
from fnn.errors import TreeError
from fnn.keys import Key
from fnn.options import integer
from fnn.testing.findings import Findings, bits, named
from fnn.testing.report import Report
from fnn.testing.values import loose, shown
from fnn.tree import Array, Tree, TreeLike

FirstSteps: TypeAlias = Callable[[Any, list[Any]], list[Any]]
"""From params and one gradient per step to the params, or params and memory, after every step."""

# --- transforms -----------------------------------------------------------------------------------


def _example(generator: np.random.Generator) -> dict[str, Any]:
    def draw(*shape: int) -> Array:
        return np.asarray(generator.normal(size=shape))

    first = {"w": draw(3, 4), "b": draw(4)}
    return {"dense_0": first, "dense_1": {"w": draw(4, 5), "b": draw(5)}, "scale": draw()}


def _like(params: Any, generator: np.random.Generator, dtype: str) -> Any:
    return tree.map(lambda p: np.asarray(generator.normal(size=p.shape), dtype), params)


def _shapes(node: Any) -> dict[str, tuple[int, ...]]:
    return {path: leaf.shape for path, leaf in tree.items(node)}


def _kinds(node: Any) -> dict[str, str]:
    return {path: shown(leaf) for path, leaf in tree.items(node)}


@attrs.frozen
class _Trial:
    """A transform, and a run of it: what went into every step and what came out."""

    transform: Any
    params: Any
    grads: tuple[Any, ...]
    first: Any = None
    states: tuple[Any, ...] = ()
    updates: tuple[Any, ...] = ()
    points: tuple[Any, ...] = ()
    key: Key = attrs.field(factory=lambda: Key.of(0))
    oracle: FirstSteps | None = None

    def update(self, i: int, clock: Callable[[int], Any] = int) -> tuple[Any, Any]:
        """Call step i again, on copies."""
        given = (self.grads[i], self.states[i], self.points[i])
        grads, opt_state, params = (tree.freeze(loose(node)) for node in given)
        return _pair(called(self.transform, grads, opt_state, params, clock(i)))

    def numbers(self, step: Any) -> dict[str, float]:
        """Return the numbers that the transform declares."""
        numbers = getattr(self.transform, "numbers", None)
        return numbers(step) if numbers else {}


def called(transform: Any, updates: Any, opt_state: Any, params: Any, step: Any) -> Any:
    """Return what `update` gives; where it asks for the loss elsewhere, that is a bowl.

    L(p + d) = Σ g d + ½ c d², whose gradient at the parameters p is the one that is given; c is 1, 2,
    3, 1, 2, … in every leaf.
    """
    given = updates, opt_state, params, step
    if not getattr(transform, "needs_gradient", False):
        return transform.update(*given)

    def at(others: Any) -> tuple[float, Any]:
        gone = tree.map(np.subtract, others, params)
        c = tree.map(lambda d: (np.arange(d.size) % 3 + 1).astype(d.dtype).reshape(d.shape), gone)
        bent = tree.map(np.multiply, c, gone)
        pairs = zip(*map(tree.leaves, (gone, updates, bent)), strict=True)
        value = sum(float(np.sum(d * (g + 0.5 * b))) for d, g, b in pairs)
        return value, tree.map(np.add, updates, bent)

    return transform.update(*given, at)


class _MisfitError(Exception):
    """Updates or a memory have another structure: the run goes no further."""


def _pair(result: Any) -> tuple[Any, Any]:
    if not isinstance(result, tuple) or len(result) != 2:
        what = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
        raise TreeError(f"expected (updates, opt_state) of update, got {what}")
    return result


def _run(transform: Any, params: Any, grads: Any, clock: Callable[[int], Any] = int) -> _Trial:
    """Run a transform over gradients, the way a loop does."""
    state = transform.init(params)
    first, states, updates, points = loose(state), [state], [], [params]
    for i, grad in enumerate(grads):
        u, state = _pair(called(transform, grad, state, params, clock(i)))
        for what, got, want in (("updates", u, params), ("opt_state", state, first)):
            if (ours := _shapes(got)) != (theirs := _shapes(want)):
                raise _MisfitError(f"{what} at step {i}: got {ours}, want {theirs}")
        params = tree.map(np.add, params, u)
        states.append(state)
        updates.append(u)
        points.append(params)
    done = tuple(states), tuple(updates), tuple(points)
    return _Trial(transform, points[0], tuple(grads), tree.freeze(first), *done)


def _structure(t: _Trial, found: Findings) -> None:
    want, memory = _kinds(t.params), _kinds(t.states[0])
    for i, (u, state) in enumerate(zip(t.updates, t.states[1:], strict=True)):
        for what, got, kinds in (("updates", _kinds(u), want), ("opt_state", _kinds(state), memory)):
            for path in (path for path in kinds if got[path] != kinds[path]):
                place = {"leaf": f"{what}/{path}", "got": got[path], "want": kinds[path]}
                found.broken(f"another kind of leaf at step {i}", **place)
        for path, leaf in [*tree.items(u, "updates"), *tree.items(state, "opt_state")]:
            if not np.isfinite(leaf).all():
                found.broken(f"not finite at step {i}", leaf=path)


def _immutable(t: _Trial, found: Findings) -> None:
    params, grad = loose(t.params), loose(t.grads[0])
    state = t.transform.init(params)
    u, after = _pair(called(t.transform, grad, loose(state), params, 0))
    given = tree.leaves(params) + tree.leaves(grad)
    for what, node in (("opt_state of init", state), ("updates", u), ("opt_state", after)):
        if isinstance(node, Mapping) and not isinstance(node, Tree):
            found.broken("expected a Tree, got a dict that can be changed", leaf=what)
        for path, leaf in tree.items(node, what):
            if leaf.flags.writeable:
                found.broken("can be written to", leaf=path)
            if any(np.shares_memory(leaf, other) for other in given):
                found.broken("shares its memory with an argument that can be written to", leaf=path)


def _untouched(t: _Trial, found: Findings) -> None:
    for i, grad in enumerate(t.grads):
        given = {"grads": grad, "opt_state": t.states[i], "params": t.points[i]}
        ours = {name: loose(node) for name, node in given.items()}
        before = loose(ours)
        _pair(called(t.transform, ours["grads"], ours["opt_state"], ours["params"], i))
        for name, node in ours.items():
            found.same(f"was written to at step {i}", name, node, before[name])
    again = loose(t.params)
    t.transform.init(again)
    found.same("init wrote to them", "params", again, loose(t.params))


def _pure(t: _Trial, found: Findings) -> None:
    kept = [(bits(u), bits(s)) for u, s in zip(t.updates, t.states[1:], strict=True)]
    found.same("init called again", "opt_state", t.transform.init(t.params), t.first)
    # Backwards: what hangs on the order or the number of calls, and not on `step`, shows.
    for i in reversed(range(len(t.grads))):
        u, state = t.update(i)
        found.same(f"step {i} called again", "updates", u, t.updates[i])
        found.same(f"step {i} called again", "opt_state", state, t.states[i + 1])
    for i, (u, s) in enumerate(zip(t.updates, t.states[1:], strict=True)):
        if (bits(u), bits(s)) != kept[i]:
            found.broken(f"a later call changed the results of step {i}", leaf="updates, opt_state")


def _clock(t: _Trial, found: Findings) -> None:
    for kind in (np.int64, np.uint8):
        for i in range(len(t.grads)):
            u, state = t.update(i, kind)
            message = f"a step that is {kind.__name__}({i})"
            found.same(message, "updates", u, t.updates[i])
            found.same(message, "opt_state", state, t.states[i + 1])


def _resume(t: _Trial, found: Findings) -> None:
    for split in range(len(t.grads)):
        state, params = tree.freeze(loose(t.states[split])), tree.freeze(loose(t.points[split]))
        for i in range(split, len(t.grads)):
            u, state = _pair(called(t.transform, t.grads[i], state, params, i))
            params = tree.map(np.add, params, u)
        found.same(f"resumed before step {split}", "opt_state", state, t.states[-1])
        found.same(f"resumed before step {split}", "params", params, t.points[-1])


def _float32(t: _Trial, found: Findings) -> None:
    params, *grads = (tree.cast(node, "float32") for node in (t.params, *t.grads))
    low = _run(t.transform, params, grads, clock=np.int64)
    for i, (u, state) in enumerate(zip(low.updates, low.states[1:], strict=True)):
        for path, leaf in [*tree.items(u, "updates"), *tree.items(state, "opt_state")]:
            if leaf.dtype.kind in "fc" and leaf.dtype != np.float32:
                found.broken(f"float32 does not stay at step {i}", leaf=path, got=str(leaf.dtype))
    last, exact = tree.items(low.points[-1], "params"), tree.items(t.points[-1])
    for (path, got), (_, want) in zip(last, exact, strict=True):
        bound = 1e-4 * (1 + float(np.max(np.abs(want), initial=0.0)))
        found.close("float32 is far from float64", path, got, want, bound)


def _numbers(t: _Trial, found: Findings) -> None:
    for i in range(len(t.grads)):
        now = t.numbers(i)
        for name, value in now.items():
            if not isinstance(value, float) or isinstance(value, np.generic):
                kind = type(value).__name__
                found.broken(f"expected a Python float at step {i}", leaf=name, got=kind)
            elif not math.isfinite(value):
                found.broken(f"not finite at step {i}", leaf=name, got=value)
        if t.numbers(np.int64(i)) != now or t.numbers(i) != now:
            found.broken(f"other numbers when asked again at step {i}", leaf="numbers")
        _true_numbers(t.transform, i, found)


def _true_numbers(transform: Any, step: int, found: Findings) -> None:
    """Hold what a transform declares to the arguments of that name that it was made with."""
    recipe = getattr(transform, "recipe", None)
    if recipe is None:
        return
    bound = inspect.signature(recipe.call).bind(*recipe.args, **recipe.kwargs)
    bound.apply_defaults()
    given, now = bound.arguments, transform.numbers(step)
    for name, got in now.items():
        made = next(iter(given.values())) if len(given) == len(now) == 1 else given.get(name)
        want = made(step) if callable(made) else made
        if isinstance(want, int | float | np.number) and float(want) != got:
            message = f"{transform!r:.80} declares another number at step {step}"
            found.broken(message, leaf=name, got=got, want=float(want))
    parts = [arg.values() if isinstance(arg, dict) else (arg,) for arg in recipe.args]
    children = [child for part in parts for child in part if hasattr(child, "numbers")]
    inside = getattr(transform, "clock", int)(step)
    want = sorted(number for child in children for number in child.numbers(inside).values())
    if children and sorted(now.values()) != want:
        message = f"{transform!r:.80} declares other numbers than its members at step {step}"
        found.broken(message, leaf="numbers", got=sorted(now.values()), want=want)
    for child in children:
        _true_numbers(child, inside, found)


def _is_elementwise(t: _Trial, found: Findings) -> None:
    flat = [tree.ravel(node)[0] for node in (t.params, *t.grads)]
    vector = _run(t.transform, flat[0], flat[1:])
    for i, (u, v) in enumerate(zip(t.updates, vector.updates, strict=True)):
        found.same(f"one flat vector at step {i}", "updates", v, tree.ravel(u)[0])
    # Each entry's gradient is moved in turn; no other entry's update may hear of it.
    size, base = flat[0].size, [np.asarray(u) for u in vector.updates]
    places = range(0, size, max(1, size // 32))
    for at, to in [*((at, None) for at in places), *((at, math.inf) for at in places[:1])]:
        moved = [grad.copy() for grad in flat[1:]]
        for grad in moved:
            # Beyond what a clip lets pass; and once to what some leave out altogether.
            grad[at] = 1e6 * grad[at] + 1 if to is None else to
        with np.errstate(invalid="ignore"):
            other = _run(t.transform, flat[0], moved)
        for i, u in enumerate(other.updates):
            got, want = np.delete(u, at), np.delete(base[i], at)
            if not found.same(f"entry {at} moves others at step {i}", "updates", got, want):
                return


def _elementwise(t: _Trial, found: Findings) -> None:
    if getattr(t.transform, "elementwise", False):
        _is_elementwise(t, found)
        return
    trial = Findings("")
    with trial.law("elementwise"):
        _is_elementwise(t, trial)
    if not trial.violations:
        found.notes.append("elementwise is not declared, but no entry was seen to depend on another")


def _rest(t: _Trial, found: Findings) -> None:
    zeros = tree.map(np.zeros_like, t.params)
    if any(t.numbers(i).get("noise") for i in range(len(t.grads))):
        return
    points = {"params of zero": zeros}
    if not t.numbers(0).get("weight_decay"):
        points["params"] = t.params
    for name, params in points.items():
        still = _run(t.transform, params, [zeros] * len(t.grads))
        for i, u in enumerate(still.updates):
            for path, leaf in tree.items(u, "updates"):
                if not found.close(
                    f"a zero gradient moves {name}, step {i}", path, leaf, 0 * leaf, 0.0
                ):
                    return


def _descent(t: _Trial, found: Findings) -> None:
    if not any(t.numbers(i).get("learning_rate", 0.0) > 0 for i in range(len(t.grads))):
        found.notes.append("descent: no learning rate above 0 is declared, the law does not apply")
        return
    # The gradient of ½ |p|², held: weight decay points the same way, and no rate is too large.
    start = _like(t.params, t.key.fold("descent").generator(), "float64")
    run = _run(t.transform, start, [start] * len(t.grads))
    total = 0.0
    for (path, p), (_, last) in zip(tree.items(start), tree.items(run.points[-1]), strict=True):
        products = (last - p) * p
        total += float(products.sum())
        entries = products if getattr(t.transform, "elementwise", False) else products.sum()
        if np.any(entries > 0):
            found.broken(
                "climbs the gradient", leaf=f"updates/{path}", got=float(np.max(entries)), want=0.0
            )
    if not total < 0 and tree.size(start):
        found.broken("does not descend", leaf="updates", got=total, want="less than 0")


def _first_steps(t: _Trial, found: Findings) -> None:
    assert t.oracle is not None
    expected = t.oracle(loose(t.params), [loose(g) for g in t.grads])
    begin = int(len(expected) != len(t.grads) + 1)
    if len(expected) != len(t.grads) + 1 - begin:
        found.broken("the closed form gives another number of steps", got=len(expected))
    for i, want in enumerate(expected[: len(t.grads) + 1 - begin], begin - 1):
        got, whole = {"params": t.points[i + 1]}, {"params": want}
        if isinstance(want, tuple):
            got["opt_state"] = t.states[i + 1]
            whole = dict(zip(("params", "opt_state"), want, strict=True))
        pairs = zip(tree.items(tree.freeze(got)), tree.items(tree.freeze(whole)), strict=True)
        for (path, leaf), (_, exact) in pairs:
            bound = 1e-12 * max(float(np.max(np.abs(exact), initial=0.0)), 1e-300)
            if not found.close(f"is not the closed form after step {i}", path, leaf, exact, bound):
                return


Law: TypeAlias = Callable[[_Trial, Findings], None]
_LAWS: tuple[Law, ...] = (_structure, _immutable, _untouched, _pure, _clock, _resume, _float32)
_LAWS += (_numbers, _elementwise, _rest, _descent)


def check_transform(
    transform: Any,
    params: TreeLike | None = None,
    *,
    seed: int = 0,
    steps: int = 5,
    first_steps: FirstSteps | None = None,
) -> Report:
    """Prove a transform of gradients right, or raise with every law that it breaks.

    Laws, by name: `call`, `structure` (updates as params, memory as after init, finite), `immutable`,
    `untouched`, `pure` (in any order of calls), `clock` (steps of any integer type), `resume` (from
    every memory, rebuilt as from a file), `float32` (stays, under NumPy's steps too), `numbers`,
    `elementwise` (if declared: the flat vector's bits are the tree's, and no entry hears of another),
    `rest` (a zero gradient moves nothing, but for a declared weight_decay or noise), `descent` (against
    a held gradient, if a learning_rate is declared: in all, and in no leaf or entry the other way), and
    `first_steps`. A factor on everything is told by the last alone, so do give a closed form.

    Args:
        transform: `init(params) -> opt_state`, `update(updates, opt_state, params, step)`. One that
            `needs_gradient` is given a bowl with the gradient of the step at the parameters.
        params: Floating numbers; cast to float64 and float32. Without it two layers of "w" and "b",
            "dense_0" and "dense_1", and a number "scale".
        seed: Of all that is drawn.
        steps: How many, 1 or more.
        first_steps: From params and a list of gradients to the list of params after every step, in
            float64, by other means than the transform's; held to 1e-12 of a leaf's largest entry. An
            entry may be (params, opt_state), and the list may begin with one before the first step.

    Raises:
        LawError: If a law is broken; lists all findings.
        OptionError, DTypeError: If an option is out of its range, or params hold no such numbers.
    """
    steps, key = integer("check_transform", "steps", steps), Key.of(seed)
    given = _example(key.fold("params").generator()) if params is None else params
    start = tree.cast(tree.freeze(given), "float64")
    grads = [_like(start, key.fold("grad", i).generator(), "float64") for i in range(steps)]
    found, trial = Findings(f"transform {named(transform)}", seed), None
    with found.law("call"):
        try:
            trial = attrs.evolve(_run(transform, start, grads), oracle=first_steps, key=key)
        except _MisfitError as error:
            found.laws.append("structure")
            found.broken(str(error))
    laws = _LAWS if first_steps is None else (*_LAWS, _first_steps)
    for law in laws if trial is not None else ():
        with found.law(law.__name__.removeprefix("_")):
            law(trial, found)  # type: ignore[arg-type]
    return found.concluded()


# --- schedules ------------------------------------------------------------------------------------
