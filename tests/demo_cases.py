"""For the tests of the demo: run folders, and digits as a hand draws them on a square from 0 to 1."""

from __future__ import annotations

import json
import math

import fnn

MLP = fnn.serial(fnn.Dense(64), fnn.Relu(), fnn.Dropout(0.2), fnn.Dense(10))
CNN = fnn.serial(
    fnn.Conv(8, 5), fnn.MaxPool(2), fnn.Relu(), fnn.Conv(16, 3), fnn.MaxPool(2), fnn.Relu(),
    fnn.Flatten(), fnn.Dense(10),
)  # fmt: skip


def make_run(folder, net, in_shape, now=None, *, model=True, **about):
    """Write the folder of a run and return it; without weights, those that are drawn."""
    folder.mkdir(parents=True)
    config = about.pop("config", {})
    content = {"format": 2, "experiment": "digits", "status": "finished", "config": config, **about}
    (folder / "run.json").write_text(json.dumps(content), "utf-8")
    params, state = net.init(fnn.Key.of(0), in_shape)[1:] if now is None else (now.params, now.state)
    if model:
        fnn.save_model(folder / "model.npz", net, params, state, in_shape)
    return folder


def trained(net, data, *, loss=fnn.softmax_cross_entropy, epochs=20, rate=0.003, size=50):
    """Return what a network has learnt."""
    key = fnn.Key.of(0)
    given = {"epochs": epochs, "batch_size": size, "key": key, "progress": False}
    return fnn.fit(net, loss, fnn.adam(rate), data, **given)


def arc(x, y, width, height, start, end, n=24):
    """Return points of an ellipse about (x, y); angles in turns, from the right and on downwards."""
    turns = [2 * math.pi * (start + (end - start) * i / n) for i in range(n + 1)]
    return [(x + width * math.cos(turn), y + height * math.sin(turn)) for turn in turns]


DIGITS = {
    0: [arc(0.5, 0.5, 0.2, 0.32, -0.25, 0.75)],
    1: [[(0.52, 0.18), (0.5, 0.5), (0.48, 0.82)]],
    2: [[*arc(0.5, 0.34, 0.2, 0.16, -0.5, 0.1), (0.32, 0.8), (0.72, 0.8)]],
    3: [[*arc(0.48, 0.33, 0.18, 0.15, -0.45, 0.25), *arc(0.48, 0.65, 0.2, 0.17, -0.25, 0.45)]],
    4: [[(0.38, 0.2), (0.32, 0.52), (0.7, 0.52)], [(0.64, 0.22), (0.6, 0.84)]],
    5: [[(0.68, 0.2), (0.38, 0.2), (0.36, 0.46), *arc(0.47, 0.62, 0.2, 0.19, -0.25, 0.4)]],
    6: [[(0.6, 0.16), (0.42, 0.42), *arc(0.5, 0.66, 0.16, 0.17, -0.5, 0.5)]],
    7: [[(0.3, 0.22), (0.7, 0.22), (0.58, 0.48), (0.48, 0.84)]],
    8: [[*arc(0.5, 0.34, 0.14, 0.15, 0.25, -0.75), *arc(0.5, 0.66, 0.17, 0.17, -0.25, 0.75)]],
    9: [[*arc(0.5, 0.36, 0.16, 0.17, 0, -1), (0.65, 0.5), (0.58, 0.84)]],
}
