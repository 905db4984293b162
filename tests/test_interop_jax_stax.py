"""Weights of stax: the imported network gives what stax gave, on images turned and in our order."""

import jax_cases
import numpy as np
import pytest

import fnn
from fnn import Key, tree
from fnn.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    Flatten,
    Identity,
    MaxPool,
    Relu,
    Tanh,
    branch,
    fan_in,
    fan_out,
    parallel,
    residual,
    serial,
)

jax = pytest.importorskip("jax")
stax = pytest.importorskip("jax.example_libraries.stax")
room = pytest.importorskip("fnn.interop.jax")
from_stax = room.from_stax

IMAGE = (3, 6, 5)


def turned(x):
    """Return images with their channels last."""
    return np.moveaxis(x, 1, -1)


def weights_of(theirs, shape):
    """Return weights off their first values, biases and scales too."""
    rng = np.random.default_rng(1)
    outline = jax.eval_shape(lambda: theirs[0](jax.random.key(0), shape)[1])
    return jax.tree.map(lambda leaf: 0.5 * rng.normal(size=leaf.shape).astype(leaf.dtype), outline)


def assert_imported(theirs, net, in_shape, *, train=False, turn=turned, back=None, **options):
    x = np.random.default_rng(0).normal(size=(4, *in_shape)).astype("float32")
    given = turn(x) if len(in_shape) > 1 else x
    weights = weights_of(theirs, given.shape)
    want = np.asarray(jax.jit(theirs[1])(weights, given))
    params, state = from_stax(weights, net, in_shape, **options)
    got, _ = net.apply(params, state, x, train=train)
    jax_cases.close(turned(got) if back else got, want, "float32")


def test_dense_layers_come_with_their_weights():
    theirs = stax.serial(stax.Dense(5), stax.Relu, stax.Dense(2), stax.LogSoftmax)
    ours = serial(Dense(5), Relu(), Dense(2), fnn.LogSoftmax())
    assert_imported(theirs, ours, (3,))


def test_the_rows_behind_a_flatten_are_put_in_our_order():
    theirs = stax.serial(
        stax.Conv(4, (3, 2), padding="SAME"), stax.Relu, stax.MaxPool((2, 2), (2, 2)),
        stax.Flatten, stax.Dense(6), stax.Tanh, stax.Dense(3),
    )  # fmt: skip
    ours = serial(
        Conv(4, (3, 2), padding="same"), Relu(), MaxPool(2), Flatten(), Dense(6), Tanh(), Dense(3)
    )
    assert_imported(theirs, ours, IMAGE)


def test_images_that_are_flattened_at_once_have_their_rows_turned_too():
    assert_imported(stax.serial(stax.Flatten, stax.Dense(4)), serial(Flatten(), Dense(4)), IMAGE)


def test_batch_norms_have_the_order_of_what_they_normalise():
    theirs = stax.serial(
        stax.Conv(3, (2, 2)), stax.BatchNorm(), stax.Relu, stax.AvgPool((2, 2), (2, 2)), stax.Flatten,
        stax.BatchNorm(axis=0), stax.Tanh, stax.Dense(3), stax.BatchNorm(axis=0, center=False),
    )  # fmt: skip
    ours = serial(
        Conv(3, 2), BatchNorm(), Relu(), AvgPool(2), Flatten(), BatchNorm(), Tanh(), Dense(3),
        BatchNorm(shift=False),
    )  # fmt: skip
    assert_imported(theirs, ours, IMAGE, train=True)


def test_a_residual_block_may_be_written_in_our_way():
    main = stax.serial(stax.Conv(3, (3, 3), padding="SAME"), stax.BatchNorm(), stax.Relu)
    side = stax.serial(stax.Conv(3, (1, 1)), stax.BatchNorm())
    theirs = stax.serial(
        stax.FanOut(2), stax.parallel(main, side), stax.FanInSum, stax.Flatten, stax.Dense(2)
    )
    shortcut = serial(Conv(3, 1), BatchNorm())
    ours = residual(Conv(3, 3, padding="same"), BatchNorm(), Relu(), shortcut=shortcut)
    assert_imported(theirs, serial(ours, Flatten(), Dense(2)), IMAGE, train=True)


@pytest.mark.parametrize("way", ["branch", "fans"])
def test_features_side_by_side_have_the_order_of_their_images(way):
    def left():
        return stax.serial(stax.Conv(2, (2, 2)), stax.Flatten)

    theirs = stax.serial(
        stax.FanOut(3),
        stax.parallel(left(), stax.Flatten, stax.serial(stax.Flatten, stax.Dense(3))),
        stax.FanInConcat(),
        stax.Dense(2),
    )
    ways = serial(Conv(2, 2), Flatten()), Flatten(), serial(Flatten(), Dense(3))
    if way == "branch":
        ours = serial(branch(*ways, merge="concat"), Dense(2))
    else:
        ours = serial(fan_out(3), parallel(*ways), fan_in("concat"), Dense(2))
    assert_imported(theirs, ours, IMAGE)


