"""Laws of the contract: what comes back, from what, and what nobody may touch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fnn.layers.contract import Layer
from fnn.layers.wrapping import remat
from fnn.testing.children import probes_of
from fnn.testing.laws.layouts import layouts
from fnn.testing.oracles import doubled
from fnn.testing.probe import Probe
from fnn.testing.report import Violation
from fnn.testing.values import (
    BrokenError,
    arrays_of,
    bits_differ,
    copies,
    is_immutable,
    like,
    loose,
    named_leaves,
    norm,
    rebuilt,
    sealed,
    shown,
    skeleton,
    with_integers,
    worst,
)

Named = list[tuple[str, Any]]
FAR = 1e4


def contract(p: Probe) -> Iterator[Violation]:
    """Calls return what the contract says: the right number of parts, trees, arrays."""
    # With arguments that can be written to: who does that is named by another law.
    p.apply(params=loose(p.params), state=loose(p.state), x=loose(p.x))
    y, _, pull = p.vjp(params=loose(p.params), state=loose(p.state), x=loose(p.x))
    dy = p.draw_like(y, "dy")
    pull(loose(dy), checked=False)
    pull(dy, need_dx=False, checked=False)
    yield from ()


def shapes(p: Probe) -> Iterator[Violation]:
    """Y has out_shape, dparams the structure of params, dx that of x, the state keeps its own."""
    out_shape = p.out_shape
    y, state, pull = p.vjp()
    for name, got, want in _announced(y, out_shape, p.batch, "y"):
        if got != want:
            message = "y has not the shape that init announced"
            yield Violation("shapes", message, leaf=name, got=got, want=want)
    dparams, dx = pull(p.draw_like(y, "dy"), checked=False)
    for value, model, name in (
        (dparams, p.params, "dparams"), (dx, p.x, "dx"), (state, p.state, "state"),
    ):  # fmt: skip
        try:
            like(with_integers(value, p.x, "dx") if name == "dx" else value, model, name)
        except BrokenError as broken:
            yield Violation("shapes", broken.message, leaf=broken.leaf)


def _announced(y: Any, out_shape: Any, batch: int, name: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield (name, shape that came, shape that init announced) of y, of the parts of a tuple each."""
    many = any(isinstance(part, tuple) for part in out_shape)
    if many != isinstance(y, tuple | list) or (many and len(y) != len(out_shape)):
        yield name, shown(y), f"a tuple of {len(out_shape)}" if many else "an array"
    elif many:
        for i, (part, shape) in enumerate(zip(y, out_shape, strict=True)):
            yield from _announced(part, shape, batch, f"{name}/{i}")
    else:
        yield name, np.shape(y), (batch, *out_shape)


def dtype(p: Probe) -> Iterator[Violation]:
    """float32 stays float32 everywhere, float64 too, complex where it is safe; integers are refused."""
    for value, what in ((p.first_params, "params"), (p.first_state, "state")):
        for path, leaf in named_leaves(value, what):
            if leaf.dtype.kind in "fc" and leaf.dtype != "float32":
                message = "init should draw float32; whoever wants float64 casts the tree"
                yield Violation("dtype", message, leaf=path, got=leaf.dtype.name, want="float32")
    for name, complex_name in (("float32", "complex64"), ("float64", "complex128")):
        here = p if p.dtype == name else p.of(dtype=name)
        yield from _in_dtype(here, here.x, name, name)
        has_floats = any(leaf.dtype.kind == "f" for leaf in arrays_of(here.x))
        if here.layer.traits.complex_safe and has_floats:
            x = rebuilt(
                here.x,
                [
                    leaf.astype(complex_name) if leaf.dtype.kind == "f" else leaf
                    for leaf in arrays_of(here.x)
                ],
            )
            yield from _in_dtype(here, x, complex_name, name)
    if p.layer.traits.takes_integers:
        return
    whole = rebuilt(p.x, [np.ones(leaf.shape, "int64") for leaf in arrays_of(p.x)])
    if arrays_of(whole):
        try:
            y, _ = p.apply(x=whole)
        except BrokenError as broken:
            if "raised" not in broken.message:
                raise
        else:
            if y is whole:
                return  # Nothing is computed.
            yield Violation("dtype", "integers are not refused: call check_array(x)", leaf="x")


