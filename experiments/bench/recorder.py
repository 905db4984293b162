"""A dense network's step as a list of NumPy calls, made once: every array they write to is there.

Parameters and gradients lie in one vector each, activations and derivatives in place where they can.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

ONE = np.float32(1)
Call = Callable[[], Any]


class Recorder:
    """Writes down the calls of one step on a batch; further batches write to the same arrays."""

    def __init__(self, batch: int) -> None:
        self.ones = np.ones(batch, np.float32)
        self.kept: list[Any] = []
        self.calls: list[Call] = []
        self.at = 0

    def begin(self) -> None:
        """Start a new list."""
        self.calls, self.at = [], 0

    def do(self, f: Callable[..., Any], *args: Any, **options: Any) -> None:
        """Write down a call."""
        self.calls.append(partial(f, *args, **options))

    def room(self, *shape: int) -> Any:
        """Return the next array to write to, the same in every list."""
        self.at += 1
        if self.at > len(self.kept):
            self.kept.append(np.zeros(shape, np.float32))
        return self.kept[self.at - 1]

    def means(self, x: Any) -> Any:
        """Return the means of the columns."""
        out = self.room(x.shape[1])
        self.do(np.matmul, self.ones, x, out)
        self.do(np.multiply, out, np.float32(1 / len(x)), out)
        return out

    def dense(self, x: Any, p: Any, g: Any, need_dx: bool) -> Any:
        """y = x w + b; returns y and what writes down the way back."""
        y = self.room(len(x), p["w"].shape[1])
        dx = self.room(*x.shape) if need_dx else None
        self.do(np.matmul, x, p["w"], y)
        self.do(np.add, y, p["b"], y)

        def back(dy: Any) -> Any:
            self.do(np.matmul, x.T, dy, g["w"])
            self.do(np.matmul, self.ones, dy, g["b"])
            if need_dx:
                self.do(np.matmul, dy, p["w"].T, dx)
            return dx

        return y, back

    def sigmoid(self, x: Any, p: Any, g: Any, need_dx: bool) -> Any:
        """y = 1 / (1 + exp(-x))."""
        slope = self.room(*x.shape)
        self.do(np.negative, x, x)
        self.do(np.exp, x, x)
        self.do(np.add, x, ONE, x)
        self.do(np.reciprocal, x, x)

        def back(dy: Any) -> Any:
            self.do(np.subtract, ONE, x, slope)
            self.do(np.multiply, slope, x, slope)
            self.do(np.multiply, dy, slope, dy)
            return dy

        return x, back

    def relu(self, x: Any, p: Any, g: Any, need_dx: bool) -> Any:
        """y = max(x, 0)."""
        positive = np.empty(x.shape, bool)
        self.do(np.maximum, x, np.float32(0), out=x)

        def back(dy: Any) -> Any:
            self.do(np.greater, x, np.float32(0), positive)
            self.do(np.multiply, dy, positive, dy)
            return dy

        return x, back

    def bn(self, x: Any, p: Any, g: Any, need_dx: bool) -> Any:
        """y = scale (x - mean) / √(var + eps) + shift; the running moments move too."""
        n, mean = len(x), self.means(x)
        running_mean, running_var = self.room(x.shape[1]), self.room(x.shape[1])
        y, inv, factor, some = (self.room(*s) for s in (x.shape, *[(x.shape[1],)] * 3))
        self.do(np.subtract, x, mean, x)
        self.do(np.multiply, x, x, y)
        var = self.means(y)
        for moved, batch, share in ((running_mean, mean, 0.1), (running_var, var, 0.1 * n / (n - 1))):
            self.do(np.multiply, moved, np.float32(0.9), moved)
            self.do(np.multiply, batch, np.float32(share), some)
            self.do(np.add, moved, some, moved)
        self.do(np.add, var, np.float32(1e-5), inv)
        self.do(np.sqrt, inv, inv)
        self.do(np.reciprocal, inv, inv)
        self.do(np.multiply, p["scale"], inv, factor)
        self.do(np.multiply, x, factor, y)
        self.do(np.add, y, p["shift"], y)

        def back(dy: Any) -> Any:
            spare = self.room(*x.shape)
            self.do(np.multiply, dy, x, spare)
            self.do(np.matmul, self.ones, spare, g["scale"])
            self.do(np.multiply, g["scale"], inv, g["scale"])
            self.do(np.matmul, self.ones, dy, g["shift"])
            # dx = factor (dy - mean dy - x inv² mean(x dy)), of which inv mean(x dy) is dscale / n.
            self.do(np.multiply, g["scale"], inv, some)
            self.do(np.multiply, some, np.float32(1 / n), some)
            self.do(np.multiply, x, some, spare)
            self.do(np.subtract, dy, spare, dy)
            self.do(np.multiply, g["shift"], np.float32(1 / n), some)
            self.do(np.subtract, dy, some, dy)
            self.do(np.multiply, dy, factor, dy)
            return dy

        return y, back
