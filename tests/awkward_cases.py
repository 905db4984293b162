"""Layers that are right, though an honest check finds them awkward: sharp, narrow, deep, implicit."""

from __future__ import annotations

import numpy as np

import fnn
from fnn import Traits


def normal(key, name, shape, size=1.0):
    return (size * key.fold(name).generator().normal(size=shape)).astype("float32")


# --- deep and sharp -------------------------------------------------------------------------


def deep_residual(blocks=30):
    return fnn.serial(
        *(fnn.residual(fnn.Dense(8), fnn.Tanh(), fnn.Dense(8)) for _ in range(blocks)), fnn.Dense(2)
    )


def sine(omega=30.0):
    """Sitzmann et al. (2020): y = sin(ω x)."""
    return fnn.elementwise(
        "sine", lambda x: np.sin(omega * x), lambda x, y, dy: dy * omega * np.cos(omega * x)
    )


def siren():
    return fnn.serial(fnn.Dense(16), sine(), fnn.Dense(16), sine(), fnn.Dense(1))


def steep_tanh(slope, **options):
    def f(x):
        return np.tanh(slope * x)

    def f_vjp(x, y, dy):
        return dy * slope * (1 - y * y)

    return fnn.elementwise("steep_tanh", f, f_vjp, **options)


def steep_softplus(slope):
    """y = log(1 + exp(s x)) / s, a ReLU with its corner rounded off."""

    def f(x):
        z = slope * x
        m = np.where(z.real > 0, z, 0)
        return (m + np.log(np.exp(z - m) + np.exp(-m))) / slope

    def f_vjp(x, y, dy):
        return dy / (1 + np.exp(-slope * x))

    return fnn.elementwise("steep_softplus", f, f_vjp)


def chirp(rate=40.0):
    """y = sin(r x²): the farther out, the faster."""
    return fnn.elementwise(
        "chirp",
        lambda x: np.sin(rate * x * x),
        lambda x, y, dy: dy * 2 * rate * x * np.cos(rate * x * x),
    )


# --- narrow ---------------------------------------------------------------------------------


def row_layer(name, forward, backward, **options):
    def init(key, in_shape):
        return in_shape, {}, {}

    def fwd(params, state, x, train, key):
        y, saved = forward(x)
        return y, state, lambda dy: ({}, backward(saved, dy))

    return fnn.make_layer(name, init, fwd, **options)


def l2_normalised():
    """y = x / sqrt(Σ x²) over the last axis; of one feature ±1."""

    def forward(x):
        r = np.sqrt((x * x).sum(axis=-1, keepdims=True))
        return x / r, (x / r, r)

    def backward(saved, dy):
        y, r = saved
        return (dy - y * (dy * y).sum(axis=-1, keepdims=True)) / r

    return row_layer("l2_normalised", forward, backward)


def layer_norm(eps=1e-5):
    """y = (x - mean) / sqrt(var + ε) over the last axis; of two features nearly ±1."""

    def forward(x):
        c = x - x.mean(axis=-1, keepdims=True)
        inv = 1 / np.sqrt((c * c).mean(axis=-1, keepdims=True) + eps)
        return c * inv, (c * inv, inv)

    def backward(saved, dy):
        z, inv = saved
        mean = dy.mean(axis=-1, keepdims=True)
        return inv * (dy - mean - z * (dy * z).mean(axis=-1, keepdims=True))

    return row_layer("layer_norm", forward, backward)


# --- implicit -------------------------------------------------------------------------------


def fixed_point(tolerance=1e-13, complex_safe=True):
    """z = tanh(z W + x), iterated until it stands still; its gradient by the implicit function."""

    def init(key, in_shape):
        n = in_shape[0]
        return in_shape, {"w": normal(key, "w", (n, n), 0.3 / np.sqrt(n))}, {}

    def fwd(params, state, x, train, key):
        w, z = params["w"], np.zeros_like(x + 0 * params["w"][0])
        for _ in range(500):
            new = np.tanh(z @ w + x)
            done = np.abs(new - z).max(initial=0) <= max(tolerance, 4 * np.finfo(x.dtype).eps)
            z = new
            if done:
                break

        def pullback(dy):
            slope = 1 - z * z
            u = np.empty_like(z * dy)
            for i in range(len(x)):
                # u = dy + (u ∘ slope) Wᵀ
                a = np.eye(x.shape[1]) - w * slope[i]
                u[i] = np.linalg.solve(a.astype(u.dtype), dy[i])
            du = (u * slope).astype(np.result_type(x, dy))
            return {"w": z.T @ du}, du

        return z.astype(np.result_type(x, w)), state, pullback

    return fnn.make_layer("fixed_point", init, fwd, traits=Traits(complex_safe=complex_safe))


# --- recurrent ------------------------------------------------------------------------------


def lstm(width=3, zeros=lambda x, w: x.dtype, back="both", traits=None):
    """A whole LSTM (Hochreiter & Schmidhuber, 1997) over axis 1, that writes into arrays.

    `zeros` chooses the dtype of what it writes forward, `back` what that of the way back is taken
    from: "both" parameters and dy, "dy" alone, or each gradient's own "params".
    """

    def init(key, in_shape):
        steps, n = in_shape
        params = {
            "w": normal(key, "w", (n, 4 * width), 0.5),
            "u": normal(key, "u", (width, 4 * width), 0.5),
            "b": normal(key, "b", (4 * width,), 0.1),
        }
        return (steps, width), params, {}

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    def fwd(params, state, x, train, key):
        w, u, b = params["w"], params["u"], params["b"]
        n, steps, _ = x.shape
        dtype = zeros(x, w)
        h, c = np.zeros((n, width), dtype), np.zeros((n, width), dtype)
        hs, saved = np.zeros((n, steps, width), dtype), []
        for t in range(steps):
            z = x[:, t] @ w + h @ u + b
            i, f, g, o = np.split(z, 4, axis=1)
            i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
            new = f * c + i * g
            saved.append((h.copy(), c.copy(), i, f, g, o, np.tanh(new)))
            c[...] = new
            h[...] = o * np.tanh(new)
            hs[:, t] = h

        def pullback(dy):
            own = {"both": np.result_type(w, dy), "dy": dy.dtype, "params": w.dtype}[back]
            dw, du, db = (np.zeros(a.shape, own) for a in (w, u, b))
            dx = np.zeros(x.shape, own if back == "both" else dy.dtype)
            dh, dc = (np.zeros((n, width), dx.dtype) for _ in range(2))
            for t in reversed(range(steps)):
                h_, c_, i, f, g, o, tc = saved[t]
                dh += dy[:, t]
                do = dh * tc
                dc += dh * o * (1 - tc * tc)
                gates = (
                    dc * g * i * (1 - i),
                    dc * c_ * f * (1 - f),
                    dc * i * (1 - g * g),
                    do * o * (1 - o),
                )
                dz = np.concatenate(gates, axis=1)
                dw += x[:, t].T @ dz
                du += h_.T @ dz
                db += dz.sum(axis=0)
                dx[:, t] = dz @ w.T
                dh = dz @ u.T
                dc = dc * f
            return {"w": dw, "u": du, "b": db}, dx

        return hs, state, pullback

    return fnn.make_layer("lstm", init, fwd, traits=traits or Traits())
