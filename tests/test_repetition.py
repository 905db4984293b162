"""Layers repeated, shared, made late, run again and mapped over an axis."""

from __future__ import annotations

import gc
import pickle
import re
import tracemalloc
import weakref

import numpy as np
import pytest
from combinator_cases import halved
from layer_cases import digest, like

import fnn
from fnn import Key, OptionError, ShapeError, Traits, tree
from fnn.layers import (
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    MaxPool,
    Relu,
    Tanh,
    branch,
    fan_out,
    frozen,
    lazy,
    named,
    remat,
    repeat,
    serial,
    shared,
    vmap,
)

KEY = Key.of(0)
RNG = np.random.default_rng(0)


def rows(*shape, dtype="float32"):
    return RNG.normal(size=shape).astype(dtype)


def same_run(first, second, params, state, x, *, train, key=KEY):
    """Assert that two layers of the same params give the same bits, there and back."""
    y, moved, back = first.vjp(params, state, x, train=train, key=key)
    again, moved_again, back_again = second.vjp(params, state, x, train=train, key=key)
    assert digest(y, moved) == digest(again, moved_again)
    assert digest(first.apply(params, state, x, train=train, key=key)[0]) == digest(y)
    dy = like(y, np.random.default_rng(1), y.dtype)
    assert digest(*back(dy)) == digest(*back_again(dy))
    assert digest(back(dy, need_dx=False)[0]) == digest(back(dy)[0])


# --- repeat -----------------------------------------------------------------------------------


def test_repeat_is_a_serial_of_copies_with_weights_of_their_own():
    block = serial(Dense(3), Dropout(0.5), BatchNorm())
    net, long = repeat(block, 3), serial(block, block, block)
    shape, params, state = net.init(KEY, (3,))
    assert (shape, list(params)) == ((3,), ["serial_0", "serial_1", "serial_2"])
    assert digest(params, state) == digest(*long.init(KEY, (3,))[1:])
    assert len({digest(params[name]["dense_0"]["w"]) for name in params}) == 3
    for train in (False, True):
        same_run(net, long, params, state, rows(5, 3), train=train)


def test_a_repeated_layer_may_change_the_shape_and_have_a_name():
    net = repeat(named("down", Conv(2, 2)), 2)
    shape, params, _ = net.init(KEY, (1, 5, 5))
    assert shape == (2, 3, 3)
    assert {path: leaf.shape for path, leaf in tree.items(params)} == {
        "down_0/w": (2, 1, 2, 2),
        "down_0/b": (2,),
        "down_1/w": (2, 2, 2, 2),
        "down_1/b": (2,),
    }


# --- shared -----------------------------------------------------------------------------------


def test_a_shared_layer_is_the_same_layer_again_and_its_gradient_the_sum():
    layer, n = serial(Dense(3), Tanh()), 4
    net, long = shared(layer, n), repeat(layer, n)
    _, params, state = net.init(KEY, (3,))
    assert list(params) == ["serial_0"]
    copies = {f"serial_{i}": params["serial_0"] for i in range(n)}
    x = rows(5, 3)
    y, _, back = net.vjp(params, state, x)
    want, _, long_back = long.vjp(copies, {}, x)
    assert digest(y) == digest(want)
    dparams, dx = back(y)
    long_dparams, long_dx = long_back(y)
    assert digest(dx) == digest(long_dx)
    total = long_dparams["serial_3"]
    for i in (2, 1, 0):
        total = tree.map(np.add, total, long_dparams[f"serial_{i}"])
    assert digest(dparams["serial_0"]) == digest(total)


def test_what_a_shared_layer_carries_goes_from_one_time_to_the_next():
    net = shared(BatchNorm(momentum=0.5), 3)
    _, params, state = net.init(KEY, (2,))
    x = rows(6, 2)
    _, moved = net.apply(params, state, x, train=True)
    y, now = x, state["batch_norm_0"]
    for _ in range(3):
        y, now = BatchNorm(momentum=0.5).apply(params["batch_norm_0"], now, y, train=True)
    assert digest(moved["batch_norm_0"]) == digest(now)


