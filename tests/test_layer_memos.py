"""Layers remember which arrays fit; what they let through once lets nothing else through."""

import numpy as np
import pytest

from fnn import BatchNorm, Conv, Dense, DTypeError, FnnError, Key, TreeError

KEY = Key.of(0)


def used(layer, x):
    """Return the params and the state of a layer that has met x."""
    _, params, state = layer.init(KEY, x.shape[1:])
    for call in (layer.apply, layer.vjp):
        call(params, state, x)
    return params, state


class ArrayLike:
    """What has the shape and the dtype of an array and is none."""

    def __init__(self, array):
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim


@pytest.mark.parametrize("layer", [Conv(2, 3), Dense(2), BatchNorm()], ids=repr)
def test_what_only_looks_like_an_array_raises_also_after_an_array_has_passed(layer):
    x = np.zeros((4, 1, 5), "float32")
    params, state = used(layer, x)
    for call in (layer.apply, layer.vjp):
        with pytest.raises(DTypeError, match="expected an array, got ArrayLike"):
            call(params, state, ArrayLike(x))
        for name in params:
            with pytest.raises(TreeError, match=f"expected an array at {name}, got ArrayLike"):
                call({**params, name: ArrayLike(params[name])}, state, x)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("make", [lambda bias: Conv(2, 3, bias=bias), lambda bias: Dense(2, bias=bias)])
def test_other_params_raise_also_after_their_own_have_passed(make, bias):
    layer, x = make(bias), np.zeros((4, 1, 5), "float32")
    params, state = used(layer, x)
    w, b = params["w"], np.zeros(2, "float32")
    others = [
        {},
        {"b": b},
        {"w": w} if bias else {"w": w, "b": b},
        {**params, "c": b},
        {**params, "w": w.tolist()},
        {**params, "w": w.astype("float64")},
        {**params, "w": w[..., :1]},
        {**params, "w": None},
        [w, b],
    ]
    for other in others:
        for call in (layer.apply, layer.vjp):
            with pytest.raises(FnnError):
                call(other, state, x)
