"""A network that tells classes apart, as a scikit-learn classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelEncoder
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets

from fnn.datasets.dataset import Dataset
from fnn.datasets.one_hot import labels_of
from fnn.errors import DataError, OptionError
from fnn.interop.sklearn.attempts import attempt
from fnn.interop.sklearn.choices import loss_of
from fnn.interop.sklearn.estimator import FnnEstimator
from fnn.interop.sklearn.targets import ClassCoding, class_coding
from fnn.layers.contract import Layer
from fnn.tree import Array


def _tells_probabilities(estimator: Any) -> bool:
    return estimator._coding().probabilities is not None


def _tells_scores_alone(estimator: Any) -> bool:
    return not _tells_probabilities(estimator)


class FnnClassifier(ClassifierMixin, FnnEstimator):  # type: ignore[misc]
    """Train a network to tell classes apart, with labels of any type.

        FnnClassifier((64,), epochs=50, random_state=0).fit(X, y).predict(X)

    Weights, order and masks follow from `random_state`: what is predicted is, to the bit, what
    `fnn.fit` with the same arguments and `key=Key.of(random_state)` comes to. A set that is no larger
    than a batch is brought into an order of its own first, equal examples merged, so that neither their
    order nor a repetition in the place of a weight changes a bit; but not where the network draws masks
    or normalises batches, examples are augmented, or the loss takes no weights.

    Args:
        net: Widths of hidden layers, with ReLU between them; a layer, which has to end in as many
            outputs as `loss` wants, one per class for most; or a function that returns such a layer,
            of the shape of an example or of that and the number of outputs. For images X has the shape
            (n, channels, height, width), or the network begins with `Reshape`.
        loss: By name or as a function. It says what the targets are and what the outputs mean: scores
            of classes for "softmax_cross_entropy", "focal" and "multiclass_hinge", one score for two
            classes for "sigmoid_cross_entropy" and "hinge", probabilities for "cross_entropy", their
            logarithms for "nll"; where `net` is widths, the layer that gives these comes along. A loss
            of one's own gets labels from 0, and its outputs are taken for scores as those of
            "softmax_cross_entropy" are.
        optimizer: By name, as a function of the learning rate, or as a transform.
        learning_rate: A number or a schedule; None is what the optimizer has by default, as adam has
            0.001, or else 0.01. A transform has its own.
        epochs: How often to go through the examples.
        batch_size: Examples per step.
        scale: "standard" for features of mean 0 and deviation 1 over what is trained on, None for
            features as they are. Integers for a network that takes them (tokens) are never scaled.
        validation_fraction: Share of the examples that is held out and evaluated after every epoch,
            with the same share of every class; predictions are then made with the best epoch's
            weights. None trains on all, and predicts with the last.
        early_stopping: After how many epochs without improvement to stop; None goes through all.
        monitor: Column of `history_` that says what is better: "validation_loss", or "loss" where
            nothing is held out.
        mode: "min" or "max"; needed unless a loss is monitored.
        plateau: How the learning rate is cut where nothing improves, by `fnn.reduce_on_plateau`.
        metrics: Names or functions of (outputs, targets); columns of `history_`.
        callbacks: Called as `callback(now, history)` after every epoch; a true value stops.
        augment, penalty: As in `fnn.fit`.
        class_weight: {label: weight}, or "balanced" to have all classes count alike; times
            `sample_weight`.
        warm_start: Whether `fit` goes on from where the last one ended, for further epochs: twice 5 are
            10, to the bit. Where the optimizer or what is monitored has changed in between, it goes on
            from the weights alone. Scales and classes stay.
        dtype: "float32" or "float64", in which it trains and predicts.
        random_state: An integer or a `Key`; None for another result each time, a RandomState to draw
            from. NumPy's global state is never read.
        verbose: Whether to say every epoch in a line on stderr; "bar" for a bar alone.

    Attributes:
        classes_: The labels, sorted.
        history_: A record per epoch, as of `fnn.fit`.
        net_: The network.
        state_: The TrainState that predictions are made with: `fnn.predict(net_, state_, x)`.
        scaling_: What makes x of X, `scaling_.apply(X)`; None where nothing is scaled.
        in_shape_: Shape of an example.
        n_features_in_, feature_names_in_, n_iter_: As everywhere in scikit-learn.
    """

    classes_: Array
    _stratified = True

    def __init__(
        self,
        net: Any = (100,),
        *,
        loss: Any = "softmax_cross_entropy",
        optimizer: Any = "adam",
        learning_rate: Any = None,
        epochs: int = 100,
        batch_size: int = 64,
        scale: str | None = "standard",
        validation_fraction: float | None = None,
        early_stopping: int | None = None,
        monitor: str | None = None,
        mode: Any = None,
        plateau: Any = None,
        metrics: Any = (),
        callbacks: Any = (),
        augment: Any = None,
        penalty: Any = None,
        class_weight: Any = None,
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
        self.class_weight = class_weight

    @attempt
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on examples X and their labels y.

        After Ctrl-C what was reached is kept, and KeyboardInterrupt goes on to the caller.

        Args:
            X: Numbers, shape (n, ...): an array, lists or a data frame.
            y: A label per example: strings, integers, booleans.
            sample_weight: How much each example counts; one of weight 0 not at all.

        Raises:
            ValueError: If an argument or an option is not as it should be; those of this library are
                typed (`fnn.errors`).
            DivergedError: If the loss is not finite any more.
        """
        goes_on = self._goes_on(is_partial=False)
        x, y = self._checked(X, y, reset=not goes_on)
        check_classification_targets(y)
        classes = self.classes_ if goes_on else np.unique(y)
        return self._classify(x, y, sample_weight, classes, goes_on=goes_on, is_partial=False)

    @attempt
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Go through some examples once, from where the last training ended.

        Calling it n times with the same examples is `fit` with n epochs, to the bit. Nothing is held
        out. Features are scaled as the first examples say.

        Args:
            X, y, sample_weight: As in `fit`.
            classes: All labels that will come; needed at the first call.

        Raises:
            ValueError: As in `fit`, and if a label is not among the classes.
            DivergedError: If the loss is not finite any more.
        """
        goes_on = self._goes_on(is_partial=True)
        x, y = self._checked(X, y, reset=not goes_on)
        check_classification_targets(y)
        if classes is None and not goes_on:
            raise OptionError("classes: expected all labels at the first partial_fit, got None")
        given = self.classes_ if classes is None else np.unique(labels_of("classes", classes))
        if goes_on and not np.array_equal(given, self.classes_):
            raise OptionError(f"classes: expected {self.classes_} as before, got {given}")
        return self._classify(x, y, sample_weight, given, goes_on=goes_on, is_partial=True)

    def _classify(
        self, x: Array, y: Array, weight: Any, classes: Array, *, goes_on: bool, is_partial: bool
    ) -> Self:
        encoder = LabelEncoder().fit(classes)
        known = set(encoder.classes_.tolist())
        unknown = [label for label in np.unique(y).tolist() if label not in known]
        if unknown:
            message = f"y: expected labels of the classes {classes}, got {unknown[0]!r}"
            raise DataError(message)
        labels, self.classes_ = encoder.transform(y), encoder.classes_
        return self._train(x, labels, weight, goes_on=goes_on, is_partial=is_partial)

    # --- what the shared part asks for

    def _coding(self) -> ClassCoding:
        return class_coding(loss_of(self.loss))

    def _wanted(self) -> tuple[tuple[int, ...], str, tuple[Layer, ...]]:
        n_classes, coding = len(self.classes_), self._coding()
        width = coding.width(n_classes)
        each = f"for {n_classes} classes" if width < n_classes else "one per class"
        return (width,), each, () if coding.end is None else (coding.end(),)

    def _weighed(self, data: Dataset, *, is_partial: bool) -> Dataset:
        weights = self.class_weight
        if weights is None:
            return data
        if isinstance(weights, Mapping):
            numbers = {label: i for i, label in enumerate(self.classes_.tolist())}
            unknown = [label for label in weights if label not in numbers]
            if unknown:
                expected = f"labels of the classes {self.classes_}"
                raise OptionError(f"class_weight: expected {expected}, got {unknown[0]!r}")
            there = set(data.y.tolist())
            numbered = {numbers[label]: weight for label, weight in weights.items()}
            return data.weighted({i: each for i, each in numbered.items() if i in there}).present()
        if is_partial:
            message = (
                f"class_weight: expected {{label: weight}} or None with partial_fit, got {weights!r}"
            )
            raise OptionError(message)
        return data.weighted(weights)

    def _encoded(self, data: Dataset) -> Array:
        return self._coding().encode(data.y, len(self.classes_))

    # --- prediction

    def predict(self, X: Any) -> Array:
        """Return the likeliest label of each example."""
        outputs = self._outputs(X)
        labels: Array = self.classes_[self._coding().decode(outputs, len(self.classes_))]
        return labels

    @available_if(_tells_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classes, shape (n, n_classes), in the order of `classes_`.

        Losses of margins, such as "hinge", say none: then there is `decision_function` instead.
        """
        outputs = self._outputs(X)
        probabilities = self._coding().probabilities
        assert probabilities is not None
        with np.errstate(all="ignore"):
            p: Array = probabilities(outputs)
        return p if len(self.classes_) > 1 else np.ones_like(p[:, :1])

    @available_if(_tells_scores_alone)  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> Array:
        """Return scores, the largest for the likeliest class; of two classes the second's alone."""
        outputs = self._outputs(X)
        if outputs.shape[1] == 2:
            return outputs[:, 1] - outputs[:, 0]
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs
