"""What the classifier and the regressor share: from scikit-learn's arguments to `fit`, and back."""

from __future__ import annotations

from collections import deque
from typing import Any, Self

import attrs
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from fnn import tree
from fnn.datasets.dataset import Dataset
from fnn.datasets.entries import cast, precision
from fnn.datasets.scaling import Scaling
from fnn.errors import OptionError, ShapeError
from fnn.interop.sklearn import choices, examples
from fnn.interop.sklearn.attempts import placed
from fnn.kernels.conversion import check_unmasked
from fnn.keys import Key
from fnn.layers.contract import Layer
from fnn.options import flag, integer
from fnn.training.evaluation import metric_table, predict
from fnn.training.history import History, early_stopping
from fnn.training.loop import fit
from fnn.training.progress import Progress
from fnn.training.state import TrainState
from fnn.tree import Array


class FnnEstimator(BaseEstimator):  # type: ignore[misc]
    """A network, how it is trained, and what came of it; see `FnnClassifier` and `FnnRegressor`."""

    net_: Layer
    state_: TrainState
    history_: History
    n_iter_: int
    in_shape_: tuple[int, ...]
    _dtype: str
    scaling_: Scaling | None
    _key: Key
    _progress: Progress
    _course: tuple[Any, ...]

    def __init__(
        self,
        net: Any,
        *,
        loss: Any,
        optimizer: Any,
        learning_rate: Any,
        epochs: int,
        batch_size: int,
        scale: str | None,
        validation_fraction: float | None,
        early_stopping: int | None,
        monitor: str | None,
        mode: Any,
        plateau: Any,
        metrics: Any,
        callbacks: Any,
        augment: Any,
        penalty: Any,
        warm_start: bool,
        dtype: str,
        random_state: Any,
        verbose: Any,
    ) -> None:
        """Keep the options as they are; `fit` looks at them."""
        self.net = net
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.scale = scale
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.monitor = monitor
        self.mode = mode
        self.plateau = plateau
        self.metrics = metrics
        self.callbacks = callbacks
        self.augment = augment
        self.penalty = penalty
        self.warm_start = warm_start
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    # --- what differs between classes and numbers

    _stratified = False

    def _wanted(self) -> tuple[tuple[int, ...], str, tuple[Layer, ...]]:
        """Return the shape of what the network has to say of an example, what for, and its end."""
        raise NotImplementedError

    def _weighed(self, data: Dataset, *, is_partial: bool) -> Dataset:
        """Return the set with weights that follow from its targets too."""
        return data

    def _learn_targets(self, train: Dataset) -> None:
        """Learn how targets are scaled."""

    def _encoded(self, data: Dataset) -> Array:
        """Return the targets as the loss wants them."""
        raise NotImplementedError

    # --- training

    def _goes_on(self, *, is_partial: bool) -> bool:
        """Return whether a training goes on from the last one."""
        warm_start = flag("", "warm_start", self.warm_start)
        return (is_partial or warm_start) and hasattr(self, "state_")

    def _train(self, x: Array, y: Array, weight: Any, *, goes_on: bool, is_partial: bool) -> Self:
        """Train on arrays that scikit-learn has checked; `partial_fit` takes them all, and once."""
        net = choices.network(self.net, x.shape[1:], *self._wanted())
        batch_size = integer("", "batch_size", self.batch_size)
        epochs = 1 if is_partial else integer("", "epochs", self.epochs)
        optimizer = choices.optimizer_of(self.optimizer, self.learning_rate)
        dtype = _dtype(self.dtype)
        is_scaled = not _are_integers(net, x)
        data = examples.weighed(examples.floating(x) if is_scaled else x, y, weight)
        data = self._weighed(data, is_partial=is_partial)
        loss, metrics = choices.loss_of(self.loss), metric_table(choices.metrics_of(self.metrics))
        mergeable = self.augment is None and examples.is_mergeable(net, [loss, *metrics.values()])
        if mergeable and len(data) <= batch_size:
            data = examples.merged(data)
        data = examples.bare(data)
        key = self._key if goes_on else choices.key_of(self.random_state)
        fraction = None if is_partial else self.validation_fraction
        train, held = examples.split(data, fraction, key, stratified=self._stratified)
        if not goes_on:
            chosen = self.scale if is_scaled else None
            self.scaling_ = examples.scaling_of("scale", chosen, train.x, train.weight)
            self._learn_targets(train)
        options = self._watched(is_validated=held is not None, is_partial=is_partial)
        watched = options["monitor"], options["mode"], tuple(metrics)
        course = optimizer, self.plateau, dtype, held is None, watched
        options |= self._from(course, epochs) if goes_on else {"key": key, "epochs": epochs}
        kept: deque[Progress] = deque(maxlen=1)
        done = fit(
            net, loss, optimizer, self._ready(train), batch_size=batch_size, metrics=metrics,
            validation=None if held is None else self._ready(held), plateau=self.plateau,
            augment=self.augment, penalty=self.penalty, dtype=dtype,
            progress=_shown(self.verbose), save=kept.append, **options,
        )  # fmt: skip
        self.net_, self.in_shape_, self._dtype = net, x.shape[1:], dtype
        self._key, self._progress, self._course = key, kept[0], course
        self.history_, self.n_iter_ = done.history, len(done.history)
        self.state_ = done.last if held is None else done.best
        if done.interrupted:
            raise KeyboardInterrupt
        return self

    def _watched(self, *, is_validated: bool, is_partial: bool) -> dict[str, Any]:
        """Return what `fit` is to watch and call."""
        callbacks = choices.callbacks_of(self.callbacks)
        monitor, mode = self.monitor, self.mode
        if is_partial and str(monitor).startswith("validation_"):
            monitor = mode = None
        if monitor is None:
            monitor = "validation_loss" if is_validated else "loss"
        if self.early_stopping is not None and not is_partial:
            patience = integer("", "early_stopping", self.early_stopping)
            callbacks = (*callbacks, early_stopping(patience, monitor=monitor, mode=mode))
        return {"callbacks": callbacks, "monitor": monitor, "mode": mode}

    def _from(self, course: tuple[Any, ...], epochs: int) -> dict[str, Any]:
        """Return from where `fit` goes on: exactly where it was, or from the weights alone."""
        start, now, key = self._progress, self.state_, self._progress.now.key
        if start.batch or course != self._course:
            anew = {"key": key.fold("again"), "epochs": epochs}
            return {"params": now.params, "state": now.state, **anew}
        start = attrs.evolve(start, stopped=False)
        return {"start": start, "key": key, "epochs": start.epoch + epochs}

    def _ready(self, data: Dataset) -> Dataset:
        x = data.x if self.scaling_ is None else self.scaling_.apply(data.x)
        return Dataset(x, self._encoded(data), weight=data.weight)

    # --- what comes in, and what goes out

    def _checked(self, X: Any, *y: Any, reset: bool, **options: Any) -> Any:
        """Return X, or X and y, as arrays that scikit-learn has nothing against."""
        for name, given in zip(("X", "y"), (X, *y), strict=False):
            check_unmasked(name, given)
        return validate_data(self, X, *y, reset=reset, dtype="numeric", allow_nd=True, **options)

    def _outputs(self, X: Any, dtype: str | None = None) -> Array:
        """Return what the network says of examples, in the precision of its training or another."""
        check_is_fitted(self, "state_")
        with placed(self):
            x = self._checked(X, reset=False)
            if x.shape[1:] != self.in_shape_:
                message = f"expected examples of shape {self.in_shape_}, got {x.shape[1:]}"
                raise ShapeError(message)
            weights: Any = self.state_
            if dtype is not None:
                weights = tree.cast(weights.params, dtype), tree.cast(weights.state, dtype)
            if not _are_integers(self.net_, x):
                x = examples.floating(x)
                x = x if self.scaling_ is None else self.scaling_.apply(x)
                x = cast("X", x, dtype or self._dtype)
            outputs: Array = predict(self.net_, weights, x)
            return outputs


def _are_integers(net: Layer, x: Array) -> bool:
    """Return whether examples are integers that the network takes as they are, such as tokens."""
    return net.traits.takes_integers and x.dtype.kind in "iu"


def _dtype(choice: Any) -> str:
    name = precision("", choice)
    if name is None:
        raise OptionError("dtype: expected 'float32' or 'float64', got None")
    return name


def _shown(verbose: Any) -> Any:
    if isinstance(verbose, str) and verbose == "bar":
        return verbose
    if not isinstance(verbose, int | np.integer | np.bool_):
        raise OptionError(f"verbose: expected True, False or 'bar', got {verbose!r}")
    return bool(verbose)
