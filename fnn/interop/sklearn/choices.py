"""What an estimator is given by value or by name: the network, the optimizer, the metrics, the seed."""

from __future__ import annotations

import inspect
import math
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from sklearn.utils import check_random_state

from fnn.errors import OptionError, ShapeError
from fnn.keys import Key
from fnn.layers.assemblies import mlp
from fnn.layers.combinators import serial
from fnn.layers.contract import Layer
from fnn.layers.initializers import shapes_only
from fnn.layers.shape import Flatten, Reshape
from fnn.losses import LOSSES
from fnn.metrics import METRICS
from fnn.optimizers import OPTIMIZERS
from fnn.optimizers.transform import Transform
from fnn.options import integer

LEARNING_RATE = 0.01
"""Where none is said, that of an optimizer that has no default of its own."""


def network(
    net: Any, in_shape: tuple[int, ...], out_shape: tuple[int, ...], each: str, end: tuple[Layer, ...]
) -> Layer:
    """Return the network: itself, what a function of the shapes returns, or a chain of dense layers.

    Args:
        net: A layer; a function of in_shape, or of in_shape and the number of outputs; or widths of
            hidden layers.
        in_shape: Shape of one example.
        out_shape: Shape of what has to come out for it.
        each: What there is an output for, as errors say it.
        end: Layers that come behind those made of widths.

    Raises:
        OptionError: If it is none of these.
        ShapeError: If it does not take such examples, or gives something else.
    """
    if isinstance(net, Layer):
        made = net
    elif callable(net):
        made = net(in_shape, math.prod(out_shape)) if _takes(net, 2) else net(in_shape)
        if not isinstance(made, Layer):
            raise OptionError(f"net: expected the function to return a Layer, got {made!r:.80}")
    else:
        made = _dense(net, in_shape, out_shape, end)
    with shapes_only():
        found, _, _ = made.init(Key.of(0), in_shape)
    if found != out_shape:
        raise ShapeError(f"net: expected outputs of shape {out_shape}, {each}, got {found}")
    return made


def _dense(
    net: Any, in_shape: tuple[int, ...], out_shape: tuple[int, ...], end: tuple[Layer, ...]
) -> Layer:
    is_listed = isinstance(net, Iterable) and not isinstance(net, str | bytes | Mapping)
    given = list(net) if is_listed else [net]
    try:
        widths = [integer("", "net", width) for width in given]
    except OptionError:
        expected = "a Layer, widths of hidden layers, or a function of the input's shape"
        raise OptionError(f"net: expected {expected}, got {net!r:.80}") from None
    chain = mlp((*widths, math.prod(out_shape)))
    before = [Flatten()] if len(in_shape) > 1 else []
    behind = [*([Reshape(out_shape)] if len(out_shape) > 1 else []), *end]
    if not before and not behind:
        return chain
    return serial(*before, *(layer for _, layer in chain.children), *behind)


def _takes(fn: Any, n: int) -> bool:
    """Return whether a function can be called with so many arguments."""
    try:
        inspect.signature(fn).bind(*range(n))
    except (TypeError, ValueError):
        return False
    return True


def optimizer_of(optimizer: Any, learning_rate: Any) -> Transform:
    """Return the optimizer: itself, or what its name or a function makes of the learning rate.

    Raises:
        OptionError: If it is something else, or has a learning rate of its own beside another.
    """
    if isinstance(optimizer, Transform):
        if learning_rate is not None:
            expected = f"None beside {optimizer!r:.80}, which has its own"
            raise OptionError(f"learning_rate: expected {expected}, got {learning_rate!r}")
        return optimizer
    is_named = isinstance(optimizer, str)
    make = OPTIMIZERS[optimizer] if is_named else optimizer
    rates = () if learning_rate is None else (learning_rate,)
    if is_named and rates and "learning_rate" not in inspect.signature(make).parameters:
        expected = f"None beside {optimizer!r}, which has none"
        raise OptionError(f"learning_rate: expected {expected}, got {learning_rate!r}")
    if not rates and not _takes(make, 0):
        rates = (LEARNING_RATE,)
    made = make(*rates) if callable(make) else make
    if not isinstance(made, Transform):
        expected = "a name, a Transform, or a function from a learning rate to one"
        raise OptionError(f"optimizer: expected {expected}, got {made!r:.80}")
    return made


def loss_of(loss: Any) -> Any:
    """Return the loss: itself, or that of a name.

    Raises:
        OptionError: If it is neither a function nor the name of one.
    """
    found = LOSSES[loss] if isinstance(loss, str) else loss
    if not callable(found):
        raise OptionError(f"loss: expected a name or a function, got {found!r:.80}")
    return found


def metrics_of(metrics: Any) -> Any:
    """Return metrics as `fit` takes them, each name replaced by what it stands for.

    Raises:
        OptionError: If there is no metric of a name.
    """
    if metrics is None:
        return ()
    if isinstance(metrics, str):
        return {metrics: METRICS[metrics]}
    if callable(metrics) or not isinstance(metrics, Iterable):
        return metrics
    if isinstance(metrics, Mapping):
        return {n: METRICS[each] if isinstance(each, str) else each for n, each in metrics.items()}
    return [METRICS[each] if isinstance(each, str) else each for each in metrics]


def callbacks_of(callbacks: Any) -> tuple[Any, ...]:
    """Return callbacks, of which there may be one, several or none.

    Raises:
        OptionError: If it is something else.
    """
    if callbacks is None or callable(callbacks):
        return () if callbacks is None else (callbacks,)
    if not isinstance(callbacks, Iterable):
        raise OptionError(f"callbacks: expected functions, got {callbacks!r:.80}")
    return tuple(callbacks)


def key_of(random_state: Any) -> Key:
    """Return the key that randomness follows from: that of an integer, a new one for None.

    Raises:
        OptionError: If it is neither these, nor a Key or a RandomState.
    """
    if random_state is None:
        return Key(secrets.token_bytes(16))
    if isinstance(random_state, Key):
        return random_state
    try:
        return Key.of(random_state)
    except TypeError:
        pass
    try:
        drawn = check_random_state(random_state).bytes(16)
    except ValueError:
        expected = "None, an integer, a Key or a RandomState"
        raise OptionError(f"random_state: expected {expected}, got {random_state!r:.80}") from None
    return Key(drawn)
