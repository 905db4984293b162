"""Train on the bundled digits with features from a module of one's own, `features.py` beside this file.

    python edited_helper.py
    python edited_helper.py resume out/edited_helper

The run's folder says which code trained it: after an edit of `features.py`, `resume` refuses to go on
unless told `--changed-code`, and `replay` names the module.
"""

from __future__ import annotations

from pathlib import Path

import attrs
import features

import fnn
from fnn.experiment import Run, main, option


@attrs.frozen
class Config:
    """What can be set from the command line."""

    epochs: int = option(10, "passes over the training set", least=1)
    seed: int = option(0, "where all randomness comes from")
    out: Path = option(Path("out/edited_helper"), "folder of the run")


def train(config: Config, run: Run) -> dict[str, float]:
    """Train a small network and return what it reached."""
    train_set, test_set = (features.read(split) for split in ("train", "test"))
    run.data(train=train_set, test=test_set)
    net = fnn.serial(fnn.Dense(32), fnn.Relu(), fnn.Dense(10))
    fit = run.fit(
        net,
        fnn.softmax_cross_entropy,
        fnn.adam(features.RATE),
        train_set,
        epochs=config.epochs,
        batch_size=50,
        key=fnn.Key.of(config.seed),
    )
    run.keep(net, fit.last, train_set.x.shape[1:])
    return {"accuracy": fnn.evaluate(net, fit.last, test_set, fnn.accuracy)["accuracy"]}


if __name__ == "__main__":
    main(train, Config)
