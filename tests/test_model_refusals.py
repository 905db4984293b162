"""What a model's file refuses: networks that would come back as others, and what strangers invent."""

import contextlib
import re
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fnn
from fnn import tree
from fnn.errors import DataError, OptionError, ShapeError
from fnn.kernels.windows import windows
from fnn.recipe import constructor
from fnn.runs.checkpoint import save_tree
from fnn.runs.checkpoint.networks import layers_allowed, network_text
from fnn.testing import strategies
from fnn.testing.strategies.of_combinators import halved

KEY = fnn.Key.of(0)


def cube(factor=1.0):
    return fnn.elementwise("cube", lambda x: factor * x**3, lambda x, y, dy: factor * 3 * x**2 * dy)


def halves(key, shape):
    return np.full(shape, 0.5, "float32")


@constructor
def Noise(seed=0, *, mode=None, init_w=halves, **more):
    """Stand for a layer of somebody's own with options of any kind."""

    def init(key, in_shape):
        return in_shape, {"w": init_w(key, (1,))}, {"seen": np.zeros(1, "int64")}

    def fwd(params, state, x, train, key):
        return x, state, lambda dy: ({"w": np.zeros_like(params["w"])}, dy)

    return fnn.make_layer("noise", init, fwd)


# --- round trips


@settings(max_examples=60, deadline=None)
@given(data=st.data(), in_shape=st.sampled_from([(4,), (2, 5), (2, 4, 5)]))
def test_random_networks_come_back_and_predict_the_same_bits(tmp_path_factory, data, in_shape):
    net = data.draw(strategies.networks(in_shape))
    _, params, state = net.init(KEY, in_shape)
    path = tmp_path_factory.mktemp("model") / "m.npz"
    own = {each.name: each for each in _layers(net) if each.name in ("bend", "gain")}
    own["halved"] = halved
    fnn.save_model(path, net, params, state, in_shape)
    again, *weights, shape = fnn.load_model(path, own)
    assert (again, *weights, shape) == (net, params, state, in_shape)
    x = np.random.default_rng(0).normal(size=(3, *in_shape)).astype("float32")
    expected = fnn.predict(net, (params, state), x)
    assert fnn.predict(again, tuple(weights), x).tobytes() == expected.tobytes()


def _layers(net):
    """Yield a network's layers as they were before they were named."""
    for _, child in net.children:
        while child.made_by().call is fnn.named:
            child = child.made_by().args[1]
        yield child
        yield from _layers(child)


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 20_240_101},
        {"seed": -(2**100)},
        {"mode": float("nan")},
        {"mode": -float("inf")},
        {"mode": -0.0},
        {"mode": np.float32(0.1)},
        {"mode": "a\n'é\"\ud800\U0001f600\x07"},
        {"mode": {"grün b": (1, [2.5, None])}},
        {"mode": (fnn.Relu(), fnn.named("x", fnn.Dense(3)))},
        {"in_other_words": True},
    ],
)
def test_options_of_one_s_own_come_back_whatever_plain_values_they_are(tmp_path, options):
    net = fnn.serial(Noise(**options), fnn.frozen(Noise()))
    _, params, state = net.init(KEY, (3,))
    fnn.save_model(tmp_path / "m.npz", net, params, state, (3,))
    loaded = fnn.load_model(tmp_path / "m.npz", {"Noise": Noise})
    assert loaded == (net, params, state, (3,))
    assert repr(loaded[0]) == repr(net)


def test_a_layer_whose_functions_are_made_anew_at_every_call_may_stand_twice(tmp_path):
    net = fnn.serial(cube(), fnn.Dense(2), cube())
    _, params, state = net.init(KEY, (3,))
    fnn.save_model(tmp_path / "m.npz", net, params, state, (3,))
    again, *weights, _ = fnn.load_model(tmp_path / "m.npz", {"cube": cube})
    x = np.ones((1, 3), "float32")
    expected = fnn.predict(net, (params, state), x)
    assert fnn.predict(again, tuple(weights), x).tobytes() == expected.tobytes()


def test_an_ensemble_comes_back_with_its_constructor(tmp_path):
    net = fnn.stacked(fnn.serial(fnn.Dense(3), fnn.Softmax()), 4)
    _, params, state = net.init(KEY, (2,))
    fnn.save_model(tmp_path / "m.npz", net, params, state, (2,))
    assert fnn.load_model(tmp_path / "m.npz", {"stacked": fnn.stacked}) == (net, params, state, (2,))
    with pytest.raises(
        DataError, match="expected a layer that is known, got 'stacked'; give it in `lay"
    ):
        fnn.load_model(tmp_path / "m.npz")


