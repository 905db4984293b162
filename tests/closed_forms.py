"""What closed forms of transforms are written with, and the row that holds one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from fnn import tree


@attrs.frozen
class TransformCase:
    """A transform, the public name it shows, the closed form of its steps, and how many show it all."""

    name: str
    transform: Any
    first_steps: Any
    steps: int = 5

    def __str__(self):
        return repr(self.transform)


def plain(value):
    return lambda step: value


def negative(rate):
    return lambda step: -at(rate, step)


def falling(step):
    return np.float64(0.1) / (1 + step)


def steps_of(direction: Callable[[Any, Any, Any, int], Any]) -> Any:
    """Return the closed form of what moves every leaf by direction(p, g, own memory, step)."""

    def first_steps(params, grads):
        point, points = params, []
        memory: dict[str, dict] = {path: {} for path, _ in tree.items(params)}
        for step, grad in enumerate(grads):
            moved = {}
            for (path, p), (_, g) in zip(tree.items(point), tree.items(grad), strict=True):
                moved[path] = p + direction(p, g, memory[path], step)
            point = tree.update(point, moved)
            points.append(point)
        return points

    return first_steps


def at(number, step):
    return float(number(step)) if callable(number) else number


def weighted_sum(memory, name, g, decay):
    """Return Σ decayᵏ g over the history, kept whole; no recursion as the library's."""
    memory.setdefault(name, []).append((g, decay))
    total, factor = 0.0, 1.0
    for past, rate in reversed(memory[name]):
        total = total + factor * past
        factor *= rate
    return total
