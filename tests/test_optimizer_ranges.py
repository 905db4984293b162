"""Every option that an optimizer allows works: finite gradients give finite memories and no NaN."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optimizer_cases import run, same_bits

import fnn
from fnn import tree
from fnn.errors import OptionError

RATE, EPS, LAST = 3.39e38, 2.0**-63, 1 - 2.0**-53
ones_below = st.sampled_from([0.0, 5e-324, 1e-20, 0.1, 0.9, 0.999, 1 - 2.0**-25, LAST])
rates = st.sampled_from([0.0, 5e-324, 1e-45, 1e-30, 1e-3, 1.0])
wild = st.sampled_from([0.0, 1e-3, 1e10, 1e30, RATE])
eps = st.sampled_from([EPS, 1e-10, 1e-8, 1.0, 1e30, 1e300])


def optimizers(rate):
    moments = {"b1": ones_below, "b2": ones_below, "eps": eps}
    return st.one_of(
        st.builds(fnn.sgd, rate),
        st.builds(fnn.scale_by_learning_rate, rate),
        st.builds(fnn.momentum, rate, ones_below, nesterov=st.booleans()),
        st.builds(fnn.trace, ones_below, nesterov=st.booleans()),
        st.builds(fnn.rmsprop, rate, ones_below, eps=eps),
        st.builds(fnn.scale_by_rms, ones_below, eps=eps),
        st.builds(fnn.adagrad, rate, eps=eps),
        st.builds(fnn.adam, rate, **moments),
        st.builds(fnn.adamw, rate, **moments, weight_decay=rate),
        st.builds(fnn.scale_by_adam, **moments),
        st.builds(fnn.add_decayed_weights, rate),
        st.builds(fnn.clip_by_global_norm, st.sampled_from([0.0, 5e-324, 1e-30, 1.0, 1e30, 1e308])),
        st.builds(fnn.freeze, st.just("w")),
        further(rate, moments),
    )


def further(rate, moments):
    inner = st.builds(fnn.momentum, rate, ones_below) | st.builds(fnn.adam, rate, **moments)
    bounds = st.sampled_from([0.0, 5e-324, 1e-30, 1.0, 1e30, 1e38])
    kin = (fnn.nadam, fnn.radam, fnn.amsgrad, fnn.adamax, fnn.adabelief, fnn.yogi)
    sign = {"b1": ones_below, "b2": ones_below}
    # It remembers parameters, which a wild rate makes infinite.
    slow = [st.builds(fnn.lookahead, inner, st.integers(1, 3))] if rate is rates else []
    return st.one_of(
        *slow,
        *(st.builds(make, rate, **moments) for make in kin),
        *(st.builds(make, rate, **moments, weight_decay=rate) for make in (fnn.lamb, fnn.novograd)),
        st.builds(fnn.nesterov, rate, ones_below),
        st.builds(fnn.adadelta, rate, ones_below, eps=eps),
        st.builds(fnn.sign_sgd, rate),
        st.builds(fnn.lion, rate, **sign, weight_decay=rate),
        st.builds(fnn.rprop, rate),
        st.builds(fnn.lars, rate, ones_below, trust=rate, weight_decay=rate),
        st.builds(fnn.scale_by_trust_ratio, rate),
        st.builds(fnn.adafactor, rate, eps=st.none() | eps, weight_decay=rate),
        st.builds(fnn.sm3, rate, ones_below, eps=eps),
        st.builds(fnn.muon, rate, ones_below, weight_decay=rate, **moments),
        st.builds(fnn.clip_by_value, bounds),
        st.builds(fnn.clip_by_block_rms, bounds),
        st.builds(fnn.adaptive_clip, bounds),
        st.builds(fnn.centralize),
        st.builds(fnn.ema, ones_below),
        st.builds(fnn.accumulate, inner, st.integers(1, 3)),
    )


def gradients(dtype):
    info = np.finfo(dtype)
    sizes = [
        0.0,
        info.smallest_subnormal,
        info.tiny,
        1e-30,
        1e-20,
        1e-8,
        1.0,
        1e10,
        1e19,
        1e30,
        info.max,
    ]
    each = st.sampled_from([float(s * x) for x in sizes for s in (1, -1)])
    entries = st.lists(each, min_size=4, max_size=4)

    def shaped(shape):
        return st.lists(
            entries.map(lambda v: {"w": np.array(v, dtype).reshape(shape)}), min_size=1, max_size=4
        )

    return shaped(4) | shaped((2, 2))


def walk(transform, grads):
    """Return all updates and the last memory, at parameters of 1."""
    params = tree.map(np.ones_like, grads[0])
    memory, updates = transform.init(params), []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for step, grad in enumerate(grads):
            update, memory = transform.update(grad, memory, params, step)
            updates.append(update["w"])
    return np.array(updates), memory


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(data=st.data())
@settings(max_examples=120)
def test_finite_gradients_give_finite_memories_and_updates(dtype, data):
    transform = data.draw(optimizers(rates))
    updates, memory = walk(transform, data.draw(gradients(dtype)))
    assert not np.isnan(updates).any(), transform
    assert all(np.isfinite(leaf).all() for leaf in tree.leaves(memory)), transform
    # Where a weight of 1 is added to the largest number, or a step divides by the smallest eps after
    # the gradient has fallen from there to nothing, the equation itself leaves the dtype.
    assert np.isfinite(updates).all(), transform


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(data=st.data())
@settings(max_examples=120)
def test_rates_beyond_all_reason_overflow_where_the_equation_does_and_give_no_nan(dtype, data):
    transform = data.draw(optimizers(wild))
    updates, memory = walk(transform, data.draw(gradients(dtype)))
    assert not np.isnan(updates).any(), transform
    assert all(np.isfinite(leaf).all() for leaf in tree.leaves(memory)), transform


ADAPTIVE = [
    lambda **o: fnn.adam(0.1, **o),
    lambda **o: fnn.adamw(0.1, weight_decay=0.0, **o),
    lambda **o: fnn.scale_by_adam(**o),
    lambda **o: fnn.rmsprop(0.1, o["b2"], eps=o["eps"]),
    lambda **o: fnn.scale_by_rms(o["b2"], eps=o["eps"]),
    lambda **o: fnn.adagrad(0.1, eps=o["eps"]),
    lambda **o: fnn.nadam(0.1, **o),
    lambda **o: fnn.amsgrad(0.1, **o),
    lambda **o: fnn.yogi(0.1, **o),
]


@pytest.mark.parametrize("make", ADAPTIVE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_zero_gradient_moves_nothing_under_the_most_extreme_options(make, dtype):
    updates, _ = walk(make(b2=LAST, eps=EPS), [{"w": np.zeros(3, dtype)}] * 3)
    assert not updates.any()


@pytest.mark.parametrize("make", ADAPTIVE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_gradient_whose_square_overflows_steps_as_any_large_one_does(make, dtype):
    most, transform = np.finfo(dtype).max, make(b2=0.9, eps=1e-8)
    large, _ = walk(transform, [{"w": np.array([1e10, -1e10], dtype)}])
    huge, _ = walk(transform, [{"w": np.array([most, -most], dtype)}])
    np.testing.assert_allclose(huge, large, rtol=1e-5)
    after, _ = walk(transform, [{"w": np.array([most, 0], dtype)}, {"w": np.ones(2, dtype)}])
    assert np.isfinite(after).all()
    # The entry beside it keeps every bit.
    alone, _ = walk(transform, [{"w": np.zeros(1, dtype)}, {"w": np.ones(1, dtype)}])
    assert after[:, 1:].tolist() == alone.tolist()


@pytest.mark.parametrize("make", [fnn.sgd, fnn.momentum, fnn.rmsprop, fnn.adagrad, fnn.adam])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_gradient_that_is_not_finite_is_left_for_the_loop_to_report(make, bad):
    params = {"w": np.ones(3, "float32")}
    grads = {"w": np.array([1, bad, np.finfo("float32").max], "float32")}
    moved, _ = run(make(0.1), params, [grads])
    assert not np.isfinite(moved["w"][1])


def test_the_vector_of_a_jitted_step_is_capped_as_the_leaves_are():
    net = fnn.serial(fnn.Dense(3), fnn.Dense(2))
    x, y = np.full((4, 3), 3e12, np.float32), np.full((4, 2), 1e10, np.float32)
    for optimizer in (fnn.adam(1e-3), fnn.momentum(1e-30), fnn.rmsprop(1e-3), fnn.adagrad(1e-3)):
        step = fnn.train_step(net, fnn.squared_error, optimizer)
        now = fnn.init_train_state(net, optimizer, (3,), fnn.Key.of(0))
        plain, _ = step(now, (x, y))
        quick, _ = fnn.jit(step)(now, (x, y))
        assert same_bits(plain.params, quick.params)
        assert same_bits(plain.opt_state, quick.opt_state)


def test_a_scan_caps_its_memory_as_single_steps_do():
    net = fnn.serial(fnn.Dense(2, bias=False))
    x, y = np.full((4, 3), 1e10, np.float32), np.full((4, 2), 3e8, np.float32)
    for optimizer in (fnn.adagrad(1e-20), fnn.momentum(1e-30, 0.999), fnn.yogi(1e-20, b2=0.0)):
        step = fnn.train_step(net, fnn.squared_error, optimizer)
        now = first = fnn.init_train_state(net, optimizer, (3,), fnn.Key.of(0))
        for _ in range(6):
            now, _ = step(now, (x, y))
        assert all(np.isfinite(leaf).all() for leaf in tree.leaves(now.opt_state))
        folded, _ = fnn.scan(step, first, [(x, y)] * 6)
        assert same_bits(folded.opt_state, now.opt_state)


@pytest.mark.parametrize("rate", [3.5e38, 1e300, 1.7e308])
def test_a_rate_that_is_infinite_in_float32_is_refused(rate):
    for make in (fnn.sgd, fnn.momentum, fnn.adam, fnn.rmsprop, fnn.adagrad, fnn.add_decayed_weights):
        with pytest.raises(OptionError, match=r"expected a number in \[0.0, 3.4e\+38\)"):
            make(rate)
