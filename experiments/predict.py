"""Say what a trained run sees in an image file of one's own.

The image may be dark on light or light on dark and of any size; unless it has 28×28 pixels, the ink
is centred and scaled as in MNIST.

    python experiments/predict.py --run out/mnist_cnn --image digit.png

Prints every class with its probability and draws the image beside them.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import attrs
import numpy as np

import fnn
from fnn import pictures
from fnn.checkpoint import load_tree
from fnn.experiment import MODEL, Run, config_from, main, option, read_run

SIDE = 28
BOX = 20
"""Pixels along a side of the box that the ink fills; the rest is margin."""


@attrs.frozen
class Config:
    """What can be set from the command line."""

    image: Path = option(attrs.NOTHING, "the image file to look at")
    run: Path = option(Path("out/mnist_cnn"), "folder of the trained run")
    out: Path = option(Path("out/predict"), "folder for the picture")


def read(path: Path) -> np.ndarray:
    """Return (28, 28) with ink 1 on ground 0, the ink in a box of 20 about its centre of mass."""
    image = fnn.read_image(path, size=None)[0]
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    ground = np.median(border)
    if ground > 0.5:
        image, ground = 1 - image, 1 - ground
    # Paper is never quite white: without this a grey box would stand around the ink.
    image = np.clip((image - ground) / max(image.max() - ground, 1e-3), 0, 1)
    if image.shape == (SIDE, SIDE):
        return image
    ink = image > 0.3
    if not ink.any() or ink.all():
        raise fnn.DataError(f"{path}: expected ink on a plain ground, found none")
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    image = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = max(image.shape)
    square = np.zeros((side, side), image.dtype)
    top, left = (side - image.shape[0]) // 2, (side - image.shape[1]) // 2
    square[top : top + image.shape[0], left : left + image.shape[1]] = image
    # Sixteen samples along each side of every pixel, averaged.
    at = ((np.arange(16 * BOX) + 0.5) * side / (16 * BOX)).astype(int)
    box = square[np.ix_(at, at)].reshape(BOX, 16, BOX, 16).mean(axis=(1, 3))
    place = np.arange(BOX) + 0.5
    middle = [float(box.sum(axis=1 - axis) @ place / box.sum()) for axis in (0, 1)]
    top, left = (int(np.clip(round(SIDE / 2 - m), 0, SIDE - BOX)) for m in middle)
    centred = np.zeros((SIDE, SIDE), np.float32)
    centred[top : top + BOX, left : left + BOX] = box
    return centred


def trained(folder: Path) -> tuple[fnn.Layer, Any, Any]:
    """Return a run's network, its config, and its model: params, state and in_shape."""
    about = read_run(folder)
    name = about["experiment"]
    if not isinstance(name, str) or not (Path(__file__).parent / f"{name}.py").is_file():
        raise fnn.DataError(f"{folder}: expected a run of a script beside this one, got {name!r}")
    script = importlib.import_module(name)
    config = config_from(script.Config, about["config"])
    net, model = script.network(config), load_tree(folder / MODEL)
    in_shape = tuple(int(n) for n in fnn.tree.get(model, "in_shape"))
    _, params, state = net.init(fnn.Key.of(0), in_shape)
    load_tree(folder / MODEL, like={**model, "params": params, "state": state})
    return net, config, model


def train(config: Config, run: Run) -> dict[str, Any]:
    """Predict, print and draw; nothing is trained."""
    net, trained_config, model = trained(config.run)
    image = read(config.image)
    in_shape = tuple(int(n) for n in model["in_shape"])
    if int(np.prod(in_shape)) != image.size:
        raise fnn.DataError(f"{config.run}: expected a network of 28×28 images, got {in_shape}")
    pixel = 255 if getattr(trained_config, "raw", False) else 1
    x = pixel * image.astype(np.float32).reshape(1, *in_shape)
    now = fnn.TrainState(0, fnn.Key.of(0), model["params"], model["state"], {})
    scores = fnn.predict(net, now, x)
    if not np.isclose(scores.sum(), 1, atol=1e-3) or (scores < 0).any():  # logits
        scores, _ = fnn.Softmax().apply({}, {}, scores)
    for label in np.argsort(-scores[0], kind="stable"):
        run.say(f"{label}  {scores[0, label]:7.2%}")
    pictures.probabilities(run.path("prediction.png"), image, scores[0])
    return {"class": int(scores.argmax()), "probability": float(scores.max())}


if __name__ == "__main__":
    main(train, Config)