def test_a_shared_layer_draws_anew_each_time():
    x = np.ones((100, 50), "float32")
    once, twice = (
        shared(Dropout(0.5), n).apply({}, {}, x, train=True, key=KEY)[0] != 0 for n in (1, 2)
    )
    assert 0.45 < once.mean() < 0.55
    assert 0.2 < twice.mean() < 0.3
    np.testing.assert_array_equal(once & twice, twice)


def test_a_shared_layer_without_weights_may_change_the_shape():
    assert shared(MaxPool(2), 2).init(KEY, (1, 8, 8))[0] == (1, 2, 2)


@pytest.mark.parametrize(
    ("net", "in_shape", "message"),
    [
        (shared(Dense(2), 2), (3,), r"^shared/dense_0 .*same weights .* makes, \(2,\), got .* w$"),
        (shared(MaxPool(2), 2), (1, 2, 2), "^shared/max_pool_0 .*"),
        (shared(branch(Relu(), Tanh(), merge="concat"), 300), (1,), "in 256 times comes to a shape"),
    ],
)
def test_a_shared_layer_that_does_not_take_what_it_makes_is_refused(net, in_shape, message):
    with pytest.raises(ShapeError, match=message):
        net.init(KEY, in_shape)


def doubling(asked):
    """Return a layer that doubles what it gets up to 16 numbers, and notes for what it is asked."""

    def shapes(in_shape):
        asked.append(in_shape)
        return (*in_shape[:-1], min(2 * in_shape[-1], 16)), {}, {}

    def fwd(params, state, x, train, key):
        return x, state, lambda dy: ({}, dy)

    return fnn.make_layer("doubling", shapes, fwd, flops=1)


@pytest.mark.parametrize("ask", [lambda *call: call[0].init(KEY, call[1]), fnn.summary])
@pytest.mark.parametrize(
    ("wrap", "depth", "n_axes"),
    [
        (lambda net: shared(net, 2), 40, 1),
        (lambda net: shared(serial(net, Tanh()), 1), 40, 1),
        (vmap, 20, 21),
        (lambda net: shared(vmap(net), 3), 20, 21),
    ],
)
@pytest.mark.parametrize("first", [1, 16])
def test_nested_layers_are_asked_for_their_shapes_in_proportion_to_their_depth(
    wrap, depth, n_axes, ask, first
):
    asked = []
    net = doubling(asked)
    for _ in range(depth):
        net = wrap(net)
    ask(net, (*(1,) * (n_axes - 1), first))
    assert len(asked) <= 4 * depth


def test_what_nested_shared_layers_cost_is_counted_in_full():
    net = shared(shared(doubling([]), 2), 2)
    # 1 → 2 → 4 → 8 → 16, then 16 to the end.
    assert fnn.summary(net, (1,)).flops == 1 + 2 + 4 + 8
    assert fnn.summary(shared(net, 3), (1,)).flops == 1 + 2 + 4 + 8 + 8 * 16
    assert fnn.summary(vmap(shared(net, 3)), (5, 1)).flops == 5 * (1 + 2 + 4 + 8 + 8 * 16)
    twice = shared(doubling([]), 2)
    assert fnn.summary(serial(twice, twice), (1,)).flops == 1 + 2 + 4 + 8


def test_nested_shared_layers_change_the_shape_as_often_as_one_may():
    wider = branch(Relu(), Tanh(), merge="concat")
    assert shared(shared(wider, 4), 2).init(KEY, (1,))[0] == (256,)
    for net in (shared(shared(wider, 16), 17), shared(serial(shared(wider, 8), shared(wider, 9)), 20)):
        with pytest.raises(ShapeError, match="in 256 times comes to a shape that stays"):
            net.init(KEY, (1,))


@pytest.mark.parametrize("make", [repeat, shared])
def test_how_often_is_an_integer_of_one_or_more(make):
    for n in (0, 1.5, True):
        with pytest.raises(OptionError, match=f"^{make.__name__}: n: expected"):
            make(Dense(1), n)
    with pytest.raises(OptionError, match=f"^{make.__name__}: .*expected a Layer, got Dense; call it"):
        make(Dense, 2)