def test_layouts_of_kernels_may_differ_from_layer_to_layer():
    theirs = stax.serial(
        stax.GeneralConv(("NHWC", "OIHW", "NHWC"), 3, (2, 3)), stax.Conv(3, (2, 2)), stax.Flatten,
        stax.Dense(2),
    )  # fmt: skip
    ours = serial(Conv(3, (2, 3)), Conv(3, 2), Flatten(), Dense(2))
    assert_imported(theirs, ours, IMAGE, kernels={"conv_0": "OIHW"})


@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
def test_a_transposed_convolution_has_its_window_turned(strides):
    theirs = stax.ConvTranspose(2, (3, 3), strides)
    assert_imported(theirs, ConvTranspose(2, 3, stride=strides), IMAGE, back=True)


def test_a_convolution_along_one_axis_comes_likewise():
    theirs = stax.serial(
        stax.GeneralConv(("NHC", "HIO", "NHC"), 3, (2,)), stax.Relu, stax.Flatten, stax.Dense(2)
    )
    assert_imported(theirs, serial(Conv(3, 2), Relu(), Flatten(), Dense(2)), (2, 5))


def test_sequences_keep_the_order_of_their_axes():
    theirs = stax.serial(stax.Dense(3), stax.Flatten, stax.Dense(2))
    assert_imported(theirs, serial(Dense(3), Flatten(), Dense(2)), (4, 2), turn=lambda x: x)


def test_what_does_not_fit_is_refused_by_path():
    two = weights_of(stax.serial(stax.Dense(4), stax.Dense(2)), (-1, 3))
    with pytest.raises(
        fnn.ShapeError, match=r"serial/dense_1 .*expected w of shape \(4, 5\), got \(4, 2\)"
    ):
        from_stax(two, serial(Dense(4), Dense(5)), (3,))
    with pytest.raises(fnn.TreeError, match=r"serial/head .*expected weights for it, got 2 layers"):
        from_stax(two, serial(Dense(4), Dense(2), fnn.named("head", Dense(1))), (3,))
    with pytest.raises(fnn.TreeError, match="expected 1 layers with weights, got 2"):
        from_stax(two, serial(Dense(4)), (3,))
    with pytest.raises(fnn.OptionError, match=r"serial/rnn_0 .*a layer that stax has, got RNN"):
        from_stax(two, serial(fnn.RNN(4), Flatten(), Dense(2)), (2, 3))
    with pytest.raises(fnn.TreeError, match="expected params of stax"):
        from_stax({"w": np.ones(3)}, Dense(2), (3,))
    with pytest.raises(fnn.TreeError, match=r"dense .*expected arrays for \['b', 'w'\], got those for"):
        from_stax((np.ones((3, 2)),), Dense(2), (3,))
    with pytest.raises(fnn.OptionError, match="Layer"):
        from_stax(two, Dense, (3,))


def test_images_that_stax_would_read_otherwise_are_refused():
    weights = weights_of(stax.serial(stax.Conv(3, (2, 2)), stax.Dense(2)), (-1, 5, 5, 1))
    with pytest.raises(fnn.OptionError, match=r"serial/dense_0 .*expected a Flatten before"):
        from_stax(weights, serial(Conv(3, 2), Dense(2)), (1, 5, 5))
    with pytest.raises(fnn.OptionError, match="kernels: expected paths of convolutions"):
        from_stax(weights[:1], serial(Conv(3, 2), Flatten()), (1, 5, 5), kernels={"x": "OIHW"})
    with pytest.raises(fnn.OptionError, match=r"serial/conv_0 .*kernels: expected I, O and 2 axes"):
        from_stax(weights[:1], serial(Conv(3, 2), Identity()), (1, 5, 5), kernels="OHW")


def test_what_comes_is_ours_in_the_dtype_of_the_weights():
    weights = [(np.ones((3, 2)), np.zeros(2)), (np.zeros(2), np.ones(2))]
    params, state = from_stax(weights, serial(Dense(2), BatchNorm()), (3,))
    assert type(params) is tree.Tree
    assert {leaf.dtype for leaf in tree.leaves(params | {"s": state})} == {np.dtype("float64")}
    weights[0][0][:] = 7
    assert params["dense_0"]["w"].max() == 1
    _, want, _ = serial(Dense(2), BatchNorm()).init(Key.of(0), (3,))
    assert params.keys() == want.keys()
