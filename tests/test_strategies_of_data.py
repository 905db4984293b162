"""Strategies of optimizers, data, trees and keys."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from searches import drawn, simplest, some

import fnn
from fnn import Key, tree
from fnn.testing.laws.of_transforms import called
from fnn.testing.strategies import (
    batch_sizes,
    datasets,
    initializers,
    keys,
    layers,
    schedules,
    seeds,
    shapes,
    transforms,
    trees,
)

# --- optimizers, data, trees, keys ----------------------------------------------------------


@drawn(100)
@given(st.data(), trees(max_leaves=4))
def test_every_drawn_transform_updates_a_drawn_tree(data, params):
    transform = data.draw(transforms(params))
    opt_state = transform.init(params)
    for step in range(2):
        grads = tree.map(np.cos, params)
        updates, opt_state = called(transform, grads, opt_state, params, step)
        params = fnn.apply_updates(params, updates)
    assert all(leaf.dtype == np.float64 for leaf in tree.leaves(params))
    assert pickle.loads(pickle.dumps(transform)) == transform


@drawn()
@given(schedules(0.2, 0.7), st.integers(0, 1000))
def test_schedules_stay_within_their_bounds(schedule, step):
    assert 0.2 <= schedule(step) <= 0.7


def test_schedules_return_floats_of_python_and_of_numpy():
    assert some(schedules(), lambda at: isinstance(at(0), np.float64))
    assert some(schedules(), lambda at: type(at(0)) is float)


@drawn()
@given(trees())
def test_trees_are_immutable_trees_that_ravel_back(drawn_tree):
    assert type(drawn_tree) is fnn.Tree
    vector, unravel = tree.ravel(drawn_tree)
    if vector.size:
        assert unravel(vector) == drawn_tree


def test_trees_are_empty_nested_or_hold_empty_branches():
    assert simplest(trees()) == {}
    some(trees(), lambda node: any(path.count("/") >= 2 for path, _ in tree.items(node)))
    simplest(
        trees(), lambda node: any(isinstance(value, dict) and not value for value in node.values())
    )


@drawn()
@given(datasets(), datasets((3,), classes=4), st.data())
def test_datasets_cut_into_batches_of_any_drawn_size(numbers, labels, data):
    assert numbers.y.shape == (len(numbers), 1)
    assert labels.x.shape[1:] == (3,)
    assert set(labels.y) <= set(range(4))
    for dataset in (numbers, labels):
        size = data.draw(batch_sizes(len(dataset)))
        assert sum(len(x) for x, _ in fnn.batches(dataset, size)) == len(dataset)


def test_keys_seeds_and_initializers_shrink_to_the_simplest():
    assert simplest(keys()) == Key.of(0)
    assert simplest(seeds()) == 0
    assert simplest(shapes()) == (1,)
    assert simplest(initializers())(Key.of(0), (2, 3)).shape == (2, 3)


def test_a_failing_example_prints_as_code():
    @settings(drawn(30), print_blob=False)
    @given(key=keys(), layer=layers((3,)))
    def fails(key, layer):
        raise AssertionError

    with pytest.raises(AssertionError) as caught:
        fails()
    assert "key=Key.of(0)" in "".join(caught.value.__notes__)
    assert "layer=Identity()" in "".join(caught.value.__notes__)
