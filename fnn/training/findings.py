"""What is wrong with a network, in words, and what helps."""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np

from fnn.layers.contract import Layer
from fnn.tree import Array

DEAD, SATURATED = 0.7, 0.8
"""From which share of dead units, and of saturated numbers, on a layer is ill."""

VANISHED, EXPLODED = 1e-5, 1e3
"""How much smaller, or larger, gradients of the first weights are than those of the last."""

LARGE, SMALL = 0.1, 1e-7
"""Updates of weights that are larger, or smaller, as a part of them."""

FAR = 20.0
"""Inputs whose mean or spread is larger are not scaled."""

FEW = 8
"""Examples of a batch below which its moments say little."""

EARLY = 50
"""Steps before which a loss may still be that of a constant answer."""


@attrs.frozen
class Finding:
    """One thing that is wrong.

    Attributes:
        what: Its kind: "not finite", "dead", "saturated", "vanishing", "exploding", "large updates",
            "small updates", "unscaled inputs", "constant", "few examples", "no better than a constant".
        path: The layer or parameter, "" for the whole.
        text: What is seen, and what helps.
    """

    what: str
    path: str
    text: str

    def is_like(self, other: Finding) -> bool:
        """Return whether another is of the same kind, at the same place."""
        return (self.what, self.path) == (other.what, other.path)

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


def findings(
    net: Layer,
    layers: Any,
    pulls: Any,
    *,
    x: list[Array],
    y: list[Array],
    target: Any,
    loss: float,
    step: int,
) -> tuple[Finding, ...]:
    """Return what is wrong, the gravest first."""
    found = [*_not_finite(layers, pulls, loss)]
    if found:
        return tuple(found)
    return (
        *_inputs(x),
        *_units(layers),
        *_gradients(_in_order(layers, pulls)),
        *_updates(pulls),
        *_batch(net, layers, x),
        *_answers(y, target, loss, step),
    )


def _not_finite(layers: Any, pulls: Any, loss: float) -> list[Finding]:
    for each in layers:
        if not math.isfinite(each.mean + each.spread) and each.kind != "Embedding":
            text = "gives numbers that are not finite; lower the learning rate, or scale the inputs"
            return [Finding("not finite", each.path, text)]
    for each in pulls:
        if not math.isfinite(each.gradient):
            text = (
                "its gradient is not finite; clip it (clip_by_global_norm), or lower the learning rate"
            )
            return [Finding("not finite", each.path, text)]
    if not math.isfinite(loss):
        return [Finding("not finite", "", f"the loss is {loss}")]
    return []


def _inputs(x: list[Array]) -> list[Finding]:
    for part in x:
        mean, spread = float(part.mean(dtype=np.float64)), float(part.std(dtype=np.float64))
        if max(abs(mean), spread) > FAR:
            text = f"inputs have a mean of {mean:.3g} and a spread of {spread:.3g}"
            return [Finding("unscaled inputs", "", f"{text}; standardize them")]
    return []


def _units(layers: Any) -> list[Finding]:
    found = []
    for each in layers:
        if each.dead is not None and each.dead > DEAD:
            text = f"{each.dead:.0%} of units never fire in this batch"
            found.append(
                Finding("dead", each.path, f"{text}; lower the learning rate, or use LeakyRelu")
            )
        if each.saturated is not None and each.saturated > SATURATED:
            text = f"{each.saturated:.0%} of numbers lie at the limits of {each.kind}"
            found.append(
                Finding("saturated", each.path, f"{text}; draw smaller weights, or normalize before it")
            )
    return found


def _in_order(layers: Any, pulls: Any) -> list[Any]:
    """Return the leaves in the order in which their layers are called, not in that of their names."""
    place = {each.path: i for i, each in enumerate(layers)}
    return sorted(pulls, key=lambda pull: place.get(pull.path.rpartition("/")[0], len(place)))


def _gradients(pulls: Any) -> list[Finding]:
    weights = [each for each in pulls if each.path.rpartition("/")[2].startswith("w") and each.size]
    if len(weights) < 2 or not weights[-1].gradient:
        return []
    first, last = weights[0], weights[-1]
    ratio = first.gradient / last.gradient
    if ratio < VANISHED:
        text = f"its gradient is {ratio:.1e} of that of {last.path}: it vanishes on the way back"
        return [Finding("vanishing", first.path, f"{text}; use Relu, residual blocks or normalization")]
    if ratio > EXPLODED:
        text = f"its gradient is {ratio:.1e} times that of {last.path}: it explodes on the way back"
        return [Finding("exploding", first.path, f"{text}; draw smaller weights, normalize, or clip")]
    return []


def _updates(pulls: Any) -> list[Finding]:
    weights = [
        each
        for each in pulls
        if each.ratio is not None and each.path.rpartition("/")[2].startswith("w")
    ]
    if not weights:
        return []
    worst = max(weights, key=lambda each: each.ratio)
    if worst.ratio > LARGE:
        text = f"a step changes it by {worst.ratio:.0%} of its size; lower the learning rate"
        return [Finding("large updates", worst.path, text)]
    if worst.ratio < SMALL:
        text = f"a step changes no weight by more than {worst.ratio:.1e} of its size"
        return [Finding("small updates", "", f"{text}; raise the learning rate")]
    return []


def _batch(net: Layer, layers: Any, x: list[Array]) -> list[Finding]:
    n = len(x[0]) if x else FEW
    norms = [each.path for each in layers if each.kind == "BatchNorm"]
    if norms and n < FEW:
        text = (
            f"normalizes over {n} examples, whose moments say little; use larger batches, or LayerNorm"
        )
        return [Finding("few examples", norms[0], text)]
    return []


def _answers(y: list[Array], target: Any, loss: float, step: int) -> list[Finding]:
    found = []
    if len(y) == 1 and len(y[0]) > 1:
        spread = float(np.abs(y[0] - y[0][:1]).max())
        size = float(np.abs(y[0]).max())
        if spread <= 1e-6 * max(size, 1e-30):
            found.append(
                Finding("constant", "", "all examples get the same answer; nothing of x reaches it")
            )
    best = _of_a_constant(y, target)
    if step >= EARLY and best is not None and loss > 1.02 * best and not found:
        text = (
            f"after {step} steps the loss of {loss:.3g} is not below {best:.3g}, that of the shares of "
        )
        found.append(
            Finding("no better than a constant", "", text + "the classes; check data, loss and rate")
        )
    return found


def _of_a_constant(y: list[Array], target: Any) -> float | None:
    """Return the cross-entropy of the shares of classes, where the targets are classes of scores."""
    labels = np.asarray(target) if not isinstance(target, tuple) else np.empty(0)
    if len(y) != 1 or y[0].ndim != 2 or labels.ndim != 1 or labels.dtype.kind not in "iu":
        return None
    shares = np.bincount(labels) / max(len(labels), 1)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())
