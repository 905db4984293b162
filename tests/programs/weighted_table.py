"""Fit house prices from a CSV in float64; a row counts as its column `weight` says.

    python weighted_table.py houses.csv

The last three rows of ten are kept for validation. Prices are learnt in units of their spread.
"""

import csv
import sys

import numpy as np

import fnn

FEATURES = ["area", "rooms", "age"]


def table(path):
    """Return features, prices and weights of the rows that have all of them."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if all(row.values())]
    columns = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    return np.stack([columns[name] for name in FEATURES], axis=1), columns["price"], columns["weight"]


def main(path):
    """Train, and print the weighted root mean square error in the prices' own unit."""
    x, price, weight = table(path)
    mean = np.average(price, weights=weight)
    spread = np.sqrt(np.average((price - mean) ** 2, weights=weight))
    data = fnn.Dataset(x, (price[:, None] - mean) / spread, weight=weight, dtype="float64")
    train, test = data.split(0.7)
    train, test = train.standardize(), test.standardize(like=train)
    net = fnn.serial(fnn.Dense(16), fnn.Tanh(), fnn.Dense(1))
    fit = fnn.fit(
        net,
        fnn.squared_error,
        fnn.adam(0.01),
        train,
        epochs=200,
        batch_size=32,
        key=fnn.Key.of(0),
        validation=test,
        dtype="float64",
        progress=False,
    )
    error = np.sqrt(fnn.evaluate(net, fit.best, test, fnn.squared_error)["squared_error"]) * spread
    dtype = fnn.predict(net, fit.best, test.x).dtype
    print(f"{len(train)} rows, weights of {train.weight.sum():.1f}; {dtype}")  # noqa: T201
    print(f"error {error:.3f} of a spread of {spread:.3f}")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
