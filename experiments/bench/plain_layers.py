"""Layers of the straightforward NumPy version: forward and backward, im2col, arrays made anew."""

from __future__ import annotations

from typing import Any

import numpy as np


class Dense:
    """y = x w + b."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params
        self.grads: dict[str, Any] = {}

    def forward(self, x: Any) -> Any:
        """Return y."""
        self.x = x
        return x @ self.params["w"] + self.params["b"]

    def backward(self, dy: Any) -> Any:
        """Return dx."""
        self.grads = {"w": self.x.T @ dy, "b": dy.sum(axis=0)}
        return dy @ self.params["w"].T


class Conv:
    """Convolution as one product of the windows with the kernels."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params
        self.grads: dict[str, Any] = {}

    def forward(self, x: Any) -> Any:
        """Return y."""
        w, self.shape = self.params["w"], x.shape
        self.windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))
        y = np.tensordot(self.windows, w, axes=((1, 4, 5), (1, 2, 3)))
        return y.transpose(0, 3, 1, 2) + self.params["b"][:, None, None]

    def backward(self, dy: Any) -> Any:
        """Return dx."""
        w, (_, _, h, v) = self.params["w"], dy.shape
        dw = np.tensordot(dy, self.windows, axes=((0, 2, 3), (0, 2, 3)))
        self.grads = {"w": dw, "b": dy.sum(axis=(0, 2, 3))}
        dx = np.zeros(self.shape, dy.dtype)
        for i in range(w.shape[2]):
            for j in range(w.shape[3]):
                part = np.tensordot(dy, w[:, :, i, j], axes=((1,), (0,)))
                dx[:, :, i : i + h, j : j + v] += part.transpose(0, 3, 1, 2)
        return dx


class Pool:
    """Maximum of windows that do not overlap."""

    def __init__(self, size: int) -> None:
        self.size = size

    def forward(self, x: Any) -> Any:
        """Return y."""
        n, c, h, w = self.shape = x.shape
        k = self.size
        cut = x.reshape(n, c, h // k, k, w // k, k).transpose(0, 1, 2, 4, 3, 5)
        windows = cut.reshape(n, c, h // k, w // k, k * k)
        self.best = windows.argmax(axis=-1)[..., None]
        return np.take_along_axis(windows, self.best, axis=-1)[..., 0]

    def backward(self, dy: Any) -> Any:
        """Return dx."""
        k = self.size
        windows = np.zeros((*dy.shape, k * k), dy.dtype)
        np.put_along_axis(windows, self.best, dy[..., None], axis=-1)
        cut = windows.reshape(*dy.shape, k, k).transpose(0, 1, 2, 4, 3, 5)
        return cut.reshape(self.shape)


class BatchNorm:
    """Standardisation over the batch, with running moments."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params
        self.grads: dict[str, Any] = {}
        self.mean, self.var = np.zeros_like(params["scale"]), np.ones_like(params["scale"])

    def forward(self, x: Any) -> Any:
        """Return y."""
        mean, var, n = x.mean(axis=0), x.var(axis=0), len(x)
        self.inv = 1 / np.sqrt(var + 1e-5)
        self.z = (x - mean) * self.inv
        self.mean = 0.9 * self.mean + 0.1 * mean
        self.var = 0.9 * self.var + 0.1 * var * n / (n - 1)
        return self.params["scale"] * self.z + self.params["shift"]

    def backward(self, dy: Any) -> Any:
        """Return dx."""
        self.grads = {"scale": (dy * self.z).sum(axis=0), "shift": dy.sum(axis=0)}
        dz = dy * self.params["scale"]
        return self.inv * (dz - dz.mean(axis=0) - self.z * (dz * self.z).mean(axis=0))


class Relu:
    """max(x, 0)."""

    def forward(self, x: Any) -> Any:
        """Return y."""
        self.positive = x > 0
        return np.maximum(x, 0)

    def backward(self, dy: Any) -> Any:
        """Return dx."""
        return dy * self.positive


class Sigmoid:
    """1 / (1 + exp(-x))."""

    def forward(self, x: Any) -> Any:
        """Return y."""
        self.y = 1 / (1 + np.exp(-x))
        return self.y

    def backward(self, dy: Any) -> Any:
        """Return dx."""
        return dy * self.y * (1 - self.y)


class Flatten:
    """(batch, everything else)."""

    def forward(self, x: Any) -> Any:
        """Return y."""
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy: Any) -> Any:
        """Return dx."""
        return dy.reshape(self.shape)
