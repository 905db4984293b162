"""Laws of losses: the value is what it says, the gradient is its own, weights weigh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from fnn.errors import OptionError
from fnn.keys import Key
from fnn.options import integer, real
from fnn.testing.findings import Findings, named
from fnn.testing.laws.loss_gradients import batch_of_one, gradient, weight_gradient
from fnn.testing.laws.loss_weights import weight_refused, weight_scale, weight_zero
from fnn.testing.loss_case import Case, Draw, agree, drawn_for, takes_weight
from fnn.testing.report import Report
from fnn.testing.values import shown


def _value(case: Case, found: Findings) -> None:
    got, want = shown(case.at()[0]), shown(case.pred.dtype.type(0))
    if got != want:
        found.broken("expected a NumPy scalar of pred's dtype", leaf="value", got=got, want=want)


def _dpred(case: Case, found: Findings) -> None:
    pred, target = case.pred.copy(), case.target.copy()
    dpred = case.loss(pred, target)[1]
    if shown(dpred) != shown(pred):
        found.broken("another kind than pred", leaf="dpred", got=shown(dpred), want=shown(pred))
    elif np.shares_memory(dpred, pred) or np.shares_memory(dpred, target):
        found.broken("shares its memory with an argument", leaf="dpred")


def _untouched(case: Case, found: Findings) -> None:
    before = {"pred": case.pred, "target": case.target}
    weight = {} if case.weight is None else {"weight": case.weight}
    given = {name: array.copy() for name, array in (before | weight).items()}
    case.loss(given["pred"], given["target"], **{name: given[name] for name in weight})
    for name, array in given.items():
        found.same("was written to", name, array, (before | weight)[name])
        if not array.flags.writeable:
            found.broken("was made read-only", leaf=name)


def _pure(case: Case, found: Findings) -> None:
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
        agree(case, found, name, case.loss(pred, case.target.copy()), first)


def _float32(case: Case, found: Findings) -> None:
    pred = case.pred.astype(np.float32)
    want = case.at(pred=pred.astype(np.float64))
    for weight in [None] if case.weight is None else [None, np.ones(len(pred))]:
        got = case.at(pred=pred, weight=weight)
        dtypes = (getattr(got[0], "dtype", type(got[0]).__name__), got[1].dtype)
        if dtypes != (np.float32, np.float32):
            found.broken("float32 does not stay", leaf="value, dpred", got=dtypes, want="float32")
        agree(case, found, "float32 is not float64 to 1e-5", got, want, 1e-5)


def _permutation(case: Case, found: Findings) -> None:
    order = case.key.fold("order").generator().permutation(len(case.pred))
    value, dpred = case.at()
    moved = case.at(case.pred[order], case.target[order])
    agree(case, found, "examples in another order", moved, (value, dpred[order]))


def _shapes(case: Case, found: Findings) -> None:
    target = case.target
    wrong = [target[:-1], target[..., None], target[None], target[..., :1], target[..., 0], target[:1]]
    for other in {each.shape: each for each in wrong if each.shape != target.shape}.values():
        message = f"a target of shape {other.shape} for one of shape {target.shape}"
        found.refused(message, lambda other=other: case.at(target=other))  # type: ignore[misc]


Law: TypeAlias = Callable[[Case, Findings], None]
_LAWS: tuple[Law, ...] = (_value, _dpred, gradient, _untouched, _pure, _float32)
_OF_EXAMPLES: tuple[Law, ...] = (_permutation, batch_of_one, _shapes)
_OF_WEIGHTS: tuple[Law, ...] = (weight_gradient, weight_zero, weight_scale, weight_refused)


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
        loss: `loss(pred, target, *, weight=None) -> (value, dpred)`. If its attribute `complex_safe` is
            False (`make_loss` sets it), its gradient is held to differences alone: where it takes
            absolute values, or compares complex numbers.
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
        drawn = drawn_for(found, loss, draw, dtype, key)
    if drawn is None:
        return found.concluded()
    pred, target = drawn[0]
    laws, weight = _LAWS, None
    laws += _OF_EXAMPLES if np.shape(target)[:1] == pred.shape[:1] else ()
    if takes_weight(loss) and len(laws) > len(_LAWS):
        weight = key.fold("weight").generator().random(len(pred)) + 0.5
        laws += _OF_WEIGHTS
    else:
        found.notes.append("takes no weight for each target: those laws do not apply")
    case = Case(loss, pred, target, weight, directions, rtol, key, tuple(drawn[1:]))
    for law in laws:
        with found.law(law.__name__.removeprefix("_")):
            law(case, found)
    return found.concluded()
