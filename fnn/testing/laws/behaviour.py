"""Laws of behaviour: batches, modes, keys and names, as the traits declare them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fnn.keys import Key
from fnn.layers.branching import branch, parallel
from fnn.layers.contract import Layer
from fnn.testing.children import keys_given, probes_of, with_one_more
from fnn.testing.probe import Probe, explained
from fnn.testing.report import Violation
from fnn.testing.spies import SpyKey
from fnn.testing.values import (
    BrokenError,
    arrays_of,
    bits_differ,
    like,
    named_leaves,
    rebuilt,
    values_differ,
    worst,
)

Named = list[tuple[str, Any]]
KEYS = 64


def _part(value: Any, cut: slice) -> Any:
    return rebuilt(value, [leaf[cut].copy() for leaf in arrays_of(value)])


def batch_independent(p: Probe) -> Iterator[Violation]:
    """An example's output and gradient are its own, alone or in a batch, unless declared otherwise."""
    declared = p.train and p.layer.traits.mixes_batch
    if p.batch < 2 or not arrays_of(p.x):
        if not declared:
            return
        p = p.of(batch=3)
    if declared:
        yield from _really_mixes(p)
        return
    yield from _unmoved_by_others(p)
    if p.train and p.layer.traits.stochastic:
        return  # Alone it would draw another mask.
    y, _, pull = p.vjp()
    dy = p.draw_like(y, "dy")
    dparams, dx = pull(dy)
    total: Named | None = None
    bound = _bound(p)

    for i in range(p.batch):
        one = slice(i, i + 1)
        y_1, _, pull_1 = p.vjp(x=_part(p.x, one))
        dparams_1, dx_1 = pull_1(_part(dy, one))
        for name, got, want in (("y", y_1, y), ("dx", dx_1, dx)):
            wants = like(_part(want, one), got, name)
            gap = values_differ(named_leaves(got, name), wants, bound, _Slack(p, y, dy, i))
            if gap is not None:
                message = f"example {i} alone gives another {name} than in a batch of {p.batch}"
                yield Violation("batch_independent", message, **gap.parts())
                return
        mine = named_leaves(dparams_1, "dparams")
        total = (
            mine
            if total is None
            else [(name, a + b) for (name, a), (_, b) in zip(total, mine, strict=True)]
        )
    for (name, got), (_, want) in zip(named_leaves(dparams, "dparams"), total or [], strict=True):
        scale = max((float(np.abs(leaf).max(initial=0)) for leaf in arrays_of(dparams)), default=0.0)
        if not got.size or got.dtype.kind != "f":
            continue
        off = float(np.abs(got - want).max())
        if not off <= bound * scale and not off <= bound * scale + _Slack(p, y, dy)(name, got - want):
            message = "the batch's gradient is not the sum of its examples' (a mean in its place?)"
            yield Violation("batch_independent", message, **worst(name, got, want, "").parts())


def _bound(p: Probe) -> float:
    """Return how far two right results may be apart: an implicit layer is solved to a tolerance."""
    return max(500 * p.eps, 0.1 * p.setting.rtol)


class _Slack:
    """How far a leaf may be off by rounding of an ill-conditioned point, asked only where it is."""

    def __init__(self, p: Probe, y: Any, dy: Any, example: int | None = None) -> None:
        """Look at a point, and of x and y at one example only."""
        self.p, self.y, self.dy, self.example = p, y, dy, example

    def __call__(self, name: str, gap: Any) -> float:
        """Return it for a leaf that is off by `gap`."""
        if name.partition("/")[0] == "y":
            return 100 * float(np.max(self.p.y_moves()[name], initial=0.0))
        if self.example is not None:
            whole = np.zeros((self.p.batch, *gap.shape[1:]), gap.dtype)
            whole[self.example : self.example + 1] = gap
            gap = whole
        return explained(self.p, self.y, self.dy, name, gap)


