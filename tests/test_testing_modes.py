"""Layers that mistake modes and keys are told."""

from __future__ import annotations

import warnings

import attrs
import pytest

import fnn
from fnn import Key
from fnn.layers import BatchNorm, Dense, Dropout, Identity
from fnn.testing import LawError, check_layer
from fnn.tree import EMPTY


def report_of(layer, in_shape=(3,), **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(LawError) as caught:
            check_layer(layer, in_shape, **options)
    return caught.value.report


def around(layer, **parts):
    return attrs.evolve(layer, **{name: part(getattr(layer, name)) for name, part in parts.items()})


# --- modes and keys -------------------------------------------------------------------------


def test_a_mode_that_is_ignored_is_caught():
    def always(inner):
        return lambda params, state, x, *, train=False, key=None: inner(
            params, state, x, train=True, key=key
        )

    dropout = around(Dropout(0.5), apply=always, vjp=always)
    assert "evaluation without a key" in str(report_of(dropout, laws="state"))
    norm = around(BatchNorm(), apply=always, vjp=always)
    assert "state" in report_of(norm).broken


def test_a_layer_that_draws_without_a_key_in_training_is_caught():
    def lenient(inner):
        return lambda params, state, x, *, train=False, key=None: inner(
            params, state, x, train=train, key=key or Key.of(0)
        )

    layer = around(Dropout(0.5), apply=lenient, vjp=lenient)
    assert "in training without a key does not raise" in str(report_of(layer, laws="stochastic"))


def test_a_key_that_is_not_used_is_caught():
    def fixed(inner):
        def call(params, state, x, *, train=False, key=None):
            return inner(params, state, x, train=train, key=None if key is None else Key.of(7))

        return call

    layer = around(Dropout(0.5), apply=fixed, vjp=fixed)
    assert "64 keys draw the same" in str(report_of(layer, laws="stochastic"))
    net = fnn.serial(Dense(2), layer)
    (only,) = report_of(net, laws="stochastic").violations
    assert only.path == "serial/dropout_0"


def test_one_key_for_all_children_is_caught():
    net = careless(Dropout(0.5), Dropout(0.5))
    report = report_of(net, (40,), laws="stochastic", shrink=False)
    assert "the children 'dropout_0' and 'dropout_1' draw from one key" in str(report)


def careless(*layers):
    """A chain that hands its own key to every child."""
    chain = fnn.serial(*layers)

    def apply(params, state, x, *, train=False, key=None):
        for _, child in chain.children:
            x, _ = child.apply(EMPTY, EMPTY, x, train=train, key=key)
        return x, state

    def vjp(params, state, x, *, train=False, key=None):
        backs = []
        for _, child in chain.children:
            x, _, back = child.vjp(EMPTY, EMPTY, x, train=train, key=key)
            backs.append(back)

        def pullback(dy, *, need_dx=True):
            for back in reversed(backs):
                _, dy = back(dy)
            return EMPTY, dy if need_dx else None

        return x, state, pullback

    return attrs.evolve(chain, apply=apply, vjp=vjp, recipe=fnn.recipe.Recipe(careless, layers))


def test_what_is_handed_on_as_it_came_is_no_aliasing():
    check_layer(Identity(), (3,))
    check_layer(fnn.serial(), (3,))
    check_layer(fnn.residual(), (3,))
