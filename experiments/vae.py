"""A variational autoencoder: images from a few normal numbers, by the bound on their likelihood.

An encoder gives mean and log-variance of a normal code, one is drawn, and a decoder gives every pixel's
probability of ink. The loss is the negative evidence lower bound (ELBO) in nats: the cross-entropy of
the pixels, and KL(q | N(0, 1)).

    python experiments/vae.py

Result: ELBO of MNIST's test images -108.2 nats with ten numbers per image; 2.2 minutes on one core.
PyTorch's network of the same weights, over the same batches with the same noise, has the same losses.

References: Kingma & Welling (2014), "Auto-encoding variational Bayes", eq. 10 and appendix C.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np

import fnn
from fnn import pictures
from fnn.experiment import Run, main, option


@attrs.frozen
class Config:
    """What can be set from the command line."""

    epochs: int = option(20, "passes over the training set", least=1)
    batch_size: int = option(128, "examples per step", least=1)
    learning_rate: float = option(0.001, "step size of Adam", least=0)
    width: int = option(400, "width of the hidden layers", least=1)
    code: int = option(10, "how many normal numbers an image is made of", least=1)
    draws: int = option(10, "codes per image when the bound is measured", least=1)
    seed: int = option(0, "where all randomness comes from")
    data: Path | None = option(None, "folder with the four files of MNIST")
    out: Path = option(Path("out/vae"), "folder for the pictures and the log")


@fnn.constructor
def drawn_code() -> fnn.Layer:
    """Return the layer (mean, log_var) -> (code, mean, log_var), code = mean + exp(log_var / 2) ε.

    In evaluation ε is 0.
    """

    def shapes(in_shape: Any) -> Any:
        mean, log_var = in_shape
        return (mean, mean, log_var), {}, {}

    def fwd(params: Any, state: Any, x: Any, train: bool, key: Any) -> Any:
        mean, log_var = x
        std = np.exp(log_var / 2)
        noise = key.generator().standard_normal(mean.shape, "float32") if train else 0 * mean
        noise = noise.astype(mean.dtype, copy=False)

        def pullback(dy: Any) -> Any:
            dcode, dmean, dlog_var = dy
            return {}, (dcode + dmean, dcode * noise * std / 2 + dlog_var)

        return (mean + std * noise, mean, log_var), state, pullback

    traits = fnn.Traits(stochastic=True, takes_tuples=True)
    return fnn.make_layer("drawn_code", shapes, fwd, traits=traits)


def decoder(config: Config, n_pixels: int) -> fnn.Layer:
    """Return the network from a code to logits of ink."""
    return fnn.serial(fnn.Dense(config.width), fnn.Relu(), fnn.Dense(n_pixels))


def network(config: Config, n_pixels: int) -> fnn.Layer:
    """Return the network; its outputs are logits of ink, and mean and log-variance of the code."""
    heads = fnn.parallel(fnn.Dense(config.code), fnn.Dense(config.code))
    return fnn.serial(
        fnn.named("encoder", fnn.serial(fnn.Dense(config.width), fnn.Relu(), fnn.fan_out(2), heads)),
        drawn_code(),
        fnn.parallel(fnn.named("decoder", decoder(config, n_pixels)), fnn.Identity(), fnn.Identity()),
    )


def negative_elbo(pred: Any, target: np.ndarray, *, weight: Any = None) -> Any:
    """Return the mean over images of -ELBO in nats, and its gradient in all outputs."""
    logits, mean, log_var = pred
    n, n_pixels = logits.shape
    pixels, dlogits = fnn.sigmoid_cross_entropy(logits, target)
    var = np.exp(log_var)
    divergence = np.sum(var + mean * mean - 1 - log_var, axis=None) / (2 * n)
    return pixels * n_pixels + divergence, (dlogits * n_pixels, mean / n, (var - 1) / (2 * n))


def elbo(net: fnn.Layer, now: fnn.TrainState, x: np.ndarray, key: fnn.Key, draws: int) -> float:
    """Return the mean ELBO of images in nats, over some drawn codes of each."""
    total = 0.0
    for i in range(draws):
        for start in range(0, len(x), 1000):
            some, own = x[start : start + 1000], key.fold(i, start)
            y, _ = net.apply(now.params, now.state, some, train=True, key=own)
            total -= float(negative_elbo(y, some)[0]) * len(some)
    return total / (draws * len(x))


def ink(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of ink, images between 0 and 1."""
    return fnn.Sigmoid().apply({}, {}, logits)[0]


def train(config: Config, run: Run) -> dict[str, Any]:
    """Train, draw images that come back and images from nothing, and return the bound."""
    pictures.require()
    train_set, test_set, source = fnn.mnist_or_digits(config.data)
    run.data(source, train=train_set, test=test_set)
    x, test = train_set.x, test_set.x
    net, key = network(config, x.shape[1]), fnn.Key.of(config.seed)
    fit = run.fit(
        net,
        negative_elbo,
        fnn.adam(config.learning_rate),
        fnn.Dataset(x, x),
        epochs=config.epochs,
        batch_size=config.batch_size,
        key=key,
        line="epoch {epoch:3d}  loss {loss:.2f}",
    )
    kept = run.keep(net, fit.last, train_set.in_shape)
    pictures.curves(
        run.path("loss.png"),
        {"training": fit.history["loss"]},
        title="Negative ELBO",
        ylabel="nats per image",
    )
    both = np.concatenate([test[:10], ink(fnn.predict(net, fit.last, test[:10])[0])])
    titles = ["image", *[""] * 9, "comes back", *[""] * 9]
    title = f"Through {config.code} normal numbers and back"
    pictures.image_grid(run.path("images.png"), both, titles, columns=10, title=title)
    codes = key.fold("samples").generator().standard_normal((50, config.code), "float32")
    (own,) = [part["decoder"] for part in fit.last.params.values() if "decoder" in part]
    made, _ = decoder(config, x.shape[1]).apply(own, {}, codes)
    title = "Images made of drawn codes"
    pictures.image_grid(run.path("samples.png"), ink(made), [""] * 50, columns=10, title=title)
    bound = elbo(net, fit.last, test, key.fold("elbo"), config.draws)
    return {"test_elbo": bound, "loss": fit.history["loss"][-1], **kept}


if __name__ == "__main__":
    main(train, Config)
