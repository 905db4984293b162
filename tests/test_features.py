"""The table of what is there, in experiments/README.md, has all public names of its kinds alone."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import fnn

README = Path(__file__).resolve().parents[1] / "experiments" / "README.md"
COMBINATORS = {
    "bidirectional",
    "branch",
    "elementwise",
    "fan_in",
    "fan_out",
    "frozen",
    "Lambda",
    "lazy",
    "make_layer",
    "mlp",
    "named",
    "parallel",
    "remat",
    "repeat",
    "residual",
    "rnn",
    "serial",
    "shared",
    "spectral_norm",
    "stacked",
    "tied_embedding",
    "vmap",
    "weight_norm",
}
OTHER_LOSSES = {"ctc", "contrastive", "dice", "gaussian_nll", "triplet"}
"""Whose examples, predictions or targets have another form than those that a registry offers."""


def returned(kind):
    """Return the public functions that are annotated to return a value of that kind."""
    return {
        name
        for name in fnn.__all__
        if inspect.isfunction(getattr(fnn, name))
        and str(inspect.signature(getattr(fnn, name)).return_annotation) == kind
    }


def kinds():
    activations = {fnn.ACTIVATIONS[name].__name__ for name in fnn.ACTIVATIONS}
    transforms = returned("Transform")
    optimizers = {getattr(fnn.OPTIMIZERS[name], "__name__", name) for name in fnn.OPTIMIZERS}
    return {
        "activations": activations,
        "layers": returned("Layer") - activations - COMBINATORS,
        "combinators": COMBINATORS,
        "cells": returned("Cell"),
        "initializers": returned("Drawn")
        | {name for name in fnn.INITIALIZERS if name not in returned("Drawn")},
        "losses": {*fnn.LOSSES} | OTHER_LOSSES,
        "metrics": {*fnn.METRICS},
        "optimizers": optimizers,
        "transforms": transforms - optimizers,
        "schedules": returned("Schedule"),
        "augmentations": returned("Augmentation"),
    }


def listed():
    """Return the names in each row of the table."""
    text = README.read_text("utf-8").split("## What is there")[1].split("### Beside")[0]
    rows = re.findall(r"^\| (\w+) \| (.*) \|$", text, re.MULTILINE)
    return {kind: set(re.findall(r"`(\w+)`", names)) for kind, names in rows if kind != "kind"}


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_the_table_has_every_public_name_of_a_kind_and_no_other(kind):
    assert listed()[kind] == kinds()[kind]


def test_the_table_has_no_other_kind():
    assert listed().keys() == kinds().keys()


def test_all_of_stax_is_there_under_the_name_that_the_table_says():
    text = README.read_text("utf-8").split("### Beside others")[1].split("\n## ")[0]
    pairs = re.findall(r"`(\w+)` →\s+`(\w+)", text)
    theirs = {"GeneralConv", "GeneralConvTranspose", "FanInSum", "FanInConcat", "FanOut"}
    assert theirs <= {name for name, _ in pairs}
    for _, own in pairs:
        assert hasattr(fnn, own), own
