"""Updates in place, array by array, for the bare step of the convolutional networks."""

from __future__ import annotations

from typing import Any

import numpy as np


class Update:
    """Gradient descent or Adam, in place."""

    def __init__(self, name: str, rate: float) -> None:
        self.name, self.rate, self.t = name, np.float32(rate), 0
        self.memory: list[Any] = []

    def __call__(self, grads: list[Any]) -> None:
        """Move the parameters of (parameter, gradient) pairs."""
        if self.name == "sgd":
            for p, g in grads:
                g *= self.rate
                p -= g
            return
        self.memory = self.memory or [(g * 0, g * 0, g * 0) for _, g in grads]
        self.t += 1
        root = np.sqrt(1 - 0.999**self.t)
        rate, eps = np.float32(self.rate * root / (1 - 0.9**self.t)), np.float32(1e-8 * root)
        for (p, g), (m, v, some) in zip(grads, self.memory, strict=True):
            np.multiply(g, np.float32(0.1), some)
            m *= np.float32(0.9)
            m += some
            np.multiply(g, g, some)
            some *= np.float32(0.001)
            v *= np.float32(0.999)
            v += some
            np.sqrt(v, some)
            some += eps
            np.divide(m, some, some)
            some *= rate
            p -= some
