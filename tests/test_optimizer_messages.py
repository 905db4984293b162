"""What optimizers say of bad input."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from optimizer_cases import ELEMENTWISE, draw, run

from fnn import tree
from fnn.errors import DTypeError, OptionError, ShapeError, TreeError
from fnn.optimizers import (
    OPTIMIZERS,
    adagrad,
    adam,
    adamw,
    add_decayed_weights,
    chain,
    clip_by_global_norm,
    freeze,
    momentum,
    rmsprop,
    scale_by_adam,
    scale_by_learning_rate,
    scale_by_rms,
    sgd,
    trace,
)
from fnn.optimizers.numbers import documented


def says(text):
    return "^" + re.escape(text) + "$"


# --- messages --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: sgd(-0.1),
            "sgd: learning_rate: expected a number in [0.0, 3.4e+38), got -0.1",
        ),
        (
            lambda: sgd(math.nan),
            "sgd: learning_rate: expected a number in [0.0, 3.4e+38), got nan",
        ),
        (lambda: sgd("fast"), "sgd: learning_rate: expected a number, got 'fast'"),
        (
            lambda: scale_by_learning_rate(-1),
            "scale_by_learning_rate: learning_rate: expected a number in [0.0, 3.4e+38), got -1",
        ),
        (lambda: momentum(0.1, 1.0), "momentum: decay: expected a number in [0.0, 1.0), got 1.0"),
        (
            lambda: momentum(-1),
            "momentum: learning_rate: expected a number in [0.0, 3.4e+38), got -1",
        ),
        (lambda: trace(-0.5), "trace: decay: expected a number in [0.0, 1.0), got -0.5"),
        (
            lambda: rmsprop(-1),
            "rmsprop: learning_rate: expected a number in [0.0, 3.4e+38), got -1",
        ),
        (lambda: rmsprop(0.1, 1), "rmsprop: decay: expected a number in [0.0, 1.0), got 1"),
        (lambda: scale_by_rms(2), "scale_by_rms: decay: expected a number in [0.0, 1.0), got 2"),
        (
            lambda: adagrad(-1),
            "adagrad: learning_rate: expected a number in [0.0, 3.4e+38), got -1",
        ),
        (
            lambda: adam(-1),
            "adam: learning_rate: expected a number in [0.0, 3.4e+38), got -1",
        ),
        (lambda: adam(b1=1), "adam: b1: expected a number in [0.0, 1.0), got 1"),
        (lambda: adam(b2=-1), "adam: b2: expected a number in [0.0, 1.0), got -1"),
        (lambda: scale_by_adam(b2=1), "scale_by_adam: b2: expected a number in [0.0, 1.0), got 1"),
        (
            lambda: adamw(weight_decay=-1),
            "adamw: weight_decay: expected a number in [0.0, 3.4e+38), got -1",
        ),
        (
            lambda: add_decayed_weights(-1),
            "add_decayed_weights: weight_decay: expected a number in [0.0, 3.4e+38), got -1",
        ),
        (
            lambda: clip_by_global_norm(-1),
            "clip_by_global_norm: max_norm: expected a number in [0.0, inf), got -1",
        ),
        (lambda: freeze([3]), "freeze: paths: expected names such as 'dense_0/w', got 3"),
        (lambda: freeze(""), "freeze: paths: expected names such as 'dense_0/w', got ''"),
        (lambda: freeze(3), "freeze: paths: expected names such as 'dense_0/w', got 3"),
        (lambda: chain(sgd(0.1), "adam"), "chain: expected transforms, got 'adam'"),
    ],
)
def test_options_out_of_range_raise_at_construction(make, message):
    with pytest.raises(OptionError, match=says(message)):
        make()


@pytest.mark.parametrize("make", [rmsprop, adagrad, adam, adamw], ids=lambda make: make.__name__)
@pytest.mark.parametrize("eps", [0.0, -1.0, 1e-45, 2.0**-64, math.nan])
def test_an_eps_that_could_divide_zero_by_zero_is_refused(make, eps):
    with pytest.raises(OptionError, match=rf"^{make.__name__}: eps: expected a number in \[1.08"):
        make(0.1, eps=eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", [rmsprop, adagrad, adam, adamw], ids=lambda make: make.__name__)
def test_a_zero_gradient_moves_nothing_even_with_the_smallest_eps(make, dtype):
    params = np.zeros(3, dtype)
    moved, _ = run(make(0.1, eps=2.0**-63), params, [params] * 3)
    np.testing.assert_array_equal(moved, 0.0)


def test_a_schedule_out_of_range_raises_at_its_step():
    params = {"w": np.ones(2)}

    def falling(step):
        return 0.2 - 0.1 * step

    optimizer = sgd(falling)
    run(optimizer, params, [params] * 2)
    pattern = (
        r"^sgd \(test_optimizer_messages.py:\d+\): learning_rate at step 4: expected .*, got -0.2$"
    )
    with pytest.raises(OptionError, match=pattern):
        optimizer.update(params, {}, params, 4)
    with pytest.raises(OptionError, match=pattern):
        optimizer.numbers(4)
    nested = chain(trace(), chain(optimizer))
    with pytest.raises(OptionError, match=r"^chain/chain_0/sgd_0 \(.*\): learning_rate at step 4: "):
        nested.update(params, nested.init(params), params, 4)
    with pytest.raises(OptionError, match=r"^chain/chain_0/sgd_0 \(.*\): learning_rate at step 4: "):
        nested.numbers(4)


@pytest.mark.parametrize(("step", "got"), [(-1, "0 or more, got -1"), (1.0, "an integer, got 1.0")])
def test_the_clock_is_an_integer_from_zero(step, got):
    with pytest.raises(OptionError, match=rf"^adam \(\S+\): step: expected {got}$"):
        adam().update(draw(0), adam().init(draw(0)), draw(0), step)


@pytest.mark.parametrize(
    ("transform", "other", "expected", "got"),
    [
        (adam(), momentum(0.1), "['m', 'v']", "['velocity']"),
        (momentum(0.1), sgd(0.1), "['velocity']", "[]"),
        (trace(), adam(), "['velocity']", "['m', 'v']"),
        (rmsprop(0.1), adagrad(), "['square']", "['square_sum']"),
        (adagrad(), rmsprop(0.1), "['square_sum']", "['square']"),
        (sgd(0.1), adam(), "[]", "['m', 'v']"),
        (clip_by_global_norm(1.0), adam(), "[]", "['m', 'v']"),
        (add_decayed_weights(1.0), adam(), "[]", "['m', 'v']"),
        (freeze("scale"), adam(), "[]", "['m', 'v']"),
        (chain(adam()), adam(), "['adam_0']", "['m', 'v']"),
    ],
)
def test_the_memory_of_another_optimizer_is_refused(transform, other, expected, got):
    message = re.escape(f"opt_state: expected {expected}, got {got}; from another optimizer?")
    with pytest.raises(TreeError, match=rf"^{transform.name} \(\S+\): {message}$"):
        transform.update(draw(1), other.init(draw(0)), draw(0), 0)


def test_a_memory_that_is_no_mapping_is_refused():
    for transform in (adam(), chain(adam())):
        with pytest.raises(TreeError, match=r"opt_state: expected \[.*\], got NoneType"):
            transform.update(draw(1), None, draw(0), 0)
    with pytest.raises(TreeError, match=r"^chain/adam_0 \(\S+\): opt_state: expected .*, got \[\]"):
        chain(adam()).update(draw(1), {}, draw(0), 0)


@pytest.mark.parametrize(
    "transform",
    [t for t in ELEMENTWISE if t.init(np.zeros(1))] + [add_decayed_weights(0.1)],
    ids=repr,
)
def test_gradients_that_do_not_fit_the_memory_are_refused_with_their_path(transform):
    params = draw(0, "float32")
    opt_state = transform.init(params)
    wide = tree.update(params, {"dense_1/w": np.ones((5, 7))})
    with pytest.raises(DTypeError, match=r"dense_1/w \(\S+\): expected float32, got float64$"):
        transform.update(wide, opt_state, params, 0)
    short = tree.update(params, {"dense_1/w": np.ones((1, 7), "float32")})
    with pytest.raises(ShapeError, match=r"dense_1/w \(\S+\): expected \(5, 7\), got \(1, 7\)$"):
        transform.update(short, opt_state, params, 0)
    with pytest.raises(TreeError, match=r"expected .*'dense_1', 'scale'\], got \['dense_0'\]$"):
        transform.update({"dense_0": params["dense_0"]}, opt_state, params, 0)


def test_adamw_refuses_parameters_that_do_not_fit():
    params = draw(0, "float32")
    with pytest.raises(DTypeError, match=r"^adamw/dense_0/b \(\S+\): expected float64, got float32$"):
        adamw().update(params, adamw().init(params), tree.cast(params, "float64"), 0)


@pytest.mark.parametrize("where", ["init", "update"])
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("dense_9", "got ['dense_0', 'dense_1', 'scale'] before 'dense_9'"),
        ("dense", "got ['dense_0', 'dense_1', 'scale'] before 'dense'"),
        ("dense_0/v", "got ['b', 'w'] before 'v'"),
        ("dense_0/w/x", "got a leaf before 'x'"),
    ],
)
def test_freezing_an_unknown_path_says_what_there_is(path, said, where):
    frozen = chain(freeze(path))
    with pytest.raises(TreeError, match=rf"^chain/freeze_0 \(\S+\): expected .*{re.escape(said)}$"):
        frozen.init(draw(0)) if where == "init" else frozen.update(draw(1), {}, draw(0), 0)


def test_a_bare_array_has_no_path_to_freeze():
    with pytest.raises(TreeError, match=r"expected the path 'w', got a leaf before 'w'$"):
        freeze("w").init(np.ones(3))


def test_optimizers_are_found_by_name():
    assert OPTIMIZERS["adam"] is adam
    assert {"adagrad", "adam", "adamw", "momentum", "rmsprop", "sgd"} <= {*OPTIMIZERS}
    with pytest.raises(OptionError, match=r"^optimizer: expected one of .*did you mean"):
        OPTIMIZERS["addam"]


def test_a_docstring_that_leaves_out_a_number_of_its_own_says_which():
    def polyak(learning_rate, decay, b1):
        """Move by a mean of gradients."""

    with pytest.raises(TypeError, match="polyak: expected its docstring to describe decay"):
        documented(polyak)
