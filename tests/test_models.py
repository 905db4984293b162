"""Models in one file: what was saved comes back, and a stranger's file costs and does nothing."""

import contextlib
import math
import pickle
import re
import tracemalloc

import numpy as np
import pytest
from layer_cases import ALL_CASES
from recurrent_cases import LeakyCell, leaky_shapes, leaky_step

import fnn
from fnn import tree
from fnn.errors import DataError, FnnError, OptionError, ShapeError
from fnn.recipe import constructor
from fnn.runs.checkpoint import save_tree
from fnn.runs.checkpoint.networks import BYTES_PER_LAYER, network_from, network_text

KEY = fnn.Key.of(0)


def square(x):
    return x * x


def square_vjp(x, y, dy):
    return 2 * x * dy


def halves(key, shape):
    return np.full(shape, 0.5, "float32")


@constructor
def Power(n, *, init_w=halves):
    """Raise to a power, times a weight."""

    def init(key, in_shape):
        return in_shape, {"w": init_w(key, (1,))}, {}

    def fwd(params, state, x, train, key):
        y = params["w"] * x**n

        def pullback(dy):
            return {"w": np.sum(dy * x**n).reshape(1)}, dy * params["w"] * n * x ** (n - 1)

        return y, state, pullback

    return fnn.make_layer("power", init, fwd)


Square = fnn.elementwise("square", square, square_vjp)
Fading = fnn.make_cell("fading", leaky_shapes, leaky_step)
OWN = {"Power": Power, "square": Square, "halves": halves, "LeakyCell": LeakyCell, "fading": Fading}

NETS = {
    "a dense layer": (fnn.Dense(3), (4,)),
    "the identity": (fnn.serial(), (4,)),
    "images": (
        fnn.serial(
            fnn.Conv(4, 3, padding="same", init_w=fnn.he_normal),
            fnn.BatchNorm(eps=1e-3, momentum=0.5),
            fnn.Relu(),
            fnn.MaxPool(2),
            fnn.residual(fnn.Conv(4, (3, 1), padding=((1, 1), (0, 0))), shortcut=fnn.Identity()),
            fnn.Flatten(),
            fnn.Dropout(0.25),
            fnn.Dense(10, init_w=fnn.normal(std=0.1), init_b=fnn.constant(-0.5)),
        ),
        (1, 8, 8),
    ),
    "names": (fnn.serial(fnn.named('it\'s "é"', fnn.Dense(2)), fnn.Reshape((2, 1))), (3,)),
    "cells": (
        fnn.serial(
            fnn.rnn(fnn.LSTMCell(3, forget_bias=0, init_w_in=fnn.zeros), reverse=True),
            fnn.bidirectional(fnn.rnn(LeakyCell())),
            fnn.rnn(Fading, last=True),
        ),
        (4, 2),
    ),
    "layers of one's own": (fnn.serial(Power(3), Square, Power(2, init_w=fnn.ones)), (4,)),
}


def saved(tmp_path, net, in_shape, dtype="float32"):
    _, params, state = net.init(KEY, in_shape)
    params, state = tree.cast(params, dtype), tree.cast(state, dtype)
    path = tmp_path / "model.npz"
    fnn.save_model(path, net, params, state, in_shape)
    return path, params, state


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETS)
def test_what_was_saved_comes_back(tmp_path, name, dtype):
    net, in_shape = NETS[name]
    path, params, state = saved(tmp_path, net, in_shape, dtype)
    loaded = fnn.load_model(path, OWN)
    assert loaded == (net, params, state, in_shape)
    assert tree.digest(loaded[1]) == tree.digest(params)
    x = np.random.default_rng(0).normal(size=(2, *in_shape)).astype(dtype)
    expected = net.apply(params, state, x)[0]
    assert fnn.predict(loaded[0], loaded[1:3], x).tobytes() == expected.tobytes()


def test_equal_models_give_equal_bytes(tmp_path):
    files = []
    for name in "ab":
        (tmp_path / name).mkdir()
        files.append(saved(tmp_path / name, *NETS["images"])[0].read_bytes())
    assert files[0] == files[1]


def test_a_layer_of_one_s_own_may_be_made_by_a_function_without_arguments(tmp_path):
    path, *_ = saved(tmp_path, fnn.serial(Square), (2,))
    assert fnn.load_model(path, {"square": lambda: Square})[0] == fnn.serial(Square)


