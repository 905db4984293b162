"""Laws of losses: the value is what it says, the gradient is its own, weights weigh.

The gradient is held to complex steps (Squire & Trapp, 1998), where a loss lets them through, and to
central differences extrapolated to a step of zero (Ridders, 1982), which say how far they can be
trusted. Tolerances are relative to ‖dpred‖ ‖v‖ along a direction v, whatever the size.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeAlias

import attrs
import numpy as np

from fnn.errors import DTypeError, OptionError
from fnn.keys import Key
from fnn.options import integer, real
from fnn.testing.findings import Findings, named
from fnn.testing.oracles import complex_step, difference
from fnn.testing.report import Report
from fnn.testing.values import described, norm, shown
from fnn.tree import Array

Draw: TypeAlias = Callable[[np.random.Generator, str], tuple[Array, Array]]
_GROWS = {"mean": 1, "sum": 3}  # By what factor the value grows if all weights do by 3.
MOST_ENTRIES = 256
"""Up to how many entries of a gradient each are checked alone; of more, this many drawn ones are."""


@attrs.frozen
class _Case:
    loss: Any
    pred: Array
    target: Array
    weight: Array | None
    directions: int
    rtol: float
    key: Key
    draws: tuple[tuple[Array, Array], ...]

    def at(self, pred: Any = None, target: Any = None, weight: Any = None) -> tuple[Any, Any]:
        """Call the loss with copies, so that one that writes to them spoils no other law."""
        pred, target = self.pred if pred is None else pred, self.target if target is None else target
        options = {} if weight is None else {"weight": weight.copy()}
        value, dpred = self.loss(pred.copy(order="K"), target.copy(order="K"), **options)
        return value, np.asarray(dpred)


def _takes_weight(loss: Any) -> bool:
    with suppress(TypeError, ValueError):
        given = inspect.signature(loss).parameters.values()
        return any(one.name == "weight" or one.kind is one.VAR_KEYWORD for one in given)
    return False


def _suggested(generator: np.random.Generator, dtype: str) -> dict[str, tuple[Array, Array]]:
    # 5 and 4, so that labels of shape (5,) never broadcast against (5, 4) without an error.
    x = generator.normal(size=(5, 4)) * 2
    labels, within = generator.integers(0, 4, 5), generator.random((5, 4))
    logs = x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
    table = {
        "labels on logits": (x, labels),
        "targets in (0, 1) of pred's shape": (x, within.astype(dtype)),
        "labels on log-probabilities": (logs, labels),
        "labels on probabilities": (np.exp(logs), labels),
    }
    return {name: (pred.astype(dtype), target) for name, (pred, target) in table.items()}


def _drawn(found: Findings, loss: Any, draw: Draw | None, dtype: str, key: Key) -> Any:
    """Return several (pred, target) that the loss takes, or None, having said why."""

    def table(i: int) -> dict[str, tuple[Array, Array]]:
        generator = key.fold("draw", i).generator()
        drawn = {"draw": draw(generator, dtype)} if draw else _suggested(generator, dtype)
        return {name: (np.asarray(pred), np.asarray(target)) for name, (pred, target) in drawn.items()}

    refusals, doubtful = [], None
    for name, (pred, target) in table(0).items():
        if pred.dtype != dtype or not pred.size:
            raise DTypeError(f"expected pred in {dtype}, not empty, got {shown(pred)}", path=("draw",))
        try:
            problem = _problem(loss(pred.copy(), target.copy()))
        except Exception as error:
            refusals.append(f"{name}: {described(error)}")
            continue
        if problem is None:
            found.notes.append(f"drawn: {name}, pred {pred.shape}, target {target.shape}")
            return [table(i)[name] for i in range(24 if pred.size <= MOST_ENTRIES else 1)]
        # Said only if nothing else does: -log(p) is nan for logits, and wants probabilities.
        doubtful = doubtful or f"{problem}; drawn: {name}"
    found.broken(doubtful or "takes nothing of what was drawn: " + " | ".join(refusals))
    return None


def _problem(result: Any) -> str | None:
    if not isinstance(result, tuple) or len(result) != 2:
        what = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
        return f"expected (value, dpred), got {what}"
    for name, part in zip(("value", "dpred"), result, strict=True):
        array = np.asarray(part)
        if array.dtype.kind not in "fc" or not np.isfinite(array).all():
            return f"expected finite floating numbers as {name}, got {part!r:.80}"
    return None if np.ndim(result[0]) == 0 else f"expected one value, got shape {np.shape(result[0])}"


# --- laws of the value and of its gradient -----------------------------------------------------


def _value(case: _Case, found: Findings) -> None:
    got, want = shown(case.at()[0]), shown(case.pred.dtype.type(0))
    if got != want:
        found.broken("expected a NumPy scalar of pred's dtype", leaf="value", got=got, want=want)


def _dpred(case: _Case, found: Findings) -> None:
    pred, target = case.pred.copy(), case.target.copy()
    dpred = case.loss(pred, target)[1]
    if shown(dpred) != shown(pred):
        found.broken("another kind than pred", leaf="dpred", got=shown(dpred), want=shown(pred))
    elif np.shares_memory(dpred, pred) or np.shares_memory(dpred, target):
        found.broken("shares its memory with an argument", leaf="dpred")


def _rays(case: _Case, found: Findings) -> Iterator[tuple[str, tuple[int, ...] | None, Array]]:
    """Yield (name, index, direction): random ones of size 1, then single entries."""
    for i in range(case.directions):
        v = case.key.fold("direction", i).generator().normal(size=case.pred.shape)
        yield f"direction {i}", None, v / np.abs(v).max()
    size, entries = case.pred.size, np.arange(case.pred.size)
    if size > MOST_ENTRIES:
        entries = case.key.fold("entries").generator().choice(size, MOST_ENTRIES, replace=False)
        found.notes.append(f"{MOST_ENTRIES} of {size} entries of dpred were checked alone")
    for flat in entries:
        index = tuple(map(int, np.unravel_index(flat, case.pred.shape)))
        v = np.zeros(case.pred.shape)
        v[index] = 1
        yield f"entry {index}", index, v


def _forward(case: _Case, weight: Array | None, point: list[Array]) -> list[Array]:
    """Return the value for an oracle: nan past the edge of the domain, where a loss refuses."""
    is_bent = np.iscomplexobj(point[0])
    with suppress(*(() if is_bent else (ValueError,))):
        value = np.asarray(case.at(point[0], weight=weight)[0])
        if is_bent and not (np.iscomplexobj(value) and np.isfinite(value)):
            raise ArithmeticError("the loss lets no complex number through")
        return [value]
    return [np.asarray(np.nan)]


def _slopes(case: _Case, found: Findings, weight: Any = None, differences: int = 64) -> bool:
    """Return whether dpred is right along all rays; along the first ones differences are asked too."""
    dpred = case.at(weight=weight)[1].astype(np.float64)
    point, forward = [case.pred.astype(np.float64)], functools.partial(_forward, case, weight)
    size, judged, bent = norm([dpred]), 0, 0
    misses: dict[bool, list[tuple[float, str, Any]]] = {False: [], True: []}
    for count, (name, index, v) in enumerate(_rays(case, found)):
        got, scale = float(np.sum(dpred * v)), size * norm([v])
        want, oracle, bound = None, "complex step", case.rtol * scale
        with suppress(Exception):
            want = float(complex_step(forward, point, [v])[0])
        if count < differences or want is None:
            near = difference(forward, point, [v])
            jv, off = float(near.jv[0]), near.error
            is_sharp = not near.kink and off <= 1e-8 * max(scale, abs(jv)) + 1e-12
            # Where the oracles differ by more than differences err, complex numbers are to blame:
            # an absolute value or a comparison inside the loss.
            is_bent = want is not None and is_sharp and abs(want - jv) > 1e-6 * max(scale, abs(jv))
            bent += is_bent
            if want is None or is_bent:
                if not is_sharp:
                    found.notes.append(f"not judged, near a kink: {name}")
                    continue
                found.notes.append("not complex-safe: judged by central differences, to 1e-7")
                want, oracle, bound = jv, "central difference", max(case.rtol, 1e-7) * scale + 10 * off
        judged += 1
        if not abs(got - want) <= bound:
            place = {"leaf": "dpred", "index": index, "got": got, "want": want}
            misses[index is None].append((abs(got - want), f"is not the {oracle} along {name}", place))
    for alike in filter(None, misses.values()):
        _, message, place = max(alike, key=lambda miss: np.nan_to_num(miss[0], nan=np.inf))
        found.broken(f"{message}, the worst of {len(alike)}", **place)
    if bent:
        found.broken("takes complex numbers but loses their imaginary part", leaf="value")
    if not judged:
        found.broken("neither complex steps nor differences settle anywhere", leaf="dpred")
    return bool(judged) and not bent and not any(misses.values())


def _gradient(case: _Case, found: Findings) -> None:
    if _slopes(case, found):
        # One draw may hide a fault: where no label is, dpred may be 0.
        others = (attrs.evolve(case, pred=pred, target=target) for pred, target in case.draws)
        all(_slopes(other, found, differences=0) for other in others)  # Until one breaks it.


# --- laws of examples and of their weights -----------------------------------------------------


def _untouched(case: _Case, found: Findings) -> None:
    before = {"pred": case.pred, "target": case.target}
    weight = {} if case.weight is None else {"weight": case.weight}
    given = {name: array.copy() for name, array in (before | weight).items()}
    case.loss(given["pred"], given["target"], **{name: given[name] for name in weight})
    for name, array in given.items():
        found.same("was written to", name, array, (before | weight)[name])
        if not array.flags.writeable:
            found.broken("was made read-only", leaf=name)


def _pure(case: _Case, found: Findings) -> None:
    first = case.at()
    kept = (np.array(first[0]), first[1].copy())
    second = case.at(case.pred[::-1], case.target[::-1])
    again = case.at()
    found.same("a later call changed an earlier result", "dpred", first[1], kept[1])
    found.same("equal arguments, other bits", "value", np.array(again[0]), kept[0])
    found.same("equal arguments, other bits", "dpred", again[1], kept[1])
    if np.shares_memory(first[1], again[1]) or np.shares_memory(first[1], second[1]):
        found.broken("two results share their memory", leaf="dpred")
    pred, target = case.pred.copy(), case.target.copy()
    pred.setflags(write=False)
    target.setflags(write=False)
    found.same("read-only arguments, other bits", "dpred", case.loss(pred, target)[1], kept[1])
    strided = np.repeat(case.pred, 2, axis=0)[::2]
    for name, pred in (("Fortran's order", np.asfortranarray(case.pred)), ("strides", strided)):
        _agree(case, found, name, case.loss(pred, case.target.copy()), first)


def _agree(case: _Case, found: Findings, message: str, got: Any, want: Any, rtol: float = 0.0) -> None:
    """Require equal values and gradients, to rounding."""
    rtol, size = max(rtol, case.rtol), norm([want[1]])
    bound = rtol * (abs(float(want[0])) + size * norm([case.pred]))
    found.close(f"{message}: another value", "value", got[0], want[0], bound)
    found.close(f"{message}: another gradient", "dpred", got[1], want[1], rtol * size)


def _float32(case: _Case, found: Findings) -> None:
    pred = case.pred.astype(np.float32)
    want = case.at(pred=pred.astype(np.float64))
    for weight in [None] if case.weight is None else [None, np.ones(len(pred))]:
        got = case.at(pred=pred, weight=weight)
        dtypes = (getattr(got[0], "dtype", type(got[0]).__name__), got[1].dtype)
        if dtypes != (np.float32, np.float32):
            found.broken("float32 does not stay", leaf="value, dpred", got=dtypes, want="float32")
        _agree(case, found, "float32 is not float64 to 1e-5", got, want, 1e-5)


def _permutation(case: _Case, found: Findings) -> None:
    order = case.key.fold("order").generator().permutation(len(case.pred))
    value, dpred = case.at()
    moved = case.at(case.pred[order], case.target[order])
    _agree(case, found, "examples in another order", moved, (value, dpred[order]))


def _batch_of_one(case: _Case, found: Findings) -> None:
    one = attrs.evolve(case, pred=case.pred[:1], target=case.target[:1], weight=None)
    if problem := _problem(one.at()):
        found.broken(problem)
    _slopes(one, found)


def _shapes(case: _Case, found: Findings) -> None:
    target = case.target
    wrong = [target[:-1], target[..., None], target[None], target[..., :1], target[..., 0], target[:1]]
    for other in {each.shape: each for each in wrong if each.shape != target.shape}.values():
        message = f"a target of shape {other.shape} for one of shape {target.shape}"
        found.refused(message, lambda other=other: case.at(target=other))  # type: ignore[misc]


def _weight_gradient(case: _Case, found: Findings) -> None:
    _slopes(case, found, case.weight)
    _agree(case, found, "weights of one", case.at(weight=np.ones(len(case.pred))), case.at())


def _weight_zero(case: _Case, found: Findings) -> None:
    assert case.weight is not None
    if len(case.pred) < 2:
        return  # Weights would sum to 0.
    weight, at = case.weight.copy(), len(case.pred) // 2
    weight[at] = 0
    keep = np.arange(len(weight)) != at
    want = case.at(case.pred[keep], case.target[keep], case.weight[keep])
    broken = case.pred.copy()
    broken[at] = np.nan
    for name, pred in (("an example of weight 0", case.pred), ("one of weight 0 that is nan", broken)):
        value, dpred = case.at(pred, weight=weight)
        _agree(case, found, name, (value, dpred[keep]), want)
        found.close(f"{name}: a gradient there", "dpred", dpred[at], np.zeros_like(dpred[at]), 0.0)


def _weight_scale(case: _Case, found: Findings) -> None:
    assert case.weight is not None
    value, dpred = case.at(weight=case.weight)
    tripled = case.at(weight=3 * case.weight)
    kind = next((one for one in _GROWS if np.isclose(tripled[0], _GROWS[one] * value, 1e-4, 0)), None)
    if kind is None:
        expected = f"{value} (a mean) or {3 * value} (a sum)"
        found.broken("weights times 3: neither", leaf="value", got=tripled[0].item(), want=expected)
        return
    factor = _GROWS[kind]
    found.notes.append(f"a {kind} over the examples")
    _agree(case, found, f"a {kind}, weights times 3", tripled, (value * factor, dpred * factor))
    # An example of weight 2 is the example twice, in the same kind.
    weight = np.ones(len(case.pred))
    weight[-1] = 2
    twice = np.append(np.arange(len(weight)), len(weight) - 1)
    value, dpred = case.at(case.pred[twice], case.target[twice])
    joined = dpred[:-1].copy()
    joined[-1] += dpred[-1]
    _agree(case, found, "weight 2 is not the example twice", case.at(weight=weight), (value, joined))
    both = np.tile(np.arange(len(weight)), 2)
    value, dpred = case.at()
    share = 1 if kind == "sum" else 0.5
    want, got = (value * 2 * share, dpred[both] * share), case.at(case.pred[both], case.target[both])
    _agree(case, found, f"a {kind}, every example twice", got, want)


def _weight_refused(case: _Case, found: Findings) -> None:
    n = len(case.pred)
    ones = np.ones(n)
    for name, weight in (
        ("weights that sum to 0", np.zeros(n)),
        (f"weights of shape {(n, 1)} for {n} examples", ones[:, None]),
        (f"weights of shape {(n + 1,)} for {n} examples", np.ones(n + 1)),
        ("a negative weight", np.where(np.arange(n) == 0, -0.5, ones)),
        ("a weight of nan", np.where(np.arange(n) == 0, np.nan, ones)),
    ):
        found.refused(name, lambda weight=weight: case.at(weight=weight))  # type: ignore[misc]


Law: TypeAlias = Callable[[_Case, Findings], None]
_LAWS: tuple[Law, ...] = (_value, _dpred, _gradient, _untouched, _pure, _float32)
_OF_EXAMPLES: tuple[Law, ...] = (_permutation, _batch_of_one, _shapes)
_OF_WEIGHTS: tuple[Law, ...] = (_weight_gradient, _weight_zero, _weight_scale, _weight_refused)


def check_loss(
    loss: Any,
    draw: Draw | None = None,
    *,
    dtype: str = "float64",
    seed: int = 0,
    directions: int = 3,
    rtol: float | None = None,
) -> Report:
    """Prove a loss right, or raise with every law that it breaks.

    Laws, by name: `call` and `value` (a finite NumPy scalar of pred's dtype), `dpred` (pred's shape and
    dtype, fresh), `gradient` (along random directions and in every entry, by complex steps and
    extrapolated central differences), `untouched`, `pure`, `float32`; over the examples on
    axis 0 `permutation`, `batch_of_one`, `shapes` (targets of another shape raise a ValueError); and
    for losses that take `weight` also `weight_gradient` (and weights of one are none), `weight_zero`
    (the example counts for nothing, even if it is nan), `weight_scale` (a mean or a sum, and the same
    kind throughout), `weight_refused` (a sum of 0, other shapes, negative ones, nan: a ValueError).

    Args:
        loss: `loss(pred, target, *, weight=None) -> (value, dpred)`.
        draw: From a generator and a dtype to pred and target, away from kinks. Without it labels on
            logits of shape (5, 4) are tried, then targets in (0, 1) of their shape, then labels on
            log-probabilities and on probabilities.
        dtype, seed: "float64" or "float32", of pred; the root of all that is drawn.
        directions: How many random directions the gradient is checked along, 1 or more.
        rtol: How far a derivative may be off, relative to ‖dpred‖ ‖v‖; 1e-12, or 1e-5 in float32.

    Raises:
        LawError: If a law is broken; lists all findings.
        OptionError: If an option is out of its range, or rtol is finer than the dtype holds.
    """
    if dtype not in ("float32", "float64"):
        raise OptionError(f"dtype: expected float32 or float64, got {dtype!r}", path=("check_loss",))
    finest, usual = (1e-6, 1e-5) if dtype == "float32" else (1e-14, 1e-12)
    rtol = usual if rtol is None else real("check_loss", "rtol", rtol, least=0)
    if rtol < finest:
        why = f"rtol: expected {finest} or more, {dtype} is no finer, got {rtol}"
        raise OptionError(why, path=("check_loss",))
    integer("check_loss", "directions", directions)
    key, found, drawn = Key.of(seed), Findings(f"loss {named(loss)}", seed), None
    with found.law("call"):
        drawn = _drawn(found, loss, draw, dtype, key)
    if drawn is None:
        return found.concluded()
    pred, target = drawn[0]
    laws, weight = _LAWS, None
    laws += _OF_EXAMPLES if np.shape(target)[:1] == pred.shape[:1] else ()
    if _takes_weight(loss) and len(laws) > len(_LAWS):
        weight = key.fold("weight").generator().random(len(pred)) + 0.5
        laws += _OF_WEIGHTS
    else:
        found.notes.append("takes no weight for each target: those laws do not apply")
    case = _Case(loss, pred, target, weight, directions, rtol, key, tuple(drawn[1:]))
    for law in laws:
        with found.law(law.__name__.removeprefix("_")):
            law(case, found)
    return found.concluded()