# --- lazy -------------------------------------------------------------------------------------


def test_a_lazy_layer_is_made_of_the_shape_that_comes_and_stands_as_in_serial():
    net, plain = serial(lazy(halved), Tanh()), serial(serial(Dense(4)), Tanh())
    shape, params, _ = net.init(KEY, (8,))
    assert (shape, params["lazy_0"]["dense_0"]["w"].shape) == ((4,), (8, 4))
    own = plain.init(KEY, (8,))[1]
    assert {path: leaf.shape for path, leaf in tree.items(own["serial_0"])} == {
        path: leaf.shape for path, leaf in tree.items(params["lazy_0"])
    }
    y, _ = net.apply(params, {}, x := rows(2, 8))
    want, _ = plain.apply({"serial_0": params["lazy_0"]}, {}, x)
    assert digest(y) == digest(want)


def test_a_lazy_layer_is_what_its_function_is():
    net = lazy(halved)
    assert repr(net) == "lazy(halved)"
    assert pickle.loads(pickle.dumps(net)) == net == lazy(make=halved)
    assert net != lazy(halved, traits=Traits())
    assert re.search(r"lambda in test_.*, test_repetition.py:\d+", repr(lazy(lambda shape: Dense(2))))


@pytest.mark.parametrize(
    ("make", "declared", "message"),
    [
        (lambda s: Dense, {}, r"^lazy .*make: expected a Layer, got Dense; call it"),
        (lambda s: 3, {}, r"^lazy .*make: expected a Layer, got 3"),
        (lambda s: Dropout(0.5), {}, r"^lazy .*got Dropout\(0.5\); declare stochastic=True"),
        (lambda s: BatchNorm(), {}, r"declare mixes_batch=True"),
        (lambda s: Relu(), {"traits": Traits()}, "declare has_kinks=True"),
        (lambda s: frozen(Dense(2)), {}, r"expected nothing frozen inside, got frozen\(Dense\(2\)\)"),
    ],
)
def test_what_a_lazy_layer_may_not_make_is_refused(make, declared, message):
    with pytest.raises(OptionError, match=message):
        lazy(make, **declared).init(KEY, (4,))


def test_a_lazy_layer_with_declared_traits_draws():
    net = serial(lazy(lambda s: Dropout(0.5), traits=Traits(stochastic=True)))
    x = np.ones((10, 10), "float32")
    assert (net.apply({}, {}, x, train=True, key=KEY)[0] == 0).any()
    with pytest.raises(OptionError, match=r"^lazy: make: expected a function"):
        lazy(3)
    with pytest.raises(OptionError, match=r"^lazy: traits: expected Traits"):
        lazy(halved, traits=3)


# --- remat ------------------------------------------------------------------------------------

DEEP = serial(Dense(6), Dropout(0.5), BatchNorm(), Relu(), serial(Dense(3), Tanh()))


@pytest.mark.parametrize("train", [False, True])
def test_running_again_gives_the_same_bits_at_the_same_paths(train):
    net = remat(DEEP)
    _, params, state = DEEP.init(KEY, (4,))
    assert digest(params, state) == digest(*net.init(KEY, (4,))[1:])
    same_run(net, DEEP, params, state, rows(7, 4), train=train)
    inside = serial(remat(Dense(3)), remat(named("b", DEEP)), Dense(2))
    plain = serial(Dense(3), named("b", DEEP), Dense(2))
    _, params, state = plain.init(KEY, (4,))
    same_run(inside, plain, params, state, rows(7, 4), train=train)


def test_a_way_back_that_runs_again_holds_nothing_but_what_came_in():
    held = []

    def watched(x):
        y = x + 1
        held.append(weakref.ref(y))
        return y

    watch = fnn.elementwise("watch", watched, lambda x, y, dy: dy)
    x = rows(3, 2)
    for net, lives in ((serial(watch, Tanh()), True), (remat(serial(watch, Tanh())), False)):
        held.clear()
        _, _, back = net.vjp({}, {}, x)
        gc.collect()
        assert (held[0]() is not None) == lives
        assert back(x)[1].shape == x.shape


