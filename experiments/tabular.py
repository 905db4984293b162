"""Tables by cross-validation: prices of flats, and failures of machines, which are rare.

Of what a fold learns from, an eighth says when to stop, and the best epoch counts. Rare classes weigh
as much as frequent ones; probabilities are corrected for it. Beside it a linear model, by the same
folds. The network that is kept learns from all rows. `--csv FILE --target COLUMN` takes a table of
one's own.

    python experiments/tabular.py --table machines

Result: flats 0.1 minutes
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import attrs
import numpy as np

import fnn
from fnn import pictures
from fnn.experiment import Run, main, option


@attrs.frozen
class Config:
    """What can be set from the command line."""

    table: Literal["flats", "machines"] = option("flats", "which of the tables that come along")
    csv: Path | None = option(None, "a table of one's own instead")
    target: str = option("target", "the column of it to predict")
    categories: tuple[str, ...] = option((), "columns of it whose numbers stand for categories")
    widths: tuple[int, ...] = option((64, 64), "units of the hidden layers", least=1)
    folds: int = option(5, "parts of the cross-validation", least=2)
    epochs: int = option(300, "passes, at most", least=1)
    patience: int = option(20, "epochs without a better one, after which it stops", least=1)
    batch_size: int = option(64, "rows per step", least=1)
    learning_rate: float = option(0.001, "step size of Adam", least=0)
    balanced: bool = option(True, "let classes weigh alike in training")
    seed: int = option(0, "where all randomness comes from")
    out: Path = option(Path("out/tabular"), "folder for the pictures and the log")


def read(config: Config) -> tuple[fnn.Table, str]:
    """Return the table and the column to predict."""
    if config.csv is None:
        return (fnn.flats(), "price") if config.table == "flats" else (fnn.machines(), "failed")
    return fnn.read_csv(config.csv, types=dict.fromkeys(config.categories, "category")), config.target


def network(config: Config, n: int) -> fnn.Layer:
    """Return the network; its outputs are a number, or the scores of n classes."""
    return fnn.mlp((*config.widths, n), activation="silu")


def measured(said: Any, true: Any, weight: Any) -> dict[str, float]:
    """Return how good predicted numbers (n, 1) are, or probabilities of classes."""
    if said.shape[1] == 1:
        names = ("r2", "mean_absolute_error", "root_mean_squared_error")
        return {name: fnn.METRICS[name](said[:, 0], true) for name in names}
    names = ("roc_auc", "average_precision") if said.shape[1] == 2 else ()
    found = {name: fnn.METRICS[name](said[:, 1], true) for name in names}
    recall = fnn.classification_report(said * weight, true).macro.recall
    return {
        **found,
        "balanced_accuracy": recall,
        "calibration_error": fnn.calibration_error(said, true),
    }


def train(config: Config, run: Run) -> dict[str, Any]:
    """Train and test on every fold, draw the pictures, and return means and standard errors."""
    pictures.require()
    table, target = read(config)
    whole = table.dataset(target=target, missing="fill")
    run.data(f"Table: {config.csv or config.table}, {len(whole):,} rows; {target}", train=whole)
    true, is_class = table[target].values, table[target].categories is not None
    # All of one class where numbers are predicted. Folds keep the shares of classes, and so weights.
    labels = true if is_class else np.zeros(len(table), int)
    weight = fnn.class_weights(labels)
    by = weight if config.balanced else np.ones(len(weight))
    loss = fnn.softmax_cross_entropy if is_class else fnn.squared_error
    net, linear = network(config, len(weight)), fnn.Dense(len(weight))
    said = {name: np.zeros((len(table), len(weight))) for name in ("network", "linear")}
    key, rows, losses = fnn.Key.of(config.seed), np.arange(len(table)), {}
    folds = fnn.folds(table, config.folds, key=key, stratify=labels)
    for number, (learn, test) in enumerate([*folds, (rows, rows)], 1):
        own, part = key.fold("fold", number), table.select(learn)
        codec = fnn.TableCodec.fit(part, target=target, missing="fill", standardize_target=True)
        both = codec.dataset(part, weight=by[labels[learn]])
        most, rest = both.split(0.875, key=own.fold("stop"), stratify=labels[learn])
        fit = run.fit(
            net,
            loss,
            fnn.adam(config.learning_rate),
            most,
            epochs=config.epochs,
            batch_size=config.batch_size,
            key=own,
            validation=rest,
            callbacks=fnn.early_stopping(config.patience),
            say_every=config.epochs,
        )
        if number > config.folds:
            break
        losses[f"fold {number}"] = fit.history["validation_loss"]
        # Newton's method, nearly: a hundred steps reach the minimum.
        straight = fnn.fit(
            linear, loss, fnn.lbfgs(), both, epochs=100, batch_size=len(both), key=own, progress=False
        )
        x = codec.encode(table.select(test))
        for name, model, now in (("network", net, fit.best), ("linear", linear, straight.last)):
            out = fnn.predict(model, now, x)
            if is_class:  # Weights of classes added their logarithms to the scores.
                said[name][test] = fnn.Softmax().apply({}, {}, out - np.log(by))[0]
            else:
                said[name][test] = codec.decode(out)
    result = {}
    for name, values in said.items():
        found = [measured(values[test], true[test], weight) for _, test in folds]
        for column in found[0]:
            each = [one[column] for one in found]
            mean, error = np.mean(each), np.std(each, ddof=1) / np.sqrt(len(each))
            run.say(f"{name:8s} {column:24s} {mean:9.4f} ± {error:.4f}")
            prefix = "" if name == "network" else f"{name}_"
            result |= {f"{prefix}{column}": mean, f"{prefix}{column}_standard_error": error}
    pictures.curves(run.path("loss.png"), losses, title="Validation loss of every fold", ylabel="loss")
    if not is_class:
        pictures.predictions(
            run.path("predicted.png"), {k: v[:, 0] for k, v in said.items()}, true, label=target
        )
    elif len(weight) == 2:
        pictures.rankings(run.path("ranking.png"), {k: v[:, 1] for k, v in said.items()}, true)
    if is_class:
        run.evaluated(whole.x, (said["network"] * weight).argmax(axis=1), true)
    return {**result, **run.keep(net, fit.best, whole.in_shape)}


if __name__ == "__main__":
    main(train, Config)