def _in_dtype(p: Probe, x: Any, wanted: str, state_wanted: str) -> Iterator[Violation]:
    y, state, pull = p.vjp(x=x)
    forward, _ = p.apply(x=x)
    dy = p.draw_like(y, "dy")
    # Beside tokens a part of y may depend on no complex number, and what leads there is real.
    allowed = {wanted, state_wanted} if p.layer.traits.takes_integers else {wanted}
    leaves = [
        (name, leaf)
        for name, leaf in (*named_leaves(forward, "y"), *named_leaves(y, "y"))
        if leaf.dtype.kind in "fc"
    ]
    if wanted == state_wanted:
        before = dict(named_leaves(p.state, "state"))
        for name, leaf in named_leaves(state, "state"):
            if name in before and leaf.dtype != before[name].dtype:
                yield Violation(
                    "dtype", "the state changes its dtype", leaf=name, got=leaf.dtype.name,
                    want=before[name].dtype.name,
                )  # fmt: skip
    bad = [(name, leaf) for name, leaf in leaves if leaf.dtype.name not in allowed]
    if not bad:
        dparams, dx = pull(dy)
        params, whole = dict(named_leaves(p.params, "dparams")), dict(named_leaves(x, "dx"))
        back = [*named_leaves(dparams, "dparams"), *named_leaves(dx, "dx")]
        bad = [
            (name, leaf)
            for name, leaf in back
            if leaf.dtype.name not in (allowed if name in params else {wanted})
            and (params | whole)[name].dtype.kind in "fc"
            # Linear in params alone, a gradient may be real where x is complex and dy is not.
        ]
    for name, leaf in bad[:1]:
        message = f"x in {wanted} gives {leaf.dtype}"
        if wanted != state_wanted:
            message += "; allocate arrays in x.dtype, or declare complex_safe=False"
        yield Violation("dtype", message, leaf=name, got=leaf.dtype.name, want=wanted)


def finite(p: Probe) -> Iterator[Violation]:
    """Values are finite, and float32 loses no more digits than a rounded input explains."""
    y, state, pull = p.vjp()
    dparams, dx = pull(p.draw_like(y, "dy"))
    for value, name in ((y, "y"), (state, "state"), (dparams, "dparams"), (dx, "dx")):
        for path, leaf in named_leaves(value, name):
            if leaf.dtype.kind in "fc" and not np.isfinite(leaf).all():
                index = tuple(map(int, np.argwhere(~np.isfinite(leaf))[0]))
                yield Violation("finite", "not finite", leaf=path, index=index, got=leaf[index].item())
    if not p.layer.children and not (p.train and p.layer.traits.stochastic):
        yield from _keeps_digits(p)


def _keeps_digits(p: Probe) -> Iterator[Violation]:
    """Compare float32 with float64 far from 0, where E[x²] - E[x]² and its like cancel."""
    single = p.of(dtype="float32", batch=max(p.batch, 8))
    double = p.of(dtype="float64", batch=max(p.batch, 8))
    far = [
        (leaf + FAR).astype("float32") if leaf.dtype.kind == "f" else leaf
        for leaf in arrays_of(single.x)
    ]
    exact = doubled(far)
    params, state = (
        rebuilt(tree, [leaf.copy() for leaf in doubled(arrays_of(tree))])
        for tree in (single.params, single.state)
    )
    rng = p.rng("digits")
    noisy = [a * (1 + 6e-8 * rng.normal(size=a.shape)) if a.dtype.kind == "f" else a for a in exact]
    # A mean of few features, rounded, shifts all of them: what two passes lose where rows are narrow.
    eps = float(np.finfo("float32").eps)
    rows = [a.std(axis=-1) for a in exact if a.dtype.kind == "f" and a.ndim > 1 and a.shape[-1] > 1]
    narrow = min((float(row.min(initial=np.inf)) for row in rows), default=np.inf)
    centred = 20 * eps * FAR / narrow if narrow > 0 else 0.0
    try:
        got = single.apply(x=rebuilt(p.x, far))
    except BrokenError:
        return  # A layer may refuse what is out of its range.
    want, near = (double.apply(params=params, state=state, x=rebuilt(p.x, xs)) for xs in (exact, noisy))
    triples = zip(*(named_leaves(tuple(each), "") for each in (got, want, near)), strict=True)
    for (name, a), (_, b), (_, c) in triples:
        largest = float(np.abs(b).max(initial=0))
        if a.dtype.kind != "f" or not largest < 1e30:
            continue  # It overflows in float32, as it must.
        size = norm([b])
        explained = norm([b - c]) + eps * size
        if not norm([a - b]) <= 100 * explained + centred * size + 1e-30:
            bad = worst(("y", "state")[int(name[1])] + name[2:], a, b, "")
            message = (
                "loses digits where x is near 10⁴: float32 is further from float64 than a hundred "
                "roundings of x explain (a variance in one pass?)"
            )
            yield Violation("finite", message, **bad.parts())
            return


def apply_is_vjp(p: Probe) -> Iterator[Violation]:
    """Apply and vjp give the same bits for y and for the state."""
    y, state = p.apply()
    again, again_state, _ = p.vjp()
    for name, got, want in (("y", again, y), ("state", again_state, state)):
        gap = bits_differ(named_leaves(got, name), named_leaves(want, name))
        if gap is not None:
            yield Violation("apply_is_vjp", f"vjp is not apply: {gap.message}", **gap.parts())
    # What runs again on the way back shows nothing of a vjp that is another function.
    made = p.layer.recipe
    if made is not None and made.call is remat:
        yield from apply_is_vjp(Probe(made.args[0], p.in_shape, p.setting, p.train))
    elif any(_runs_again(child) for _, child in p.layer.children):
        for _, each in probes_of(p):
            if _runs_again(each.layer):
                yield from apply_is_vjp(each)


