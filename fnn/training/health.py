"""How a network is doing at a point of its training: what its layers give, and how they are moved.

`diagnose` looks at one batch and says in words what is wrong and what helps. It changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import numpy as np

from fnn import tree
from fnn.errors import OptionError
from fnn.files import markup
from fnn.kernels.values import is_integer, named_arrays
from fnn.keys import Key
from fnn.layers.activation import Relu, Sigmoid, Tanh
from fnn.layers.contract import Layer
from fnn.layers.smooth_activation import HardSigmoid, HardTanh, Relu6
from fnn.layers.wiring import bare
from fnn.optimizers.transform import Transform
from fnn.training.findings import Finding, findings
from fnn.training.state import Batch, TrainState, trained, unpack
from fnn.tree import Array

LIMITS: dict[Callable[..., Layer], tuple[float, float]] = {
    Sigmoid: (0.0, 1.0),
    Tanh: (-1.0, 1.0),
    HardSigmoid: (0.0, 1.0),
    HardTanh: (-1.0, 1.0),
    Relu6: (-math.inf, 6.0),
}
"""Between what an activation's values lie."""

NEAR = 0.01
"""How near to a limit, in parts of its range, a value counts as saturated."""

RECTIFIERS = (Relu, Relu6)


@attrs.frozen
class Health:
    """What one layer gives for a batch.

    Attributes:
        path: Where it stands in the network.
        kind: The call that made it, without options.
        mean, spread: Mean and standard deviation of all numbers that it gives.
        dead: Share of its units that give 0 for every example, None where no unit rectifies.
        saturated: Share of its numbers at the limits of its activation, None where there are none.
    """

    path: str
    kind: str
    mean: float
    spread: float
    dead: float | None = None
    saturated: float | None = None


@attrs.frozen
class Pull:
    """How the loss pulls at one leaf of the parameters, and how the optimizer follows.

    Attributes:
        path: Its path in params.
        size: Root mean square of its numbers.
        gradient: Root mean square of its gradient.
        update: Root mean square of what the optimizer adds, None without one.
    """

    path: str
    size: float
    gradient: float
    update: float | None = None

    @property
    def ratio(self) -> float | None:
        """The update as a part of the parameter; None without either."""
        return None if self.update is None or not self.size else self.update / self.size


@attrs.frozen
class Diagnosis:
    """What `diagnose` found; as a text, two tables and advice.

    Attributes:
        layers: Every layer that computes, in the order in which they are called.
        pulls: Every leaf of the parameters that is trained.
        loss: That of the batch.
        findings: What is wrong, the gravest first; empty where all is well.
    """

    layers: tuple[Health, ...]
    pulls: tuple[Pull, ...]
    loss: float
    findings: tuple[Finding, ...]

    def tables(self) -> list[list[list[str]]]:
        """Return the table of layers and that of parameters, each with its head."""
        layers = [["layer", "kind", "mean", "spread", "dead", "saturated"]]
        for each in self.layers:
            numbers = _short(each.mean), _short(each.spread), _share(each.dead), _share(each.saturated)
            layers.append([each.path, each.kind, *numbers])
        pulls = [["parameter", "size", "gradient", "update / size"]]
        pulls += [[p.path, *map(_short, (p.size, p.gradient, p.ratio))] for p in self.pulls]
        return [layers, pulls] if self.pulls else [layers]

    def lines(self) -> list[str]:
        """Return the loss, and what is wrong."""
        said = [str(each) for each in self.findings] or ["nothing is wrong"]
        return [f"loss {self.loss:.4g}", *said]

    def __str__(self) -> str:
        tables = [_table(head, rows) for head, *rows in self.tables()]
        return "\n\n".join([*tables, "\n".join(self.lines())])

    def _repr_html_(self) -> str:
        """Return the tables and the advice, for notebooks."""
        tables = [markup.table(head, rows, texts=len(head) // 2 - 1) for head, *rows in self.tables()]
        return "".join([*tables, *(f"<div>{markup.escaped(text)}</div>" for text in self.lines())])


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i < len(head) - len(head) // 2 - 1 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]
    return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:]])