# --- what cannot be told again is refused before anything is written


def nan(key, shape):
    return np.zeros(shape, "float32")


def other_halves(key, shape):
    return np.zeros(shape, "float32")


other_halves.__name__ = "halves"


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (fnn.serial(cube(1.0), cube(2.0)), "one name for each of your own, got 'cube' for two"),
        (fnn.serial(Noise(), Noise(init_w=other_halves), Noise(mode=halves)), "got 'halves' for two"),
        (fnn.Dense(2, init_w=nan), "expected another name than 'nan'"),
        (Noise(0, **{"odd name": 3}), "can be read again: expected a network's recipe, got 'Noise(odd"),
        (Noise(0, **{"class": 3}), "can be read again: expected a network's recipe"),
        (Noise(mode={1: 2}), "can be read again: expected calls of layers with plain options"),
        (Noise(2**200), "can be read again: expected integers of at most 128 bits, got one of 201"),
    ],
)
def test_a_network_that_would_come_back_as_another_is_refused(net, message):
    with pytest.raises(OptionError, match=f"^save_model: .*{re.escape(message)}"):
        network_text(net)


def test_a_network_nested_too_deeply_to_be_read_is_refused():
    net = fnn.Relu()
    for _ in range(300):
        net = fnn.serial(net)
    with pytest.raises(OptionError, match="save_model: expected a network that can be read again"):
        network_text(net)


@pytest.mark.parametrize("dtype", ["float16", "int32", ">f4", "bool"])
def test_weights_in_which_no_network_computes_are_refused(tmp_path, dtype):
    net = fnn.Dense(2)
    params = {"w": np.zeros((3, 2), dtype), "b": np.zeros(2, "float32")}
    with pytest.raises(ShapeError, match=f"params/w: expected float32, got {np.dtype(dtype)}"):
        fnn.save_model(tmp_path / "m.npz", net, params, {}, (3,))
    path = stranger(tmp_path, "Dense(2)", in_shape=(3,), params=params)
    with pytest.raises(DataError, match=f"params/w: expected float32, got {np.dtype(dtype)}"):
        fnn.load_model(path)


@pytest.mark.parametrize("in_shape", [(2**70,), ((2**70,), (3,))])
def test_a_shape_that_no_array_can_have_is_one_typed_error(tmp_path, in_shape):
    with pytest.raises(ShapeError, match="save_model: in_shape: expected sizes that arrays can have"):
        fnn.save_model(tmp_path / "m.npz", fnn.Relu(), {}, {}, in_shape)
    assert list(tmp_path.iterdir()) == []


def test_options_of_reading_are_checked(tmp_path):
    fnn.save_model(tmp_path / "m.npz", fnn.Relu(), {}, {}, (3,))
    for layers in (None, [fnn.Relu()], "Relu"):
        with pytest.raises(OptionError, match="load_model: layers: expected a dict of layers by name"):
            fnn.load_model(tmp_path / "m.npz", layers)
    for most in (0, 1.5, "9"):
        with pytest.raises(OptionError, match="load_model: most_layers: expected"):
            fnn.load_model(tmp_path / "m.npz", most_layers=most)


# --- strangers


def stranger(tmp_path, recipe, *, in_shape=(4,), params=None):
    path = tmp_path / "theirs.npz"
    text = np.frombuffer(recipe.encode(), np.uint8)
    content = {"params": params or {}, "state": {}, "in_shape": np.array(in_shape), "recipe": text}
    save_tree(path, content)
    return path


