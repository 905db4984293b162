"""Summaries of networks: every number here is counted by hand."""

from __future__ import annotations

import gc
import re
import tracemalloc
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings

import fnn
from fnn.kernels.values import count_numbers, map_arrays
from fnn.layers.wiring import WIRINGS
from fnn.runs.report.network_picture import picture
from fnn.testing.strategies import networks
from fnn.tree import size


def one_of_three(in_shape):
    return fnn.Dense(3)


def row(net, in_shape, path):
    return next(row for row in fnn.summary(net, in_shape).rows if row.path == path)


def test_the_convolutional_network_of_the_experiments_adds_up():
    net = fnn.serial(
        fnn.Conv(4, 5), fnn.MaxPool(2), fnn.Relu(), fnn.Conv(16, 3), fnn.MaxPool(2), fnn.Relu(),
        fnn.Flatten(), fnn.Dense(10),
    )  # fmt: skip
    got = [
        (row.path, row.out_shape, row.parameters, row.flops)
        for row in fnn.summary(net, (1, 28, 28)).rows
    ]
    assert got == [
        ("conv_0", (4, 24, 24), 4 * 25 + 4, 2 * 4 * 25 * 24 * 24),
        ("max_pool_0", (4, 12, 12), 0, 4 * 12 * 12 * 4),
        ("relu_0", (4, 12, 12), 0, 4 * 12 * 12),
        ("conv_1", (16, 10, 10), 16 * 4 * 9 + 16, 2 * 16 * 4 * 9 * 10 * 10),
        ("max_pool_1", (16, 5, 5), 0, 16 * 5 * 5 * 4),
        ("relu_1", (16, 5, 5), 0, 16 * 5 * 5),
        ("flatten_0", (400,), 0, 0),
        ("dense_0", (10,), 4010, 8000),
    ]
    whole = fnn.summary(net, (1, 28, 28))
    assert (whole.parameters, whole.state, whole.is_complete) == (4706, 0, True)
    assert whole.flops == 115_200 + 2304 + 576 + 115_200 + 1600 + 400 + 8000


@pytest.mark.parametrize(
    ("layer", "in_shape", "flops"),
    [
        (fnn.Dense(3), (4,), 24),
        (fnn.Dense(3, bias=False), (5, 4), 5 * 24),
        (fnn.Conv(6, 3, groups=2), (4, 8, 8), 2 * 6 * 2 * 9 * 36),
        (fnn.Conv(6, 3, stride=2, padding="same"), (4, 8, 8), 2 * 6 * 4 * 9 * 16),
        (fnn.Conv(2, 3, dilation=2), (1, 9), 2 * 2 * 3 * 5),
        (fnn.Conv(2, (1, 3)), (1, 4, 4), 2 * 2 * 3 * 4 * 2),
        (fnn.AvgPool(3, stride=1), (2, 5, 5), 2 * 9 * 9),
        (fnn.MaxPool((2, 1)), (2, 4, 4), 2 * 2 * 4 * 2),
        (fnn.MaxPool(2), (3, 8), 3 * 4 * 2),
        (fnn.GlobalAvgPool(), (3, 4, 5), 60),
        (fnn.BatchNorm(), (3, 4, 5), 120),
        (fnn.Softmax(), (10,), 50),
        (fnn.LogSoftmax(), (2, 10), 100),
        (fnn.Sigmoid(), (7,), 7),
        (fnn.LeakyRelu(0.1), (7,), 7),
        (fnn.Dropout(0.5), (7,), 0),
        (fnn.Reshape((2, -1)), (8,), 0),
    ],
    ids=lambda value: repr(value) if isinstance(value, fnn.Layer) else "",
)
def test_a_layer_costs_what_a_hand_counts(layer, in_shape, flops):
    (only,) = fnn.summary(layer, in_shape).rows
    out, params, state = layer.init(fnn.Key.of(3), in_shape)
    assert only.flops == flops
    assert (only.out_shape, only.parameters, only.state) == (out, size(params), size(state))


