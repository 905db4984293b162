"""Laws of the weights of a loss: an example of weight 0 counts for nothing, one of 2 counts twice."""

from __future__ import annotations

import numpy as np

from fnn.testing.findings import Findings
from fnn.testing.loss_case import Case, agree

_GROWS = {"mean": 1, "sum": 3}  # By what factor the value grows if all weights do by 3.


def weight_zero(case: Case, found: Findings) -> None:
    """Require an example of weight 0 to count for nothing, even if it is nan."""
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
        agree(case, found, name, (value, dpred[keep]), want)
        found.close(f"{name}: a gradient there", "dpred", dpred[at], np.zeros_like(dpred[at]), 0.0)


def weight_scale(case: Case, found: Findings) -> None:
    """Require a mean or a sum over the examples, and the same kind throughout."""
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
    agree(case, found, f"a {kind}, weights times 3", tripled, (value * factor, dpred * factor))
    # An example of weight 2 is the example twice, in the same kind.
    weight = np.ones(len(case.pred))
    weight[-1] = 2
    twice = np.append(np.arange(len(weight)), len(weight) - 1)
    value, dpred = case.at(case.pred[twice], case.target[twice])
    joined = dpred[:-1].copy()
    joined[-1] += dpred[-1]
    agree(case, found, "weight 2 is not the example twice", case.at(weight=weight), (value, joined))
    both = np.tile(np.arange(len(weight)), 2)
    value, dpred = case.at()
    share = 1 if kind == "sum" else 0.5
    want, got = (value * 2 * share, dpred[both] * share), case.at(case.pred[both], case.target[both])
    agree(case, found, f"a {kind}, every example twice", got, want)


def weight_refused(case: Case, found: Findings) -> None:
    """Require weights that make no sense to be refused."""
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