DEEP = ("serial(named('" + "n" * 2000 + "', ") * 20
CONV = "Conv(2, 1)"
HOSTILE = {
    "code in a text": "named(f'{[" + "1," * 100_000 + "]}', Relu())",
    "an escape of which the parser warns": r"named('\d', Relu())",
    "a number of which the parser warns": "Dense(1and 2)",
    "a number of many digits in another base": "Dense(0x" + "f" * 20_000 + ")",
    "layers frozen again and again": "frozen(" * 40 + f"serial({'Relu(), ' * 80})" + ")" * 40,
    "nested networks frozen at every level": "frozen(serial(" * 25 + "Relu(), " * 60 + "))" * 25,
    "frozen layers below long names": DEEP + "serial(" + "frozen(Relu()), " * 9 + ")" + "))" * 20,
    "weights below long names": DEEP + "serial(" + f"{CONV}, " * 60 + ")" + "))" * 20,
    "windows over an endless image": "MaxPool(2)",
    "endless windows": "AvgPool(8000000, stride=1, padding=7999999)",
    "a layer repeated without end": "repeat(Relu(), 1000000000)",
    "a layer repeated without end by name": "repeat(layer=Relu(), n=1000000000)",
    "repeats of repeats": "repeat(" * 12 + "Relu()" + ", 9)" * 12,
    "a layer shared without end": "shared(Tanh(), 1000000000)",
    "a layer that doubles what it gets": "shared(branch(Relu(), Tanh(), merge='concat'), 1000000000)",
    "layers shared inside shared ones": "shared(" * 60 + "Relu()" + ", 9)" * 60,
    "shared layers that make ever more": "shared(" * 60 + "Pad(1)" + ", 9)" * 60,
    "tuples in tuples": "shared(fan_out(1), 1000000000)",
    "fans of fans": "serial(" + "fan_out(60), " * 60 + ")",
    "windows that step over the image": "MaxPool(3, dilation=16000000, padding=16000000)",
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_stranger_s_recipe_takes_neither_memory_nor_time_nor_warns(tmp_path, name):
    is_image = "Pool(" in HOSTILE[name] or CONV in HOSTILE[name]
    path = stranger(tmp_path, HOSTILE[name], in_shape=(1, 2**40, 3 * 10**7) if is_image else (4,))
    fnn.load_model(stranger(tmp_path, "frozen(serial(MaxPool(2)))", in_shape=(1, 4, 4)))
    path = stranger(tmp_path, HOSTILE[name], in_shape=(1, 2**40, 3 * 10**7) if is_image else (4,))
    tracemalloc.start()
    start = time.monotonic()
    try:
        with contextlib.suppress(DataError):
            fnn.load_model(path)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert time.monotonic() - start < 5
    assert peak <= 4 * path.stat().st_size + (1 << 20)


@pytest.mark.parametrize(
    ("recipe", "runs"),
    [
        ("shared(Tanh(), 200000)", 200_001),
        ("shared(layer=Tanh(), n=200000)", 200_001),
        ("serial(Relu(), remat(shared(shared(Tanh(), 1000), 200)))", 200 * 1001 + 4),
        ("shared(serial(repeat(Tanh(), 20), Relu()), 7000)", 7000 * (1 + 21 + 1) + 1),
    ],
)
def test_layers_of_a_file_run_a_thousand_times_for_each_that_is_allowed(tmp_path, recipe, runs):
    path = stranger(tmp_path, recipe)
    allowed = layers_allowed(path.stat().st_size)
    with pytest.raises(DataError, match=f"at most {1000 * allowed:,} times, got {runs:,}; `most_l"):
        fnn.load_model(path)
    with pytest.raises(DataError, match="layers that run at most"):
        fnn.load_model(path, most_layers=(runs - 1) // 1000)
    net, *_ = fnn.load_model(path, most_layers=runs // 1000 + 1)
    fnn.save_model(path, net, {}, {}, (4,))


@given(data=st.data())
def test_windows_that_hold_padding_alone_are_found_without_looking_at_each(data):
    numbers = [data.draw(st.integers(low, 20)) for low in (1, 1, 1, 1, 0, 0)]
    space, size, stride, dilation, before, after = numbers
    if (size - 1) * dilation + 1 > space + before + after:
        return
    pads = ((before, after),)
    at = windows((space,), (size,), (stride,), pads, (dilation,), data.draw(st.booleans()))
    looked = any(
        not any(before <= i * stride + j * dilation < before + space for j in range(size))
        for i in range(at.out[0])
    )
    assert at.misses() == looked


def test_paths_of_what_is_frozen_are_told_at_every_level_alike():
    net = fnn.serial(fnn.named("a", fnn.serial(fnn.frozen(fnn.Dense(2)), fnn.Dense(2))))
    assert net.frozen == ("a/dense_0",)
    assert net.children[0][1].frozen == ("dense_0",)
    twice = fnn.frozen(fnn.serial(fnn.frozen(fnn.serial(fnn.Dense(2))), fnn.Dense(2)))
    params = twice.init(KEY, (2,))[1]
    assert twice.frozen_paths(params) == [path for path, _ in tree.items(params)]
    assert all(child.stands_still for _, child in twice.children)
