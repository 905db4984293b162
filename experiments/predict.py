"""Say what a trained run sees in an image file of one's own.

The image may be dark on light or light on dark and of any size; unless it has 28×28 pixels, the ink
is centred and scaled as in MNIST.

    python experiments/predict.py --run out/mnist_cnn --image digit.png

Prints every class with its probability and draws the image beside them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import attrs
import numpy as np

import fnn
from fnn import pictures
from fnn.experiment import MODEL, Run, main, option, read_run

SIDE = 28
BOX = 20
"""Pixels along a side of the box that the ink fills; the rest is margin."""
MOST_AXES = 8
MOST_VALUES = 1 << 20
"""How many numbers an image may become in a network, whoever trained it."""
MOST_OPERATIONS = 1 << 30
"""How many operations a network may take for an image."""


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


def probabilities(folder: Path, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of 28×28 and what a run's network says of it, a probability per class."""
    net, params, state, in_shape = fnn.load_model(folder / MODEL)
    image = read(path)
    several = any(isinstance(n, tuple) for n in in_shape)
    if several or math.prod(in_shape) != image.size or len(in_shape) > MOST_AXES:
        raise fnn.DataError(f"{folder}: expected a network of 28×28 images, got {in_shape}")
    cost = fnn.summary(net, in_shape, most=MOST_VALUES).flops  # Raises if it grows beyond.
    if cost > MOST_OPERATIONS:
        raise fnn.DataError(f"{folder}: expected at most {MOST_OPERATIONS} operations, got {cost}")
    config = read_run(folder).get("config")
    is_raw = isinstance(config, dict) and config.get("raw") is True  # Trained on pixels from 0 to 255.
    x = (255 if is_raw else 1) * image.astype(np.float32).reshape(1, *in_shape)
    x = fnn.tree.cast(x, next(iter(fnn.tree.leaves(params)), x).dtype)
    scores = fnn.predict(net, (params, state), x)
    if getattr(scores, "ndim", 0) != 2 or scores.shape[1] < 2:
        raise fnn.DataError(f"{folder}: expected a network that classifies, got {scores!r:.80}")
    if not np.isclose(scores.sum(), 1, atol=1e-3) or (scores < 0).any():  # logits
        scores, _ = fnn.Softmax().apply({}, {}, scores)
    return image, scores[0]


def train(config: Config, run: Run) -> dict[str, Any]:
    """Predict, print and draw; nothing is trained."""
    image, scores = probabilities(config.run, config.image)
    for label in np.argsort(-scores, kind="stable"):
        run.say(f"{label}  {scores[label]:7.2%}")
    pictures.probabilities(run.path("prediction.png"), image, scores)
    return {"class": int(scores.argmax()), "probability": float(scores.max())}


if __name__ == "__main__":
    main(train, Config)
