"""Tables by cross-validation: prices of flats, and failures of machines, which are rare.

Of what a fold learns from, an eighth says when to stop, and the best epoch counts. Rare classes weigh
as much as frequent ones, for which probabilities are corrected. Beside it a linear model, by the same
folds. The network that is kept learns from all rows. `--csv FILE --target COLUMN` takes one's own.

    python experiments/tabular.py --table machines

Result: flats R² 0.949 ± 0.004 (the noise in them allows 0.963), off by 12.9 ± 0.2 thousand on average;
linear 0.854 ± 0.008, 22.5 ± 0.5. Machines ROC AUC 0.887 ± 0.015, average precision 0.465 ± 0.013;
linear 0.785 ± 0.021, 0.275 ± 0.040. 0.1 minutes each. PyTorch's network of the same weights over the
same batches stops after the same epochs, in float64 with losses equal to 12 digits.
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
    target: str | None = option(None, "the column to predict; price or failed of those that come along")
    categories: tuple[str, ...] = option((), "columns of the CSV whose numbers stand for categories")
    widths: tuple[int, ...] = option((64, 64), "units of the hidden layers", least=1)
    folds: int = option(5, "parts of the cross-validation", least=2)
    epochs: int = option(300, "passes over what is learnt from, at most", least=1)
    patience: int = option(20, "epochs without a better one, after which it stops", least=1)
    batch_size: int = option(64, "rows per step", least=1)
    learning_rate: float = option(0.001, "step size of Adam", least=0)
    balanced: bool = option(True, "let all classes weigh alike in training")
    seed: int = option(0, "where all randomness comes from")
    out: Path = option(Path("out/tabular"), "folder for the pictures and the log")


def read(config: Config) -> tuple[fnn.Table, str]:
    """Return the table and the column to predict."""
    if config.csv is None:
        flats = config.table == "flats"
        return fnn.flats() if flats else fnn.machines(), config.target or (
            "price" if flats else "failed"
        )
    if config.target is None:
        raise fnn.OptionError("target: expected a column of the CSV, got None")
    return fnn.read_csv(config.csv, types=dict.fromkeys(config.categories, "category")), config.target


def network(config: Config, n: int) -> fnn.Layer:
    """Return the network; its outputs are one number, or the scores of n classes."""
    return fnn.mlp((*config.widths, n), activation="silu")


def examples(part: fnn.Table, target: str, by: Any, key: fnn.Key) -> tuple[Any, ...]:
    """Return the codec of some rows, and them as data: all, most, the rest; `by` weighs classes."""
    codec = fnn.TableCodec.fit(part, target=target, missing="fill", standardize_target=True)
    data = codec.dataset(part)
    if codec.classes is None:
        return codec, data, *data.split(0.875, key=key)
    data = fnn.Dataset(data.x, data.y, weight=by[data.y])
    return codec, data, *data.split(0.875, key=key, stratify=data.y)


def measured(said: Any, true: Any, weight: Any) -> dict[str, float]:
    """Return how good predicted numbers (n, 1) are, or probabilities of classes."""
    if said.shape[1] == 1:
        names = ["r2", "mean_absolute_error", "root_mean_squared_error"]
        return {name: fnn.METRICS[name](said[:, 0], true) for name in names}
    names = ["roc_auc", "average_precision"] if said.shape[1] == 2 else []
    found = {name: fnn.METRICS[name](said[:, 1], true) for name in names}
    found["balanced_accuracy"] = fnn.classification_report(said * weight, true).macro.recall
    return {**found, "calibration_error": fnn.calibration_error(said, true)}


def train(config: Config, run: Run) -> dict[str, Any]:
    """Train and test on every fold, draw the pictures, and return means and standard errors."""
    pictures.require()
    table, target = read(config)
    whole = table.dataset(target=target, missing="fill")
    run.data(f"Table: {config.csv or config.table}, {len(whole):,} rows", train=whole)
    run.used(target=target)
    true, classes = table[target].values, table[target].categories
    # Every part has the shares of classes that the whole has, so that these weights suit all.
    weight = np.ones(1) if classes is None else fnn.class_weights(true)
    if classes is not None and (fewest := np.bincount(true).min()) < config.folds:
        raise fnn.DataError(f"{target}: expected {config.folds} rows per class or more, got {fewest}")
    by = weight if config.balanced else np.ones(len(weight))
    loss = fnn.squared_error if classes is None else fnn.softmax_cross_entropy
    net, linear = network(config, len(weight)), fnn.Dense(len(weight))
    said = {name: np.zeros((len(table), len(weight))) for name in ("network", "linear")}
    key, rows, losses = fnn.Key.of(config.seed), np.arange(len(table)), {}
    folds = fnn.folds(table, config.folds, key=key, stratify=None if classes is None else true)
    for number, (learn, test) in enumerate([*folds, (rows, rows)], 1):
        own = key.fold("fold", number)
        codec, data, most, rest = examples(table.select(learn), target, by, own.fold("stop"))
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
        full: dict[str, Any] = {"epochs": 100, "batch_size": len(data), "key": own, "progress": False}
        line = fnn.fit(linear, loss, fnn.lbfgs(), data, **full)
        for name, model, now in (("network", net, fit.best), ("linear", linear, line.last)):
            out = fnn.predict(model, now, codec.encode(table.select(test)))
            # Weights of classes add their logarithms to the scores.
            p = fnn.Softmax().apply({}, {}, out - np.log(by))[0]
            said[name][test] = codec.decode(out) if classes is None else p
    result: dict[str, Any] = {}
    for name, values in said.items():
        found = [measured(values[test], true[test], weight) for _, test in folds]
        for column in found[0]:
            each = [one[column] for one in found]
            mean, error = np.mean(each), np.std(each, ddof=1) / np.sqrt(len(each))
            run.say(f"{name:8s} {column:24s} {mean:9.4f} ± {error:.4f}")
            label = column if name == "network" else f"{name}_{column}"
            result |= {label: mean, f"{label}_standard_error": error}
    title = "Loss of the part that says when to stop"
    pictures.curves(run.path("loss.png"), losses, title=title, ylabel=loss.__name__.replace("_", " "))
    shown = {name: values[:, -1] for name, values in said.items()}
    if classes is None:
        pictures.predictions(run.path("predicted.png"), shown, true, label=target)
    else:
        run.evaluated(whole.x, (said["network"] * weight).argmax(axis=1), true)
    if len(weight) == 2:
        pictures.rankings(run.path("ranking.png"), shown, true)
    return {**result, **run.keep(net, fit.best, whole.in_shape, codec=codec)}


if __name__ == "__main__":
    main(train, Config)