def diagnose(
    net: Layer,
    now: TrainState,
    batch: Batch,
    loss: Any,
    *,
    optimizer: Transform | None = None,
    key: Key | None = None,
) -> Diagnosis:
    """Return how a network is doing on a batch: what layers give, gradients, updates, and advice.

        fnn.diagnose(net, fit.last, (x, y), fnn.softmax_cross_entropy, optimizer=optimizer)

    It takes one step in training mode and throws it away: nothing of the training changes.

    Args:
        net: The network.
        now: The state at which it is looked at.
        batch: (x, target), or (x, target, weight); as large as those of the training, or larger.
        loss: That of the training.
        optimizer: That of the training, for the sizes of updates; its memory is that of `now`.
        key: For dropout and the like; a key of the state's step by default.

    Raises:
        OptionError, DataError, ShapeError, DTypeError: As a training step.
    """
    for name, given, kind in (("net", net, Layer), ("now", now, TrainState)):
        if not isinstance(given, kind):
            message = f"{name}: expected a {kind.__name__}, got {given!r:.80}"
            raise OptionError(message, path=("diagnose",))
    x, target, weight = unpack(batch)
    seen: dict[str, list[Any]] = {}
    tapped = _tapped("", net, seen)
    if net.traits.stochastic and key is None:
        key = now.key.fold("step", now.step)
    with np.errstate(all="ignore"):
        y, _, back = tapped.vjp(now.params, now.state, x, train=True, key=key)
        value, dpred = loss(y, target, **weight)
        grads = trained(net, back(dpred, need_dx=False)[0])
        own = trained(net, now.params)
        updates = None
        if optimizer is not None:
            updates, _ = optimizer.update(grads, now.opt_state, own, now.step)
        layers = tuple(_health(net, path, values) for path, values in seen.items())
        pulls = tuple(_pulls(own, grads, updates))
    found = findings(
        net, layers, pulls, x=_floats(x), y=_floats(y), target=target, loss=float(value), step=now.step
    )
    return Diagnosis(layers, pulls, float(value), found)


def _tapped(path: str, layer: Layer, seen: dict[str, list[Any]]) -> Layer:
    """Return the same network, whose layers note what they give."""
    if layer.rebuilt is not None and layer.children:
        made = layer.rebuilt(lambda name, child: _tapped(f"{path}/{name}".strip("/"), child, seen))
        return attrs.evolve(made, name=layer.name, is_named=layer.is_named)

    def vjp(params: Any, state: Any, x: Any, **options: Any) -> Any:
        y, moved, back = layer.core.vjp(params, state, x, **options)
        seen.setdefault(path or layer.name, []).append(y)
        return y, moved, back

    return attrs.evolve(layer, vjp=vjp, recipe=None, shapes=None, members="each")


def _floats(value: Any) -> list[Array]:
    return [part for _, part in named_arrays(value) if not is_integer(part) and part.size]


def _health(net: Layer, path: str, values: list[Any]) -> Health:
    parts = [part for value in values for part in _floats(value)]
    flat = np.concatenate([part.reshape(-1).astype(np.float64) for part in parts]) if parts else None
    layer = _at(net, path)
    call = bare(layer).recipe.call
    kind = getattr(call, "__name__", layer.name)
    if flat is None:
        return Health(path, kind, math.nan, math.nan)
    dead = saturated = None
    if call in RECTIFIERS:
        # A unit is a feature, or a channel over all of space.
        axes = [tuple(i for i in range(part.ndim) if i != 1) for part in parts]
        alive = [(part != 0).any(axis=axis) for part, axis in zip(parts, axes, strict=True)]
        dead = 1 - float(np.concatenate([each.reshape(-1) for each in alive]).mean())
    if call in LIMITS:
        low, high = LIMITS[call]
        near = NEAR * (high - low if math.isfinite(low) else high)
        saturated = float(((flat <= low + near) | (flat >= high - near)).mean())
    return Health(path, kind, float(flat.mean()), float(flat.std()), dead, saturated)


def _at(net: Layer, path: str) -> Layer:
    layer = net
    for name in path.split("/"):
        layer = dict(layer.children).get(name, layer)
    return layer


def _pulls(params: Any, grads: Any, updates: Any) -> Iterator[Pull]:
    moved = dict(tree.items(updates)) if updates is not None else {}
    for (path, leaf), (_, grad) in zip(tree.items(params), tree.items(grads), strict=True):
        update = _rms(moved[path]) if path in moved else None
        yield Pull(path, _rms(leaf), _rms(grad), update)


def _rms(array: Array) -> float:
    wide = np.abs(array).astype(np.float64)
    return float(np.sqrt((wide * wide).mean())) if array.size else 0.0


class Watch:
    """A callback of `fit` that diagnoses every epoch on one batch, the first examples of the data."""

    def __init__(self, net: Layer, loss: Any, optimizer: Transform, batch: Batch) -> None:
        """Begin without any diagnosis."""
        self._given, self._optimizer, self._batch = (net, loss), optimizer, batch
        self.seen: list[Diagnosis] = []

    def __call__(self, now: TrainState, history: Any) -> None:
        """Look at the state after an epoch."""
        net, loss = self._given
        self.seen.append(diagnose(net, now, self._batch, loss, optimizer=self._optimizer))


def advice(health: Sequence[Diagnosis], first: int = 1) -> list[str]:
    """Return what is wrong at the end, each with the epoch since which it has been.

    Args:
        health: The diagnoses of epochs, in order.
        first: The number of the first of them.
    """
    said = []
    for each in health[-1].findings if health else ():
        since = len(health)
        while since > 1 and any(each.is_like(other) for other in health[since - 2].findings):
            since -= 1
        what, _, helps = str(each).partition("; ")
        said.append(f"{what} since epoch {first + since - 1}; {helps}")
    return said