def test_paths_are_those_of_the_parameters_and_nesting_is_indented():
    block = fnn.residual(fnn.Dense(4), fnn.serial(fnn.BatchNorm(), fnn.Relu()))
    net = fnn.serial(fnn.named("in", fnn.Dense(4)), block, fnn.Dense(2))
    _, params, state = net.init(fnn.Key.of(0), (3,))
    whole = fnn.summary(net, (3,))
    found = {row.path: row for row in whole.rows}
    assert list(found) == [
        "in", "residual_0", "residual_0/dense_0", "residual_0/serial_0",
        "residual_0/serial_0/batch_norm_0", "residual_0/serial_0/relu_0", "dense_0",
    ]  # fmt: skip
    assert [row.depth for row in whole.rows] == [0, 0, 1, 1, 2, 2, 0]
    assert found["residual_0/dense_0"].parameters == size(fnn.tree.get(params, "residual_0/dense_0"))
    # The sum of both ways: one addition per number.
    assert (found["residual_0"].flops, found["residual_0/serial_0"].flops) == (4, 0)
    assert (whole.parameters, whole.state) == (size(params), size(state))
    assert "\n  residual_0/dense_0 " in repr(whole)


def test_a_shortcut_starts_from_what_the_block_got():
    net = fnn.residual(fnn.Dense(5), fnn.Dense(6), shortcut=fnn.Dense(6, bias=False))
    assert row(net, (4,), "shortcut").flops == 2 * 4 * 6
    assert row(net, (4,), "residual").out_shape == (6,)
    with pytest.raises(fnn.ShapeError, match="both ways"):
        fnn.summary(fnn.residual(fnn.Dense(5)), (4,))


def test_a_layer_of_ones_own_is_counted_where_it_can_be_and_said_to_be_unknown_where_not():
    def init(key, in_shape):
        return (*in_shape, 2), {"w": np.ones(3, "float32")}, {}

    mine = fnn.make_layer("mine", init, lambda params, state, x, train, key: (x, state, None))
    twice = fnn.elementwise("twice", lambda x: 2 * x, lambda x, y, dy: 2 * dy)
    whole = fnn.summary(fnn.serial(twice, mine), (5,))
    assert [(row.kind, row.flops, row.parameters) for row in whole.rows] == [
        ("twice", 5, 0),
        ("mine", None, 3),
    ]
    assert not whole.is_complete
    assert "–" in repr(whole).splitlines()[4]
    assert "≥ 5" in repr(whole).splitlines()[-1]


def test_it_prints_as_an_aligned_table_with_options_and_without_initializers():
    net = fnn.serial(fnn.Conv(2, 3, stride=2), fnn.Flatten(), fnn.Dense(1000, init_w=fnn.normal(0.1)))
    lines = repr(fnn.summary(net, (1, 9, 9))).splitlines()
    assert lines[0] == "input 1×9×9"
    assert len({len(line) for line in lines[1:]}) == 1
    assert "Conv(2, 3, stride=2)" in lines[3]
    assert "Dense(1000) " in lines[5]
    kept = f"{4 * (32 + 1000):,}"
    assert lines[-1].split() == ["total", "33,020", f"{2 * 18 * 16 + 64_000:,}", "0", kept]


def test_what_does_not_fit_is_refused():
    with pytest.raises(fnn.OptionError, match="expected a Layer"):
        fnn.summary(fnn.Relu, (3,))
    with pytest.raises(fnn.ShapeError):
        fnn.summary(fnn.serial(fnn.Conv(2, 3)), (4,))
    with pytest.raises(fnn.ShapeError, match="at most 10"):
        fnn.summary(fnn.serial(fnn.Dense(10), fnn.Dense(11)), (3,), most=10)


def test_a_summary_is_a_value():
    net = fnn.serial(fnn.Dense(3), fnn.Relu())
    assert fnn.summary(net, (4,)) == fnn.summary(net, [4])
    assert fnn.summary(fnn.serial(), (4,)).rows == ()


# --- what a training step keeps, and how parts are fed


def kept(net, in_shape):
    return {row.path: row.activations for row in fnn.summary(net, in_shape).rows}


def test_a_composition_counts_what_it_adds_to_what_its_parts_give():
    d = fnn.Dense
    assert kept(fnn.serial(fnn.serial(d(4), d(5))), (3,)) == {
        "serial_0": 0, "serial_0/dense_0": 4, "serial_0/dense_1": 5,
    }  # fmt: skip
    # The sum of both ways is an array more, and so is what several branches are merged into.
    assert kept(fnn.residual(d(3)), (3,)) == {"residual": 3, "dense_0": 3}
    both = fnn.branch(d(4), d(5), merge="concat")
    assert kept(both, (3,)) == {"branch": 9, "dense_0": 4, "dense_1": 5}
    merged = fnn.branch(d(4), d(5), merge=fnn.fan_in("concat"))
    assert kept(merged, (3,))["branch"] == 0
    assert sum(kept(merged, (3,)).values()) == 18
    tuples = fnn.serial(fnn.fan_out(2), fnn.parallel(d(4), d(5)))
    assert sum(kept(tuples, (3,)).values()) == 4 + 5
    # What only sees its input in another way takes no memory.
    assert set(kept(fnn.residual(fnn.serial()), (3,)).values()) == {0, 3}
    assert sum(kept(fnn.serial(fnn.Flatten(), fnn.Identity(), fnn.serial()), (3, 4)).values()) == 0


