"""Multilayer perceptron with batch normalisation on MNIST.

For every pair of widths a dense layer and a batch normalisation, ReLU between them, softmax at the
end; cross-entropy summed over the batch, momentum.

    python experiments/mnist_mlp.py

Result: 98.3 % test accuracy after 20 epochs, a third of a minute on two cores (raw pixels and normal
weights, `--raw --init normal`: 96.6 %).
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import attrs

import fnn
from fnn import pictures
from fnn.experiment import Run, main, option


@attrs.frozen
class Config:
    """What can be set from the command line."""

    widths: tuple[int, ...] = option((784, 512, 10), "inputs, hidden units, classes", least=1)
    epochs: int = option(20, "passes over the training set", least=1)
    batch_size: int | None = option(
        None,
        "examples per step; 1000, or 100 of fewer than 5,000; a smaller last batch is left out",
        least=2,
    )
    learning_rate: float = option(1e-3, "for the loss summed over the batch", least=0)
    decay: float = option(0.9, "how much of the velocity is kept at every step", least=0, below=1)
    init: Literal["glorot_uniform", "normal"] = option("glorot_uniform", "how weights are drawn")
    raw: bool = option(False, "leave the pixels as they are stored, not scaled to [0, 1]")
    first: int | None = option(None, "how many training examples to take; all by default", least=2)
    seed: int = option(0, "where all randomness comes from")
    data: Path | None = option(None, "folder with the four files of MNIST")
    out: Path = option(Path("out/mnist_mlp"), "folder for the pictures and the report")


def network(config: Config) -> fnn.Layer:
    """Return Dense, BatchNorm for every pair of widths, ReLU between, Softmax after the last."""
    init = fnn.INITIALIZERS[config.init]
    layers: list[fnn.Layer] = []
    for _, width in pairwise(config.widths):
        layers += [fnn.Dense(width, init_w=init), fnn.BatchNorm(), fnn.Relu()]
    return fnn.serial(*layers[:-1], fnn.Softmax())


def train(config: Config, run: Run) -> dict[str, Any]:
    """Train, draw the curves and twenty predictions, and return what was reached."""
    pictures.require()
    train_set, test_set, source = fnn.mnist_or_digits(
        config.data, scaled=not config.raw, first=(config.first, None)
    )
    run.data(source, train=train_set, test=test_set)
    run.used(first=len(train_set))
    if len(config.widths) < 2 or config.widths[0] != train_set.x.shape[1]:
        expected = f"{train_set.x.shape[1]} inputs and the widths of one layer or more"
        raise fnn.OptionError(f"widths: expected {expected}, got {config.widths}")
    net = network(config)
    batch_size = config.batch_size or (1000 if len(train_set) >= 5000 else 100)
    fit = run.fit(
        net,
        fnn.summed(fnn.cross_entropy),
        fnn.momentum(config.learning_rate, config.decay),
        train_set,
        epochs=config.epochs,
        batch_size=batch_size,
        drop_last=True,
        key=fnn.Key.of(config.seed),
        validation=test_set,
        metrics=[fnn.accuracy, fnn.cross_entropy],
        monitor="validation_accuracy",
        mode="max",
    )
    kept = run.keep(net, fit.last, train_set.in_shape)
    history = fit.history
    for name, column, label in (
        ("accuracy", "accuracy", "accuracy"),
        ("loss", "cross_entropy", "cross-entropy / nats"),
    ):
        pictures.curves(
            run.path(f"{name}.png"),
            {"training": history[column], "test": history[f"validation_{column}"]},
            title=name.capitalize(),
            ylabel=label,
        )
    predicted = fnn.predict(net, fit.last, test_set.x).argmax(axis=1)
    run.evaluated(test_set.x, predicted, test_set.y)
    pictures.image_grid(
        run.path("predictions.png"),
        test_set.x[:20],
        [str(label) for label in predicted[:20]],
        columns=5,
        title="Predicted classes of twenty test images",
    )
    return {
        "test_accuracy": history["validation_accuracy"][-1],
        "best_test_accuracy": max(history["validation_accuracy"]),
        **kept,
    }


if __name__ == "__main__":
    main(train, Config)