def _runs_again(layer: Layer) -> bool:
    is_one = layer.recipe is not None and layer.recipe.call is remat
    return is_one or any(_runs_again(child) for _, child in layer.children)


def pure(p: Probe) -> Iterator[Violation]:
    """No argument is written to, equal arguments give equal bits, results of earlier calls stay.

    Arguments that are equal but lie otherwise in memory give the same values to rounding.
    """
    found = list(_untouched(p))
    yield from found
    if found:
        return  # What was overwritten cannot be compared.
    try:
        first = _run(p, sealed(p.params), sealed(p.state), sealed(p.x))
    except BrokenError as broken:
        yield Violation("pure", f"with arguments that cannot be written to: {broken.message}")
        return
    y, state, dparams, dx, pull, dy = first
    before = copies(_named(first))
    other = (p.draw_params("other params"), p.draw_state("other state"), p.draw_x("other x"))
    later = _run(p, *other)
    gap = bits_differ(_named(first), before)
    if gap is not None:
        message = "what an earlier call returned changes at a later call (a shared buffer?)"
        yield Violation("pure", message, **gap.parts())
        return
    gap = bits_differ(_gradient(*pull(dy)), before[-_count(dparams, dx) :])
    if gap is not None:
        message = "the pullback of an earlier call changes at a later call"
        yield Violation("pure", message, **gap.parts())
    del later
    for what, value in (("y", y), ("dx", dx)):
        for _, leaf in named_leaves(value, what):
            mine = [*arrays_of(p.x), *arrays_of(dy), *arrays_of(p.params)]
            if leaf.flags.writeable and not any(np.may_share_memory(leaf, own) for own in mine):
                leaf[...] = 7
    again = _run(p, sealed(p.params), sealed(p.state), sealed(p.x))
    gap = bits_differ(_named(again), before)
    if gap is not None:
        message = "equal arguments give other bits at a later call (hidden state, or a result kept?)"
        yield Violation("pure", message, **gap.parts())
    for name, tree in (("state", state), ("dparams", dparams)):
        if skeleton(tree) and not is_immutable(tree):
            message = f"{name} can be written to; return fnn.tree.freeze({name})"
            yield Violation("pure", message, leaf=name)
    if gap is None:
        yield from layouts(p)


def _run(p: Probe, params: Any, state: Any, x: Any) -> Any:
    y, new_state, pull = p.vjp(params=params, state=state, x=x)
    dy = p.draw_like(y, "dy")
    dparams, dx = pull(dy)
    return y, new_state, dparams, dx, pull, dy


def _gradient(dparams: Any, dx: Any) -> Named:
    return [*named_leaves(dparams, "dparams"), *named_leaves(dx, "dx")]


def _count(dparams: Any, dx: Any) -> int:
    return len(_gradient(dparams, dx))


def _named(run: Any) -> Named:
    y, state, dparams, dx, *_ = run
    return [*named_leaves(y, "y"), *named_leaves(state, "state"), *_gradient(dparams, dx)]


def _untouched(p: Probe) -> Iterator[Violation]:
    """Call with arguments that can be written to, and see whether anybody did."""
    given = {"params": loose(p.params), "state": loose(p.state), "x": loose(p.x)}

    def arguments() -> Named:
        return [pair for name, value in given.items() for pair in named_leaves(value, name)]

    before = copies(arguments())

    def touched(by: str) -> Iterator[Violation]:
        gap = bits_differ(arguments(), before)
        if gap is not None:
            yield Violation("pure", f"{by} writes to its arguments: {gap.message}", **gap.parts())

    p.apply(**given)
    found = list(touched("apply"))
    if not found:
        y, _, pull = p.vjp(**given)
        found = list(touched("vjp"))
    if not found:
        dy = loose(p.draw_like(y, "dy"))
        kept = copies(named_leaves(dy, "dy"))
        y_before = copies(named_leaves(y, "y"))
        dparams, dx = pull(dy)
        first = copies(_gradient(dparams, dx))
        gap = bits_differ(named_leaves(dy, "dy"), kept)
        if gap is not None:
            found.append(Violation("pure", "the pullback writes to dy", **gap.parts()))
        gap = bits_differ(named_leaves(y, "y"), y_before)
        if gap is not None:
            found.append(Violation("pure", "the pullback writes to y", **gap.parts()))
        found += touched("the pullback")
        pull(p.draw_like(y, "other dy"))
        gap = bits_differ(_gradient(dparams, dx), first)
        if gap is not None and not found:
            message = "what the pullback returned changes when it is called again (a shared buffer?)"
            found.append(Violation("pure", message, **gap.parts()))
    yield from found