@pytest.mark.parametrize(
    ("net", "own", "message"),
    [
        (fnn.serial(Square), {}, "expected the layer 'square' in `layers`, got []"),
        (
            fnn.serial(Power(2)),
            {},
            "expected a layer that is known, got 'Power'; give it in `layers`",
        ),
        (fnn.serial(Square), {"square": fnn.Relu()}, "expected a layer called 'square', got Relu()"),
        (fnn.serial(Square), {"square": lambda: 3}, "expected a layer called 'square', got 3"),
        (
            fnn.serial(Power(2)),
            {"Power": lambda n: n},
            "Power: expected a constructor of layers, got int",
        ),
        (fnn.serial(Power(2)), {"Power": lambda: n}, "Power: expected other arguments"),  # noqa: F821
    ],
)
def test_layers_that_are_missing_or_others_are_named(tmp_path, net, own, message):
    path, *_ = saved(tmp_path, net, (2,))
    with pytest.raises(DataError, match=re.escape(message)):
        fnn.load_model(path, own)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (Power(2, init_w=lambda key, shape: np.ones(shape, "float32")), "functions with a name"),
        (Power(np.ones(2)), "options that text can say"),
    ],
)
def test_a_network_that_no_text_describes_is_refused_before_anything_is_written(tmp_path, net, message):
    with pytest.raises(OptionError, match=f"save_model: .*{message}"):
        fnn.save_model(tmp_path / "m.npz", net, {"w": np.ones(1)}, {}, (2,))
    assert list(tmp_path.iterdir()) == []


def test_a_constructor_called_like_one_of_the_library_is_refused(tmp_path):
    @constructor
    def Dense(width):
        return fnn.make_layer("dense", lambda key, s: (s, {}, {}), lambda p, s, x, t, k: (x, s, None))

    with pytest.raises(OptionError, match="expected another name than 'Dense'"):
        network_text(Dense(3))


def test_weights_of_another_network_are_refused_with_their_paths(tmp_path):
    net = fnn.serial(fnn.Dense(3), fnn.BatchNorm())
    _, params, state = net.init(KEY, (4,))
    with pytest.raises(ShapeError, match=r"params/dense_0/w: expected \(5, 3\), got \(4, 3\)"):
        fnn.save_model(tmp_path / "m.npz", net, params, state, (5,))
    with pytest.raises(ShapeError, match=r"state/batch_norm_0/mean: expected \(3,\), got no such path"):
        fnn.save_model(tmp_path / "m.npz", net, params, {}, (4,))
    assert list(tmp_path.iterdir()) == []


# --- strangers


def stranger(tmp_path, recipe, *, in_shape=(4,), params=None, state=None):
    """Write a model as somebody would who means no good."""
    path = tmp_path / "theirs.npz"
    text = np.frombuffer(recipe.encode("utf-8", "surrogatepass"), np.uint8)
    shape = np.array(in_shape) if isinstance(in_shape, tuple) else in_shape
    content = {"params": params or {}, "state": state or {}, "in_shape": shape, "recipe": text}
    save_tree(path, content)
    return path