def test_a_layer_counts_as_often_as_it_is_applied():
    halved = fnn.make_layer(
        "halved",
        lambda in_shape: ((in_shape[0] // 2,), {}, {}),
        lambda params, state, x, train, key: (x[:, ::2], state, None),
    )
    assert sum(kept(fnn.shared(fnn.Dense(3), 4), (3,)).values()) == 4 * 3
    assert sum(kept(fnn.shared(halved, 3), (16,)).values()) == 8 + 4 + 2
    assert sum(kept(fnn.repeat(fnn.Dense(3), 4), (3,)).values()) == 4 * 3
    mapped = fnn.vmap(fnn.serial(fnn.Dense(3), fnn.Relu()))
    assert sum(kept(mapped, (7, 2)).values()) == 7 * (3 + 3)
    assert sum(kept(fnn.vmap(fnn.vmap(fnn.residual(fnn.Dense(3)))), (7, 5, 3)).values()) == 35 * 6


def test_what_runs_again_on_the_way_back_keeps_its_output_alone():
    deep = fnn.serial(fnn.Dense(50), fnn.Relu(), fnn.Dense(4))
    assert kept(fnn.serial(fnn.remat(deep), fnn.Relu()), (4,)) == {
        "serial_0": 4, "serial_0/dense_0": 0, "serial_0/relu_0": 0, "serial_0/dense_1": 0, "relu_0": 4,
    }  # fmt: skip
    # Also as the whole network.
    assert kept(fnn.remat(deep), (4,)) == {"serial": 4, "dense_0": 0, "relu_0": 0, "dense_1": 0}
    assert sum(kept(fnn.remat(fnn.residual(deep)), (4,)).values()) == 4


@pytest.fixture(scope="module")
def _what_was_there():
    gc.collect()
    gc.freeze()  # Nobody looks through it again, which takes longer than a step.
    yield
    gc.unfreeze()


def held_by_the_way_back(net, in_shape, n):
    """Return the bytes of one step that are held from the way there to the way back."""
    _, params, state = net.init(fnn.Key.of(0), in_shape)
    draw = fnn.Key.of(1).generator().normal
    make = net.inputs or (lambda key, n, shape: draw(size=(n, *shape)).astype(np.float32))
    x, key = make(fnn.Key.of(1), n, in_shape), fnn.Key.of(2)
    x = map_arrays(lambda part: part.astype("f4") if part.dtype.kind == "f" else part, x)
    net.vjp(params, state, x, train=True, key=key)  # What is made once is there.
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        back = net.vjp(params, state, x, train=True, key=key)
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert back is not None
    return held


def leaky_step(params, carry, x):
    h = params["a"] * carry + x

    def pullback(dcarry, dy):
        d = dcarry + dy
        return {"a": (carry * d).sum(axis=0)}, params["a"] * d, d

    return h, h, pullback


OWN_CELL = fnn.make_cell("leaky", lambda s: (s, s, {"a": fnn.Leaf(s, fnn.constant(0.5))}), leaky_step)
CONVOLUTIONAL = fnn.serial(
    fnn.Conv(8, 3, padding=1), fnn.BatchNorm(), fnn.Relu(), fnn.MaxPool(2), fnn.Dropout(0.2),
    fnn.residual(fnn.Conv(8, 3, padding=1), fnn.GroupNorm(2), fnn.Relu()), fnn.Flatten(), fnn.Dense(10),
)  # fmt: skip


@pytest.mark.parametrize(
    ("net", "in_shape"),
    [
        (fnn.serial(fnn.Dense(300), fnn.Tanh(), fnn.Dense(200), fnn.Sigmoid(), fnn.Dense(10)), (50,)),
        (fnn.mlp((300, 200), norm=fnn.LayerNorm(), dropout=0.5, activation="gelu"), (50,)),
        (fnn.mlp((300, 200), norm=fnn.RMSNorm(), dropout=0.0), (50,)),
        (fnn.serial(fnn.Dense(300), fnn.Identity(), fnn.Dropout(0), fnn.Reshape((20, 15))), (50,)),
        (fnn.serial(fnn.residual(fnn.Dense(200), fnn.Tanh()), fnn.LayerNorm(), fnn.Dense(9)), (200,)),
        (CONVOLUTIONAL, (1, 28, 28)),
        (fnn.serial(fnn.Conv(8, 3), fnn.SpatialDropout(0.5), fnn.InstanceNorm()), (1, 28, 28)),
        (fnn.serial(fnn.remat(fnn.mlp((500, 500, 10))), fnn.Tanh(), fnn.Dense(300)), (20,)),
        (fnn.remat(fnn.mlp((500, 500, 200))), (5,)),
        (
            fnn.serial(fnn.fan_out(2), fnn.parallel(fnn.Dense(90), fnn.Tanh()), fnn.fan_in("concat")),
            (90,),
        ),
        (fnn.branch(fnn.Dense(90), fnn.serial(fnn.Dense(50), fnn.Dense(90)), merge="product"), (20,)),
        (fnn.shared(fnn.serial(fnn.Dense(80), fnn.Tanh()), 5), (80,)),
        (fnn.RNN(40), (30, 4)),
        (fnn.GRU(40), (30, 4)),
        (fnn.LSTM(40, last=True), (30, 4)),
        (fnn.LSTM(40, lengths=True), ((30, 4), ())),
        (fnn.LSTM(40, carry=True), ((30, 4), ((40,), (40,)))),
        (fnn.bidirectional(fnn.LSTM(40)), (30, 4)),
        (fnn.rnn(OWN_CELL), (30, 40)),
        (fnn.MultiHeadAttention(4), (64, 32)),
        (fnn.MultiHeadAttention(2, width=48, causal=True, dropout=0.1, positions="rotary"), (64, 32)),
        (fnn.MultiHeadAttention(2, cross=True, mask=True), ((64, 32), (30, 20), (30,))),
        (fnn.TransformerBlock(4, dropout=0.1), (32, 64)),
        (fnn.TransformerBlock(4, norm="post", mask=True), ((32, 64), (32,))),
        (fnn.serial(fnn.Embedding(50, 32), fnn.LearnedPositions(24), fnn.TransformerBlock(2)), (24,)),
        (fnn.tied_embedding(50, 32, fnn.Dense(32)), (24,)),
        (fnn.vmap(fnn.serial(fnn.MultiHeadAttention(2), fnn.LayerNorm())), (3, 40, 16)),
        (fnn.weight_norm(fnn.LSTM(20)), (30, 4)),
    ],
    ids=lambda value: repr(value)[:60] if isinstance(value, fnn.Layer) else "",
)
@pytest.mark.usefixtures("_what_was_there")
def test_activation_bytes_are_what_the_way_back_holds_on_to(net, in_shape):
    n = 60
    held = held_by_the_way_back(net, in_shape, n)
    said = n * fnn.summary(net, in_shape).activation_bytes
    # What comes first may be laid out anew: a copy of the examples. Weights are no example's.
    anew = 4 * n * count_numbers(in_shape)
    weights = 4 * fnn.summary(net, in_shape).parameters
    assert 0.88 * said < held < 1.06 * (said + anew) + 2 * weights + 4000


def test_members_that_train_together_cost_and_keep_so_many_times_as_much():
    net = fnn.serial(fnn.Dense(3), fnn.Relu())
    for layer, in_shape in ((fnn.stacked(net, 4), (2,)), (fnn.stacked(net, 4, shared=False), (4, 2))):
        whole = fnn.summary(layer, in_shape)
        assert (whole.flops, whole.is_complete) == (4 * (2 * 2 * 3 + 3), True)
        assert whole.activation_bytes == 4 * 4 * (3 + 3)


def test_over_an_axis_of_no_size_nothing_is_counted_below_zero():
    for row in fnn.summary(fnn.vmap(fnn.serial(fnn.Dense(3), fnn.Relu())), (0, 2)).rows:
        assert row.activations >= 0


@settings(max_examples=40, deadline=None)
@given(networks((3, 5)))
def test_of_random_networks_every_layer_has_a_row_in_the_table_and_a_place_in_the_picture(net):
    found = fnn.summary(net, (3, 5))
    assert all(row.activations >= 0 and row.wiring in WIRINGS for row in found.rows)
    _, params, state = net.init(fnn.Key.of(0), (3, 5))
    assert (found.parameters, found.state) == (size(params), size(state))
    root = ET.fromstring(picture(found))
    words = [each.text for each in root.iter("text")]
    hidden = [int(n) for each in words for n in re.findall(r"^(\d+) layers inside", each)]
    hidden += [int(n) for each in words for n in re.findall(r"^… and (\d+) more layer", each)]
    drawn = sum(1 for each in root.iter("g")) - 1 + sum(hidden)
    if not any("more like it" in each or "more times" in each for each in words):
        assert drawn == len(found.rows)
    assert drawn <= len(found.rows)


def test_a_layer_of_ones_own_says_what_it_keeps():
    def own(**more):
        return fnn.make_layer(
            "own",
            lambda in_shape: ((in_shape[0], 2), {}, {}),
            lambda params, state, x, train, key: (np.stack([x, x], axis=-1), state, None),
            **more,
        )

    for keeps, want in ((None, 6), (0, 0), (3, 18), (lambda a, b: 100 * a[0] + b[1], 302)):
        assert kept(own(keeps=keeps), (3,)) == {"own": want}
    assert sum(kept(fnn.vmap(own(keeps=lambda a, b: 100 * a[0] + b[1])), (5, 3)).values()) == 5 * 302
    for wrong in (-1, 1.5, "2"):
        with pytest.raises(fnn.OptionError, match="make_layer: keeps: expected"):
            own(keeps=wrong)


@pytest.mark.parametrize(
    ("net", "in_shape", "want"),
    [
        (fnn.serial(), (3,), "chain"),
        (fnn.repeat(fnn.Dense(3), 2), (3,), "chain"),
        (fnn.shared(fnn.Dense(3), 2), (3,), "shared"),
        (fnn.residual(fnn.Dense(3)), (3,), "residual"),
        (fnn.named("block", fnn.frozen(fnn.residual(fnn.Dense(3)))), (3,), "residual"),
        (fnn.branch(fnn.Dense(3), fnn.Dense(3)), (3,), "branch"),
        (fnn.remat(fnn.branch(fnn.Dense(3))), (3,), "branch"),
        (fnn.parallel(fnn.Dense(3), fnn.Dense(3)), ((3,), (4,)), "parallel"),
        # Constructors of compositions, and what is made late.
        (fnn.bidirectional(fnn.GRU(2)), (5, 3), "branch"),
        (fnn.SeparableConv(3, 3), (2, 8, 8), "chain"),
        (fnn.lazy(one_of_three), (3,), "chain"),
        (fnn.Dense(3), (3,), ""),
    ],
    ids=lambda value: repr(value) if isinstance(value, fnn.Layer) else "",
)
def test_the_wiring_of_parts_is_that_of_the_composition(net, in_shape, want):
    outer = fnn.summary(fnn.parallel(net), (in_shape,)).rows
    assert outer[0].wiring == "parallel"
    assert outer[1].wiring == (want if len(outer) > 2 else "")


def test_how_a_composition_of_somebody_elses_feeds_its_parts_is_not_known():
    inner = fnn.residual(fnn.Dense(3), shortcut=fnn.Dense(3))
    strange = fnn.Layer("strange", *inner.core, children=inner.children)
    assert fnn.summary(strange, (3,)).rows[0].wiring == "parts"
    assert fnn.summary(strange, (3,)).rows[0].activations == 3


def test_layers_shared_within_shared_ones_count_the_product_of_the_times():
    net = fnn.Relu()
    for _ in range(4):
        net = fnn.shared(net, 2)
    whole = fnn.summary(net, (3,))
    assert (whole.flops, whole.activation_bytes) == (2**4 * 3, 4 * 2**4 * 3)


def test_the_parts_of_a_transformer_block_have_rows_and_their_cost_counts():
    found = fnn.summary(fnn.TransformerBlock(2, width_mlp=6), (5, 4))
    names = [row.path.split("/")[-1] for row in found.rows]
    assert names == [
        "transformer_block", "norm_1", "attention", "norm_2", "mlp", "dense_0", "gelu_0", "dense_1",
    ]  # fmt: skip
    attention = next(row for row in found.rows if row.path.endswith("attention"))
    dense = next(row for row in found.rows if row.path.endswith("dense_0"))
    assert dense.flops == 2 * 5 * 4 * 6
    assert attention.flops > 4 * 2 * 5 * 4 * 4  # Its four matrices alone.
    net = fnn.TransformerBlock(2, width_mlp=6)
    _, params, _ = net.init(fnn.Key.of(0), (5, 4))
    assert sum(row.parameters for row in found.rows) == fnn.tree.size(params)
