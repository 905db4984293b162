"""A small residual network on all of MNIST, with augmentation and one cycle of the learning rate.

Two stages of one residual block each, batch normalization throughout; every image is turned and
shifted a little each time it is seen. Nesterov's momentum, its rate rising and falling once.

    python experiments/resnet.py

Result: 99.53 % test accuracy after 13 epochs with 28,410 parameters, 99.63 % with `--seed 1`; 6.4 and
7.3 minutes on one busy core. PyTorch's network of the same weights, over the same batches with the
same augmentation, has the same losses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

import fnn
from fnn import pictures
from fnn.experiment import Run, main, option


@attrs.frozen
class Config:
    """What can be set from the command line."""

    epochs: int = option(13, "passes over the training set", least=1)
    batch_size: int = option(128, "examples per step", least=1)
    peak: float = option(0.2, "largest learning rate of the cycle", least=0)
    decay: float = option(1e-4, "weight decay of the convolutions and of the last layer", least=0)
    width: int = option(16, "channels of the first stage; the second has twice as many", least=1)
    degrees: float = option(10.0, "how far images are turned at most", least=0)
    pixels: float = option(2.0, "how far they are shifted at most", least=0)
    seed: int = option(0, "where all randomness comes from")
    data: Path | None = option(None, "folder with the four files of MNIST")
    out: Path = option(Path("out/resnet"), "folder for the pictures and the log")


def convolution(width: int) -> fnn.Layer:
    """Return a 3 by 3 convolution that keeps the size of images, normalized."""
    conv = fnn.Conv(width, 3, padding="same", bias=False, init_w=fnn.he_normal)
    return fnn.serial(conv, fnn.BatchNorm())


def stage(width: int) -> fnn.Layer:
    """Return a convolution to so many channels, half the size, and a residual block."""
    block = fnn.residual(convolution(width), fnn.Relu(), convolution(width))
    return fnn.serial(convolution(width), fnn.MaxPool(2), fnn.Relu(), block, fnn.Relu())


def network(config: Config) -> fnn.Layer:
    """Return the network; its outputs are logits."""
    return fnn.serial(
        fnn.named("first", stage(config.width)),
        fnn.named("second", stage(2 * config.width)),
        fnn.GlobalMaxPool(),
        fnn.Dense(10),
    )


def train(config: Config, run: Run) -> dict[str, Any]:
    """Train, draw the curves and right and wrong images, and return what was reached."""
    pictures.require()
    train_set, test_set, source = fnn.mnist_or_digits(config.data, flat=False)
    run.data(source, train=train_set, test=test_set)
    net = network(config)
    steps = config.epochs * -(-len(train_set) // config.batch_size)
    schedule = fnn.one_cycle_schedule(config.peak, max(2, steps))
    fit = run.fit(
        net,
        fnn.softmax_cross_entropy,
        fnn.chain(
            fnn.masked(fnn.add_decayed_weights(config.decay), lambda path, leaf: leaf.ndim > 1),
            fnn.nesterov(schedule),
        ),
        train_set,
        epochs=config.epochs,
        batch_size=config.batch_size,
        key=fnn.Key.of(config.seed),
        validation=test_set,
        metrics=fnn.accuracy,
        augment=fnn.composed(fnn.random_rotate(config.degrees), fnn.random_shift(config.pixels)),
    )
    kept = run.keep(net, fit.last, train_set.in_shape)
    history = fit.history
    pictures.curves(
        run.path("accuracy.png"),
        {"training": history["accuracy"], "test": history["validation_accuracy"]},
        title="Accuracy",
        ylabel="accuracy",
    )
    pictures.curves(
        run.path("learning_rate.png"),
        {"learning rate": [schedule(step) for step in range(steps)]},
        title="Learning rate",
        xlabel="step",
        ylabel="learning rate",
        from_zero=True,
    )
    predicted = fnn.predict(net, fit.last, test_set.x).argmax(axis=1)
    run.evaluated(test_set.x, predicted, test_set.y)
    pictures.right_and_wrong(run.path("right_and_wrong.png"), test_set.x, predicted, test_set.y)
    return {"test_accuracy": history["validation_accuracy"][-1], **kept}


if __name__ == "__main__":
    main(train, Config)