HOSTILE = {
    "code": "__import__('os').system('touch /tmp/owned')",
    "an attribute": "serial.__globals__",
    "a comprehension": "serial(*[Relu() for _ in range(9)])",
    "a lambda": "(lambda: Relu())()",
    "a walrus": "(x := Relu())",
    "an operator": "Dense(10 ** 10 ** 10)",
    "a format string": "named(f'{Relu}', Relu())",
    "keyword arguments by a dict": "Dense(**{'width': 3})",
    "no network": "3",
    "an initializer": "normal()",
    "a cell": "LSTMCell(2)",
    "a cell of the library's functions": "rnn(make_cell('a', serial, serial))",
    "a cell for a layer": "serial(LSTMCell(2))",
    "a constructor that is not called": "Dense",
    "an unknown option": "Dense(3, gain=2)",
    "too many options": "Dense(3, 4, 5)",
    "a width out of range": "Dense(-3)",
    "a width as a text": "Dense('3')",
    "a width of many digits": f"Dense({'9' * 5000})",
    "a name that no path can hold": "named('a/b', Relu())",
    "half a text": "serial(Dense(3)",
    "nothing": "",
    "bytes": "named(b'a', Relu())",
    "nesting": "serial(" * 120 + "Dense(3)" + ")" * 120,
    "many layers": "serial(" + "Relu(), " * 100_000 + ")",
    "many arguments": "Reshape((" + "1, " * 100_000 + "))",
    "many signs": "Dense(" + "-" * 100_000 + "1)",
    "a long name": "named('" + "a" * 200_000 + "', Dense(3))",
    "six gigabytes": "Dense(16000000)",
    "more than can be counted": "serial(Dense(16000000), Dense(16000000), Conv(9, 9))",
    "an endless window": "Conv(16000000, (16000000, 16000000))",
    "surrogates": "named('\udcff', Relu())",
    "own": "own('x')",
    "own twice": "own('x', 'y')",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_stranger_s_recipe_is_one_typed_error_within_the_memory_of_its_file(tmp_path, name):
    recipe = HOSTILE[name]
    in_shape = (9, 64, 64) if "Conv" in recipe else (4,)
    path = stranger(tmp_path, recipe, in_shape=in_shape)
    fnn.load_model(
        saved(tmp_path, fnn.serial(fnn.Conv(1, 1), fnn.Flatten(), fnn.Dense(2)), (1, 2, 2))[0]
    )
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"^[^\n]*theirs\.npz: "):
            fnn.load_model(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= 4 * path.stat().st_size + (1 << 20)


@pytest.mark.parametrize(
    "in_shape",
    [
        (-4,),
        (2**62, 2**62),
        (2**62,),
        tuple(range(40)),
        np.array([0.5]),
        np.array(4),
        np.ones((2, 2), int),
        {"1": np.array([4])},
        {"0": np.array([4]), "1": np.array([4])},
    ],
)
def test_a_stranger_s_in_shape_is_one_typed_error(tmp_path, in_shape):
    params = {"dense_0": {"w": np.zeros((4, 3), "float32"), "b": np.zeros(3, "float32")}}
    path = stranger(tmp_path, "serial(Dense(3))", in_shape=in_shape, params=params)
    with pytest.raises(DataError, match=re.escape("theirs.npz: ")):
        fnn.load_model(path)


LARGE = {
    "Conv": [fnn.Conv(2, 1)] * 126,
    "residual": [fnn.Conv(2, 1), fnn.residual(fnn.named("a", fnn.Relu()))] * 31,
    "SeparableConv": [fnn.SeparableConv(2, 1)] * 126,
}


@pytest.mark.parametrize("name", LARGE)
def test_as_many_layers_as_the_file_allows_build_within_its_memory(tmp_path, name):
    path, *_ = saved(tmp_path, fnn.serial(*LARGE[name]), (2, 3, 3))
    fnn.load_model(path)
    tracemalloc.start()
    try:
        fnn.load_model(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= 4 * path.stat().st_size + (4 << 20)


def test_no_layer_of_the_library_takes_more_memory_than_is_reckoned_with():
    texts = {}
    for layer, _ in ALL_CASES:
        name = repr(layer).partition("(")[0]
        if hasattr(fnn, name) and "named" not in repr(layer):
            texts.setdefault(name, repr(layer))
    assert len(texts) > 60
    for name, text in texts.items():
        whole = f"serial({', '.join([text] * 12)})"
        most = whole.count("(") * (2 if "frozen" in whole else 1)
        with contextlib.suppress(DataError):  # Functions that no text says.
            network_from(whole, own=OWN, most_layers=most)
            tracemalloc.start()
            try:
                network_from(whole, own=OWN, most_layers=most)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert peak <= BYTES_PER_LAYER * most, name


def test_more_layers_are_read_where_the_reader_allows_them(tmp_path):
    net = fnn.serial(*[fnn.Relu()] * 400)
    path, *_ = saved(tmp_path, net, (2,))
    with pytest.raises(DataError, match="expected a recipe of at most 128 calls, got 401"):
        fnn.load_model(path)
    assert fnn.load_model(path, most_layers=401)[0] == net


def test_files_that_hold_no_model_are_refused(tmp_path):
    save_tree(tmp_path / "tree.npz", {"params": {}, "state": {}, "in_shape": np.array([3])})
    with pytest.raises(DataError, match=r"tree\.npz: expected a model of .*'recipe'"):
        fnn.load_model(tmp_path / "tree.npz")
    with pytest.raises(DataError, match="nowhere"):
        fnn.load_model(tmp_path / "nowhere")
    save_tree(
        tmp_path / "leaf.npz", dict.fromkeys(("params", "state", "in_shape", "recipe"), np.ones(2))
    )
    with pytest.raises(DataError, match=r"leaf\.npz: "):
        fnn.load_model(tmp_path / "leaf.npz")


def test_every_number_survives_its_text():
    for value in (0.1, 1e-300, 1.7976931348623157e308, -0.0, 5e-324, math.pi):
        net = fnn.serial(fnn.Dense(2, init_b=fnn.constant(value)))
        assert network_from(network_text(net), own={}, most_layers=9) == net


def test_errors_of_a_model_pickle_like_others(tmp_path):
    with pytest.raises(FnnError) as caught:
        fnn.load_model(tmp_path / "nowhere")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
