"""Sigmoid network that learns a hundred images of MNIST by heart.

Named layers of 512, 128 and 10 units, weights and biases from N(0, 1), softmax and cross-entropy in
one, full-batch gradient descent.

    python experiments/sigmoid_overfit.py

Result: loss 0.0008 and 100 % after 1,000 steps (below 0.01 from step 60 on), 0.05 minutes on two
cores.
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

    samples: int = option(100, "how many images to learn", least=1)
    steps: int = option(1000, "steps of gradient descent", least=1)
    learning_rate: float = option(1.0, "for the loss averaged over the images", least=0)
    say_every: int = option(50, "steps between two lines on the screen; the log has all", least=1)
    seed: int = option(0, "where all randomness comes from")
    data: Path | None = option(None, "folder with the four files of MNIST")
    out: Path = option(Path("out/sigmoid_overfit"), "folder for the picture and the log")


def network(config: Config) -> fnn.Layer:
    """Return 784-512-128-10 with sigmoids between, all drawn from N(0, 1)."""
    draw = fnn.normal(1.0)
    return fnn.serial(
        fnn.named("hidden_1", fnn.Dense(512, init_w=draw, init_b=draw)),
        fnn.Sigmoid(),
        fnn.named("hidden_2", fnn.Dense(128, init_w=draw, init_b=draw)),
        fnn.Sigmoid(),
        fnn.named("scores", fnn.Dense(10, init_w=draw, init_b=draw)),
    )


def train(config: Config, run: Run) -> dict[str, Any]:
    """Take every step on all images, draw the loss, and return what was reached."""
    pictures.require()
    images, _, source = fnn.mnist_or_digits(config.data, first=(config.samples, None))
    run.data(source, train=images)
    net, optimizer = network(config), fnn.sgd(config.learning_rate)
    fit = run.fit(
        net,
        fnn.softmax_cross_entropy,
        optimizer,
        images,
        epochs=config.steps,
        batch_size=len(images),
        key=fnn.Key.of(config.seed),
        metrics=fnn.accuracy,
        progress=False,
        say_every=config.say_every,
        line="step {step:5d}  loss {loss:.6f}  accuracy {accuracy:.2%}",
    )
    kept = run.keep(net, fit.last, images.in_shape)
    pictures.curves(
        run.path("loss.png"),
        {"training": fit.history["loss"]},
        title="Loss",
        ylabel="cross-entropy / nats",
        xlabel="step",
        from_zero=True,
    )
    metrics: dict[str, Any] = {"loss": fnn.softmax_cross_entropy, "accuracy": fnn.accuracy}
    measured = fnn.evaluate(net, fit.last, images, metrics)
    return {**measured, **kept}


if __name__ == "__main__":
    main(train, Config)