def _mixed(p: Probe, label: str) -> Any:
    """Return x with all examples but the first replaced by others."""
    other = p.draw_x(label)
    return rebuilt(
        p.x,
        [np.concatenate([a[:1], b[1:]]) for a, b in zip(arrays_of(p.x), arrays_of(other), strict=True)],
    )


def _first_of_two(p: Probe, label: str) -> tuple[Named, Named]:
    """Return (y, dx) of the first example among these others and among those."""
    out = []
    dy = None
    for x in (p.x, _mixed(p, label)):
        y, _, pull = p.vjp(x=x)
        dy = p.draw_like(y, "dy") if dy is None else dy
        _, dx = pull(dy)
        one = slice(0, 1)
        out.append([*named_leaves(_part(y, one), "y"), *named_leaves(_part(dx, one), "dx")])
    return out[0], out[1]


def _unmoved_by_others(p: Probe) -> Iterator[Violation]:
    want, got = _first_of_two(p, "others")
    y = p.apply()[0]
    gap = values_differ(got, want, _bound(p), _Slack(p, y, p.draw_like(y, "dy"), 0))
    if gap is not None:
        message = "an example's result depends on the others in its batch, which is not declared"
        yield Violation("batch_independent", message, **gap.parts())


def _really_mixes(p: Probe) -> Iterator[Violation]:
    mixing = [each for _, each in probes_of(p) if each.layer.traits.mixes_batch]
    if mixing:  # What they mix may be hidden by a child that comes after them.
        for each in mixing:
            yield from _really_mixes(each)
        return
    for attempt in range(3):
        want, got = _first_of_two(p, f"others {attempt}")
        if values_differ(got, want, _bound(p)) is not None:
            return
    message = "declares mixes_batch, but an example's result never depends on the others in training"
    yield Violation("batch_independent", message, leaf="y")


def state(p: Probe) -> Iterator[Violation]:
    """Evaluation moves no state and needs no key; training moves it, alike in apply and vjp."""
    before = named_leaves(p.state, "state")
    if not p.train:
        for what, call in (("apply", p.apply), ("vjp", p.vjp)):
            try:
                after = call(key=None)[1]
            except BrokenError as broken:
                if "raised" not in broken.message:
                    raise
                yield Violation("state", f"evaluation without a key: {broken.message}")
                return
            gap = bits_differ(named_leaves(after, "state"), before)
            if gap is not None:
                message = f"{what} moves the state in evaluation: {gap.message}"
                yield Violation("state", message, **gap.parts())
                return
        return
    after = p.apply()[1]
    try:
        pairs = list(zip(like(after, p.state, "state"), before, strict=True))
        like(p.vjp()[1], p.state, "state")
    except BrokenError as broken:
        yield Violation("state", broken.message, leaf=broken.leaf)
        return
    for (name, new), (_, old) in pairs:
        if new.dtype != old.dtype:
            message = "the new state has another dtype"
            yield Violation("state", message, leaf=name, got=new.dtype.name, want=old.dtype.name)
    gap = bits_differ(named_leaves(p.vjp()[1], "state"), [pair[0] for pair in pairs])
    if gap is not None:
        message = f"vjp moves the state otherwise than apply: {gap.message}"
        yield Violation("state", message, **gap.parts())
    for _, each in probes_of(p):
        yield from state(each)
    if p.layer.children:
        yield from _children_move(p, dict(named_leaves(after, "state")), dict(before))
        return
    still = [name for (name, new), (_, old) in pairs if new.size and new.tobytes() == old.tobytes()]
    if "" in p.layer.frozen:
        moves = [name for name, _ in before if name not in still]
        if moves:
            yield Violation("state", "a frozen layer moves its state", leaf=", ".join(moves))
        return
    if still:
        message = "training never moves it (what is constant belongs in no state)"
        yield Violation("state", message, leaf=", ".join(still))
        return
    if pairs and p.layer.traits.mixes_batch:
        elsewhere = named_leaves(p.apply(x=p.draw_x("elsewhere"))[1], "state")
        if bits_differ(elsewhere, [pair[0] for pair in pairs]) is None:
            yield Violation("state", "the running moments do not depend on x", leaf="state")


