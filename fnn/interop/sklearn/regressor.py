"""A network that predicts numbers, as a scikit-learn regressor."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin

from fnn.datasets.dataset import Dataset
from fnn.datasets.scaling import Scaling
from fnn.errors import DTypeError, OptionError, ShapeError
from fnn.interop.sklearn.attempts import attempt
from fnn.interop.sklearn.choices import loss_of
from fnn.interop.sklearn.estimator import FnnEstimator
from fnn.interop.sklearn.examples import floating, scaling_of
from fnn.interop.sklearn.targets import NumberCoding, number_coding
from fnn.layers.contract import Layer
from fnn.tree import Array


class FnnRegressor(RegressorMixin, FnnEstimator):  # type: ignore[misc]
    """Train a network to predict numbers, one or several per example.

        FnnRegressor((64,), epochs=200, random_state=0).fit(X, y).predict(X)

    Weights, order and masks follow from `random_state`, as in `FnnClassifier`. Predictions are made in
    float64 with the trained weights, whatever they were trained in: what an example is predicted does
    then not depend on those beside it, and targets far from 0 keep their digits.

    Args:
        net: As in `FnnClassifier`, with one output per target.
        loss: By name or as a function. With "poisson" the network's output is the logarithm of what is
            predicted, and with "gaussian_nll" a mean, which is predicted, and a log-variance.
        target_scale: "standard" to train on targets of mean 0 and deviation 1, None on targets as they
            are. `history_`, metrics and losses then speak of scaled targets; predictions never do.
        optimizer, learning_rate, epochs, batch_size, scale, validation_fraction, early_stopping,
            monitor, mode, plateau, metrics, callbacks, augment, penalty, warm_start, dtype,
            random_state, verbose: As in `FnnClassifier`.

    Attributes:
        n_outputs_: How many numbers are predicted.
        target_scaling_: How targets were scaled, which `target_scaling_.undo` reverts; None if not.
        history_, net_, state_, scaling_, in_shape_, n_features_in_, feature_names_in_, n_iter_: As of
            `FnnClassifier`.
    """

    n_outputs_: int
    _is_flat: bool
    target_scaling_: Scaling | None

    def __init__(
        self,
        net: Any = (100,),
        *,
        loss: Any = "squared_error",
        optimizer: Any = "adam",
        learning_rate: Any = None,
        epochs: int = 100,
        batch_size: int = 64,
        scale: str | None = "standard",
        target_scale: str | None = "standard",
        validation_fraction: float | None = None,
        early_stopping: int | None = None,
        monitor: str | None = None,
        mode: Any = None,
        plateau: Any = None,
        metrics: Any = (),
        callbacks: Any = (),
        augment: Any = None,
        penalty: Any = None,
        warm_start: bool = False,
        dtype: str = "float32",
        random_state: Any = None,
        verbose: Any = False,
    ) -> None:
        """Keep the options as they are; `fit` looks at them."""
        super().__init__(
            net, loss=loss, optimizer=optimizer, learning_rate=learning_rate, epochs=epochs,
            batch_size=batch_size, scale=scale, validation_fraction=validation_fraction,
            early_stopping=early_stopping, monitor=monitor, mode=mode, plateau=plateau,
            metrics=metrics, callbacks=callbacks, augment=augment, penalty=penalty,
            warm_start=warm_start, dtype=dtype, random_state=random_state, verbose=verbose,
        )  # fmt: skip
        self.target_scale = target_scale

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    @attempt
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on examples X and their targets y.

        After Ctrl-C what was reached is kept, and KeyboardInterrupt goes on to the caller.

        Args:
            X: Numbers, shape (n, ...): an array, lists or a data frame.
            y: Numbers, shape (n,), or (n, m) for m of each example.
            sample_weight: How much each example counts; one of weight 0 not at all.

        Raises:
            ValueError: If an argument or an option is not as it should be; those of this library are
                typed (`fnn.errors`).
            DivergedError: If the loss is not finite any more.
        """
        return self._regress(X, y, sample_weight, is_partial=False)

    @attempt
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Go through some examples once, from where the last training ended.

        Calling it n times with the same examples is `fit` with n epochs, to the bit. Nothing is held
        out. Features and targets are scaled as the first examples say.

        Args:
            X, y, sample_weight: As in `fit`.

        Raises:
            ValueError, DivergedError: As in `fit`.
        """
        return self._regress(X, y, sample_weight, is_partial=True)

    def _regress(self, X: Any, y: Any, weight: Any, *, is_partial: bool) -> Self:
        goes_on = self._goes_on(is_partial=is_partial)
        x, y = self._checked(X, y, reset=not goes_on, multi_output=True)
        numbers = _numbers(y)
        table = numbers.reshape(len(numbers), -1)
        if goes_on and table.shape[1] != self.n_outputs_:
            message = f"y: expected {self.n_outputs_} numbers per example, got {table.shape[1]}"
            raise ShapeError(message)
        if not goes_on:
            self.n_outputs_, self._is_flat = table.shape[1], numbers.ndim == 1
        return self._train(x, table, weight, goes_on=goes_on, is_partial=is_partial)

    # --- what the shared part asks for

    def _coding(self) -> NumberCoding:
        return number_coding(loss_of(self.loss))

    def _wanted(self) -> tuple[tuple[int, ...], str, tuple[Layer, ...]]:
        shape = self.n_outputs_, *self._coding().per_target
        return shape, "as the loss wants for each target", ()

    def _learn_targets(self, train: Dataset) -> None:
        if self.target_scale is not None and not self._coding().scales:
            expected = f"None with the loss {self.loss!r}, which wants targets as they are"
            raise OptionError(f"target_scale: expected {expected}, got {self.target_scale!r}")
        self.target_scaling_ = scaling_of("target_scale", self.target_scale, train.y, train.weight)

    def _encoded(self, data: Dataset) -> Array:
        scaling = self.target_scaling_
        y: Array = data.y
        return y if scaling is None else scaling.apply(y)

    # --- prediction

    def predict(self, X: Any) -> Array:
        """Return the predicted numbers in float64, of the shape that y had."""
        outputs = self._outputs(X, "float64")
        with np.errstate(all="ignore"):
            y = self._coding().predicted(outputs)
            y = y if self.target_scaling_ is None else self.target_scaling_.undo(y)
        return y[:, 0] if self._is_flat else y


def _numbers(y: Any) -> Array:
    """Return targets as floats; objects that are numbers too.

    Raises:
        DTypeError: If they are something else.
    """
    if not isinstance(y, np.ndarray):
        raise DTypeError(f"y: expected an array, got {type(y).__name__}")
    try:
        return floating(y.astype("float64") if y.dtype.kind == "O" else y)
    except (TypeError, ValueError):
        # scikit-learn's words for it are at the end: its checks look for them.
        message = f"y: expected numbers, got dtype {y.dtype} (Unknown label type)"
        raise DTypeError(message) from None
