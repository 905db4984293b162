"""Recipes: values print, compare, pickle and copy by the call that made them."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
import subprocess
import sys

import attrs
import numpy as np
import pytest

import fnn
from fnn.recipe import Recipe, caller, constructor

NAMES = {name: getattr(fnn, name) for name in fnn.__all__}


def my_init(key, shape):
    return np.zeros(shape, "float32")


CODES = [
    "Dense(10)",
    "Dense(10, bias=False)",
    "Dense(3, init_w=he_normal, init_b=ones)",
    "Dense(3, init_w=normal(std=0.1), init_b=constant(0.5))",
    "Dense(3, init_w=uniform(low=-0.1, high=0.1))",
    "Dense(3, init_w=my_init)",
    "Conv(8, 3)",
    "Conv(8, (3, 5), stride=2, padding='same', dilation=(1, 2), groups=4, bias=False)",
    "Conv(8, 3, padding=((1, 2), (0, 1)))",
    "MaxPool(2)",
    "MaxPool((2, 3), stride=1, padding='same')",
    "AvgPool(2)",
    "GlobalAvgPool()",
    "Flatten()",
    "Reshape((3, -1))",
    "Reshape((6,))",
    "BatchNorm()",
    "BatchNorm(axis=2, momentum=0.5, eps=0.001)",
    "Dropout(0.5)",
    "Relu()",
    "LeakyRelu()",
    "LeakyRelu(slope=0.2)",
    "Sigmoid()",
    "Tanh()",
    "Softmax()",
    "LogSoftmax()",
    "Identity()",
    "serial()",
    "serial(Dense(4), Relu(), serial(Dense(2), Softmax()))",
    "residual(Dense(4), Tanh())",
    "residual(Conv(4, 3, padding='same'), shortcut=Conv(4, 1))",
    "named('hidden', Dense(4))",
    "serial(named('a', Dense(4)), residual(named('b', Relu())))",
    "elementwise('double', double, half)",
    "make_layer('mine', none, half, traits=Traits(mixes_batch=True))",
    "sgd(0.1)",
    "momentum(0.1, decay=0.5, nesterov=True)",
    "adam(learning_rate=0.01)",
    "chain(clip_by_global_norm(1.0), add_decayed_weights(0.01), sgd(0.1))",
    "normal()",
    "constant(0.5)",
    "uniform(high=3.0)",
]


def double(x):
    return 2 * x


def half(x, y, dy):
    return 2 * dy


def none(key, in_shape):
    return in_shape, {}, {}


NAMES |= {"my_init": my_init, "double": double, "half": half, "none": none}


def make(code):
    return eval(code, dict(NAMES))


@pytest.mark.parametrize("code", CODES)
def test_repr_is_the_code_that_makes_it(code):
    value = make(code)
    assert repr(value) == code
    assert make(repr(value)) == value


@pytest.mark.parametrize("code", CODES)
def test_equal_recipes_are_equal_and_survive_pickle_and_copies(code):
    value = make(code)
    assert value == make(code)
    assert not operator_ne(value, make(code))
    assert hash(value) == hash(make(code))
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(value, protocol))
        assert again == value
        assert hash(again) == hash(value)
        assert repr(again) == code
    for again in (copy.copy(value), copy.deepcopy(value)):
        assert again == value


def operator_ne(a, b):
    return a != b


def test_different_recipes_are_different():
    values = [make(code) for code in CODES]
    for i, value in enumerate(values):
        assert [other == value for other in values] == [i == j for j in range(len(values))]
        assert value != repr(value)
        assert value is not None


def test_a_copy_of_a_network_does_what_the_original_does():
    net = fnn.serial(fnn.Conv(4, 3), fnn.Relu(), fnn.Flatten(), fnn.Dropout(0.3), fnn.Dense(2))
    again = pickle.loads(pickle.dumps(net))
    key = fnn.Key.of(0)
    x = key.generator().standard_normal((3, 1, 6, 6), "float32")
    outs = []
    for each in (net, again):
        _, params, state = each.init(key, (1, 6, 6))
        outs.append(each.apply(params, state, x, train=True, key=key)[0].tobytes())
    assert outs[0] == outs[1]
    assert again.where == net.where
    assert again.recipe.build() == net


def test_one_recipe_however_it_is_written():
    assert fnn.Dense(10) == fnn.Dense(width=10, bias=True) == fnn.Dense(np.int64(10))
    assert repr(fnn.Dense(width=np.int64(10), bias=True)) == "Dense(10)"
    assert fnn.LeakyRelu(0.2) == fnn.LeakyRelu(slope=0.2)
    assert fnn.Conv(2, [3, 3], padding=[[1, 1], (0, 0)]) == fnn.Conv(
        2, (3, 3), padding=((1, 1), (0, 0))
    )
    assert repr(fnn.Reshape([2, 3])) == "Reshape((2, 3))"
    assert repr(fnn.normal(np.float64(0.5))) == "normal(std=0.5)"


def test_names_are_part_of_the_value():
    assert fnn.named("a", fnn.Relu()) != fnn.named("b", fnn.Relu())
    assert fnn.named("a", fnn.Relu()) != fnn.Relu()


@attrs.frozen
class Thing:
    """The least that a constructor may return."""

    held: object = None
    recipe: Recipe | None = attrs.field(default=None, eq=False)
    where: str = attrs.field(default="", eq=False)


@constructor
def thing(a, b=1, *more, c=True, **rest):
    """Make a thing."""
    return Thing((a, b, more, c, rest))


def test_functions_that_no_code_could_name_show_where_they_are():
    def local(x):
        return x

    at = r"test_recipe\.py:\d+>"
    inside = "test_functions_that_no_code_could_name_show_where_they_are"
    assert re.fullmatch(rf"thing\(<lambda in {inside}, {at}\)", repr(thing(lambda x: x).recipe))
    assert re.fullmatch(rf"thing\(<local in {inside}, {at}\)", repr(thing(local).recipe))
    assert re.fullmatch(rf"thing\(<lambda, {at}\)", repr(thing(AT_THE_TOP).recipe))
    assert repr(thing(double).recipe) == "thing(double)"
    assert repr(thing(Thing.__init__).recipe) == "thing(Thing.__init__)"


AT_THE_TOP = lambda x: x  # noqa: E731 - a function without a name


@constructor
def MyScale(width):
    """Multiply by a vector."""

    def init(key, in_shape):
        return in_shape, {"by": np.ones(width, "float32")}, {}

    def fwd(params, state, x, train, key):
        return x * params["by"], state, lambda dy: ({"by": (dy * x).sum(0)}, dy * params["by"])

    return fnn.make_layer("my_scale", init, fwd)


@constructor
def MyBlock(width):
    """A layer with its activation."""
    return fnn.serial(fnn.Dense(width), fnn.Relu())


def test_a_constructor_of_ones_own_gives_layers_that_show_compare_and_copy_by_their_call():
    layer = MyScale(3)
    assert repr(layer) == "MyScale(3)"
    assert layer == MyScale(width=3) != MyScale(4)
    assert layer.where.startswith("test_recipe.py:")
    for again in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer)):
        assert again == layer
        assert repr(fnn.serial(again)) == "serial(MyScale(3))"
    row = fnn.summary(fnn.serial(fnn.named("mine", layer)), (3,)).rows[0]
    assert (row.path, row.kind, row.out_shape, row.parameters) == ("mine", "MyScale(3)", (3,), 3)


def test_the_layers_in_a_constructor_of_ones_own_are_seen_in_summaries_and_ensembles():
    net = fnn.serial(MyBlock(4), fnn.Dense(2))
    rows = [(row.path, row.kind, row.flops) for row in fnn.summary(net, (3,)).rows]
    assert rows == [
        ("serial_0", "MyBlock(4)", 0),
        ("serial_0/dense_0", "Dense(4)", 24),
        ("serial_0/relu_0", "Relu()", 4),
        ("dense_0", "Dense(2)", 16),
    ]
    again = pickle.loads(pickle.dumps(net))
    assert fnn.summary(again, (3,)) == fnn.summary(net, (3,))
    assert fnn.stacked(again, 2).init(fnn.Key.of(0), (3,))[0] == (2, 2)


def test_layers_without_a_constructor_show_their_functions_and_pickle_where_those_do():
    layer = fnn.make_layer("mine", none, double)
    assert pickle.loads(pickle.dumps(layer)) == layer
    local = fnn.make_layer("mine", none, lambda params, state, x, train, key: None)
    assert re.search(
        r"^make_layer\('mine', none, <lambda in test_layers_\w+, test_recipe.py:\d+>\)", repr(local)
    )
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(local)
    assert fnn.summary(layer, (3,)).rows[0].kind == "mine"


def test_what_is_no_constructor_is_refused():
    with pytest.raises(TypeError, match="constructor: expected a function, got 3"):
        constructor(3)
    with pytest.raises(TypeError, match="half: expected a layer or a transform to be returned, got 6"):
        constructor(half)(1, 2, 3)


@pytest.mark.parametrize(
    ("made", "shown"),
    [
        (lambda: thing(1), "thing(1)"),
        (lambda: thing(1, 1, c=True), "thing(1)"),
        (lambda: thing(1, c=1), "thing(1, c=1)"),
        (lambda: thing(1, d=2), "thing(1, d=2)"),
        (lambda: thing("x", c={"k": (thing, 2)}), "thing('x', c={'k': (thing, 2)})"),
        (lambda: thing(np.zeros((2, 3))), "thing(float64[2, 3])"),
        (lambda: thing(()), "thing(())"),
    ],
)
def test_recipes_are_short(made, shown):
    assert repr(made().recipe) == shown
    again = made().recipe
    assert again.build().recipe == again


def test_positional_arguments_after_one_with_a_default_stay_in_their_place():
    value = thing(1, 1, 2, 3)
    assert value.recipe.build().held == value.held
    assert repr(value.recipe) == "thing(1, 1, 2, 3)"


def test_recipes_compare_by_value_and_by_type():
    different = [1, True, 1.0, "1", (1,), np.ones(2), np.ones(2, "f"), np.ones(3), {"a": 1}, {"b": 1}]
    for i, a in enumerate(different):
        for j, b in enumerate(different):
            assert (thing(a).recipe == thing(b).recipe) == (i == j)
    assert thing(1).recipe != "thing(1)"
    assert thing({"a": np.ones(2)}).recipe == thing({"a": np.ones(2)}).recipe
    assert hash(thing([1]).recipe) == hash(thing((1,)).recipe)


def test_later_changes_to_arguments_do_not_reach_the_recipe():
    sizes, table, array = [1, [2]], {"a": [1]}, np.ones(2)
    recipe = thing(sizes, c=table, d=array).recipe
    sizes[1].append(3)
    table["a"].append(2)
    array[0] = 7
    assert recipe == thing((1, (2,)), c={"a": (1,)}, d=np.ones(2)).recipe
    assert array.flags.writeable


def test_a_wrong_call_fails_as_a_function_call_does():
    for call in (lambda: fnn.Dense(), lambda: fnn.Dense(3, True), lambda: fnn.Dense(3, biass=False)):
        with pytest.raises(TypeError):
            call()


def test_constructors_keep_name_signature_and_docstring():
    assert fnn.Dense.__name__ == "Dense"
    assert list(inspect.signature(fnn.Dense).parameters) == ["width", "bias", "init_w", "init_b"]
    assert "y = x w + b" in fnn.Dense.__doc__


# --- where


def test_where_is_file_and_line_of_the_users_call():
    line = inspect.currentframe().f_lineno
    one = fnn.Dense(3)
    net = fnn.serial(
        fnn.Relu(),
        fnn.residual(fnn.Dense(3)),
    )
    assert one.where == f"test_recipe.py:{line + 1}"
    assert net.where == f"test_recipe.py:{line + 2}"
    assert dict(net.children)["relu_0"].where == f"test_recipe.py:{line + 3}"
    assert dict(net.children)["residual_0"].where == f"test_recipe.py:{line + 4}"
    assert fnn.adam(0.1).where == f"test_recipe.py:{line + 10}"
    assert caller() == f"test_recipe.py:{line + 11}"


def test_where_survives_pickling_and_copying():
    net = fnn.Dense(3)
    assert pickle.loads(pickle.dumps(net)).where == copy.deepcopy(net).where == net.where


def test_where_of_code_without_a_file_is_still_said():
    assert make("Dense(3)").where == "<string>:1"


def test_hypothesis_prints_a_layer_as_the_call_that_makes_it():
    pretty = pytest.importorskip("hypothesis.vendor.pretty").pretty
    assert pretty(fnn.Dense(3)) == "Dense(3)"
    assert pretty([fnn.sgd(0.1)]) == f"[{fnn.sgd(0.1)!r}]"


def test_what_a_module_of_the_library_makes_when_it_is_imported_stands_nowhere():
    code = "import sys, fnn; sys.stdout.write(repr(fnn.LOSSES['huber'].where))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "''"