def _children_move(p: Probe, after: dict[str, Any], before: dict[str, Any]) -> Iterator[Violation]:
    """A composition moves the state of every child that moves its own."""
    for name, alone in probes_of(p):
        own = [path for path in after if path.startswith(f"state/{name}/")]
        if not own or any(after[path].tobytes() != before[path].tobytes() for path in own):
            continue
        moved = bits_differ(named_leaves(alone.apply()[1], ""), named_leaves(alone.state, ""))
        if moved is not None:
            message = f"training moves the state of {name!r} alone, but not inside"
            yield Violation("state", message, leaf=own[0])


def stochastic(p: Probe) -> Iterator[Violation]:
    """Declared: training needs a key, and another key draws otherwise; else keys change nothing."""
    want = named_leaves(p.apply()[0], "y")
    if not p.train or not p.layer.traits.stochastic:
        mode = "not declared stochastic" if p.train else "in evaluation"
        for what, key in (("without a key", None), ("with another key", Key.of(987654321))):
            for name, call in (("apply", p.apply), ("vjp", p.vjp)):
                try:
                    got = named_leaves(call(key=key)[0], "y")
                except BrokenError as broken:
                    yield Violation("stochastic", f"{mode}, but {what}: {broken.message}")
                    return
                gap = bits_differ(got, want)
                if gap is not None:
                    message = f"{mode}, but {name} {what} gives another y"
                    yield Violation("stochastic", message, **gap.parts())
                    return
        return
    for name, call in (("apply", p.apply), ("vjp", p.vjp)):
        try:
            call(key=None)
        except BrokenError as broken:
            if "raised" not in broken.message:
                raise
            if "OptionError" not in broken.message:
                p.notes.append(f"without a key {broken.message}; fnn.need_key says it better")
        else:
            yield Violation("stochastic", f"{name} in training without a key does not raise")
    for name, call in (("apply", p.apply), ("vjp", p.vjp)):
        gap = bits_differ(named_leaves(call()[0], "y"), want)
        if gap is not None:
            message = f"equal keys draw otherwise in {name}"
            yield Violation("stochastic", message, **gap.parts())
    spy = SpyKey(p.key.bits)
    p.apply(key=spy)
    if len(set(spy.drawn)) < len(spy.drawn):
        times = max(map(spy.drawn.count, spy.drawn))
        message = f"apply makes {times} generators of one key: fold a name for each draw"
        yield Violation("stochastic", message, leaf="y")
    large = p.of(batch=max(p.batch, 64))
    drawing = [each for _, each in probes_of(p) if each.layer.traits.stochastic]
    for each in drawing:
        yield from stochastic(each)
    keys: dict[bytes, str] = {}
    for name, key in keys_given(p):
        if key.bits in keys:
            both = f"the children {keys[key.bits]!r} and {name!r} draw"
            both = f"the child {name!r} draws twice" if keys[key.bits] == name else both
            message = f"{both} from one key"
            yield Violation("stochastic", message, leaf="y")
        keys[key.bits] = name
    same = _never_varies(large)
    if same is None:
        return
    if same == "as in evaluation" or (drawing and not _must_vary(large)):
        p.notes.append("declared stochastic, but no key changes y (a rate of 0?)")
        return
    message = f"declared stochastic, but {KEYS} keys draw the same (a key that is not used?)"
    yield Violation("stochastic", message, leaf="y")


