"""Learn from two inputs, a picture and a vector: its brightness, in units of the vector.

python two_inputs.py
"""
# ruff: noqa: T201

import numpy as np

import fnn


@fnn.constructor
def Both(left, right):
    """Give each of two inputs to a network of its own and lay the results side by side."""

    def init(key, in_shape):
        (out_left, *drawn_left), (out_right, *drawn_right) = (
            layer.init(key.fold(name), shape)
            for name, layer, shape in zip(("left", "right"), (left, right), in_shape, strict=True)
        )
        params, state = ({"left": a, "right": b} for a, b in zip(drawn_left, drawn_right, strict=True))
        return (out_left[0] + out_right[0],), params, state

    def fwd(params, state, x, train, key):
        y, backs, moved = [], {}, {}
        for name, layer, part in zip(("left", "right"), (left, right), x, strict=True):
            own, moved[name], backs[name] = layer.vjp(params[name], state[name], part, train=train)
            y.append(own)

        def pullback(dy):
            cuts = dict(zip(backs, np.split(dy, [y[0].shape[1]], axis=1), strict=True))
            both = {name: back(cuts[name]) for name, back in backs.items()}
            return {name: d for name, (d, _) in both.items()}, tuple(dx for _, dx in both.values())

        return np.concatenate(y, axis=1), moved, pullback

    return fnn.make_layer("both", init, fwd)


def program():
    key = fnn.Key.of(0)
    rng = key.fold("data").generator()
    pictures = rng.random((1200, 1, 8, 8), "float32")
    units = 1 + rng.random((1200, 3), "float32")
    target = pictures.mean(axis=(1, 2, 3))[:, None] / units.mean(axis=1, keepdims=True)
    data, test = fnn.Dataset((pictures, units), target).split(1000)

    seen = fnn.serial(fnn.Conv(4, 3), fnn.Relu(), fnn.GlobalAvgPool())
    read = fnn.serial(fnn.Dense(8), fnn.Tanh())
    net = fnn.serial(Both(seen, read), fnn.Dense(16), fnn.Tanh(), fnn.Dense(1))
    print(fnn.summary(net, data.in_shape))
    options = {"epochs": 60, "batch_size": 50, "key": key, "progress": False}
    fit = fnn.fit(net, fnn.squared_error, fnn.adam(0.01), data, **options)
    error = fnn.evaluate(net, fit.last, test, {"error": fnn.squared_error})["error"]
    spread = float(np.var(test.y))
    print(f"test error {error:.6f}, of a variance of {spread:.6f}: {error / spread:.1%} unexplained")


if __name__ == "__main__":
    program()