def test_a_deep_network_that_runs_again_takes_less_memory():
    block = serial(*[Tanh() for _ in range(20)])
    x = rows(100, 1000)

    def peak(net):
        tracemalloc.start()
        _, _, back = net.vjp({}, {}, x)
        took = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert back is not None
        return took / x.nbytes

    assert peak(serial(block, block)) > 35
    assert peak(serial(remat(block), remat(block))) < 4


# --- vmap -------------------------------------------------------------------------------------


def test_a_mapped_layer_does_to_every_place_what_it_does_to_one():
    layer = serial(Conv(2, 2), Tanh(), Flatten(), Dense(3))
    net = vmap(layer)
    shape, params, _ = net.init(KEY, (4, 1, 3, 3))
    assert shape == (4, 3)
    assert digest(params) == digest(layer.init(KEY, (1, 3, 3))[1])
    x, dy = rows(5, 4, 1, 3, 3), rows(5, 4, 3)
    y, _, back = net.vjp(params, {}, x)
    dparams, dx = back(dy)
    total = None
    for i in range(4):
        own_y, _, own_back = layer.vjp(params, {}, x[:, i])
        np.testing.assert_allclose(y[:, i], own_y, rtol=1e-5, atol=1e-6)
        own, own_dx = own_back(dy[:, i])
        np.testing.assert_allclose(dx[:, i], own_dx, rtol=1e-5, atol=1e-6)
        total = own if total is None else tree.map(np.add, total, own)
    for (path, got), (_, want) in zip(tree.items(dparams), tree.items(total), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5, err_msg=path)


def test_a_mapped_layer_draws_for_every_place_and_may_be_mapped_again():
    x = np.ones((20, 30, 4, 5), "float32")
    y, _ = vmap(vmap(Dropout(0.5))).apply({}, {}, x, train=True, key=KEY)
    want, _ = Dropout(0.5).apply({}, {}, x, train=True, key=KEY)
    np.testing.assert_array_equal(y.ravel(), want.ravel())
    assert 0.45 < (y == 0).mean() < 0.55


def test_a_mapped_layer_of_tuples_and_lengths():
    net = vmap(fnn.GRU(2, lengths=True, last=True))
    _, params, _ = net.init(KEY, ((2, 3, 1), (2,)))
    x, ends = rows(2, 2, 3, 1), np.array([[1, 2], [3, 1]])
    y, _, back = net.vjp(params, {}, (x, ends))
    assert y.shape == (2, 2, 2)
    one, _ = fnn.GRU(2, last=True).apply(params, {}, x[1:, 1, :1])
    np.testing.assert_allclose(y[1, 1], one[0], rtol=1e-6)
    assert back(np.ones_like(y))[1][1] is None


def test_a_layer_that_mixes_the_batch_is_not_mapped_and_named_by_path():
    net = serial(Dense(2), named("deep", serial(BatchNorm())))
    message = re.escape("vmap: expected layers that take every example alone in training, got ")
    with pytest.raises(OptionError, match=f"^{message}.*BatchNorm.* at serial/deep/batch_norm_0$"):
        vmap(net)
    assert vmap(frozen(net)).init(KEY, (3, 2))[0] == (3, 2)


def test_a_mapped_layer_refuses_what_has_no_axis_to_map_over():
    with pytest.raises(
        ShapeError, match=r"^identity .*expected examples \(n, ...\), got in_shape=\(\)"
    ):
        vmap(fnn.Identity()).init(KEY, ())
    with pytest.raises(ShapeError, match=r"^fan_out .*expected one size of axis 1, got .*\(2, 3\)"):
        vmap(fan_out(2)).init(KEY, ((2, 3), (4, 3)))
    with pytest.raises(ShapeError, match=r"^dense .*expected a feature axis"):
        vmap(Dense(2)).init(KEY, (3,))
    _, params, _ = vmap(Dense(2)).init(KEY, (4, 3))
    with pytest.raises(ShapeError, match=r"^dense .*expected last axis 3, got \(8, 2\)"):
        vmap(Dense(2)).apply(params, {}, rows(2, 4, 2))