def _never_varies(p: Probe) -> str | None:
    """Return None if some key gives another y, else how y compares with evaluation's."""
    want = named_leaves(p.apply()[0], "y")
    for seed in range(KEYS):
        if bits_differ(named_leaves(p.apply(key=Key.of(seed))[0], "y"), want) is not None:
            return None
    calm = named_leaves(p.apply(train=False)[0], "y")
    return "as in evaluation" if bits_differ(calm, want) is None else "otherwise than in evaluation"


def _must_vary(p: Probe) -> bool:
    """Say whether a composition has a child that draws, and lets what it is given be seen."""
    here = named_leaves(p.apply()[0], "y")
    if bits_differ(named_leaves(p.apply(x=p.draw_x("elsewhere"))[0], "y"), here) is None:
        return False
    drawing = (each for _, each in probes_of(p) if each.layer.traits.stochastic)
    return any(_never_varies(each) is None for each in drawing)


# --- names ---


def insertion_stable(p: Probe) -> Iterator[Violation]:
    """Init is a function of key and in_shape; a layer of another kind put in changes nothing else."""
    wanted = [*named_leaves(p.first_params, "params"), *named_leaves(p.first_state, "state")]
    _, params, state = p.init(p.setting.key)
    gap = bits_differ([*named_leaves(params, "params"), *named_leaves(state, "state")], wanted)
    if gap is not None:
        message = "init with equal key and in_shape gives other bits"
        yield Violation("insertion_stable", message, **gap.parts())
        return
    yield from _drawn_apart(p)
    before = {mode: p.apply(train=mode)[0] for mode in (False, True)} if p.layer.children else {}
    draws = p.train and p.layer.traits.stochastic
    keys = set(keys_given(p)) if draws and p.layer.children else set()
    for place, longer in with_one_more(p.layer):
        try:
            _, params, state = longer.init(p.setting.key, p.in_shape)
        except Exception as error:
            kind = type(error).__name__
            # Side by side, one more has to end in a shape that goes with the others.
            if p.layer.recipe is None or p.layer.recipe.call not in (branch, parallel):
                p.notes.append(f"insertion_stable: nothing can be put in at {place} ({kind})")
            continue
        got = dict([*named_leaves(params, "params"), *named_leaves(state, "state")])
        for name, leaf in wanted:
            if name not in got:
                message = f"a layer of another kind put in at {place} renames it"
                yield Violation("insertion_stable", message, leaf=name)
                return
            if got[name].tobytes() != leaf.tobytes():
                bad = worst(name, got[name], leaf, "")
                message = f"a layer of another kind put in at {place} changes it"
                yield Violation("insertion_stable", message, **bad.parts())
                return
        yield from _same_masks(p, longer, place, before)
        if not keys <= set(keys_given(p, longer)):
            message = f"a layer of another kind put in at {place} changes the keys of others"
            yield Violation("insertion_stable", message, leaf="y")
            return
    for _, each in probes_of(p):
        if each.layer.children:
            yield from insertion_stable(each)


def _drawn_apart(p: Probe) -> Iterator[Violation]:
    """Refuse an init that makes two generators of one key: what they draw is the same numbers."""
    key = SpyKey(p.setting.key.bits)
    p.init(key)
    if len(set(key.drawn)) < len(key.drawn):
        times = max(map(key.drawn.count, key.drawn))
        message = f"init makes {times} generators of one key: fold a name for each draw"
        yield Violation("insertion_stable", message, leaf="params")


def _same_masks(p: Probe, longer: Layer, place: int, before: dict[bool, Any]) -> Iterator[Violation]:
    """An identity put in changes no y; where it does in evaluation too, it is no chain."""
    for mode, want in before.items():
        try:
            got = longer.apply(p.params, p.state, p.x, train=mode, key=p.key)[0]
        except Exception:
            return
        gap = bits_differ(named_leaves(got, "y"), named_leaves(want, "y"))
        if gap is not None and not mode:
            return
        if gap is not None:
            message = f"an identity put in at {place} changes what training draws"
            yield Violation("insertion_stable", message, **gap.parts())
            return
