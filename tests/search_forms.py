"""Closed forms of transforms that ask for the loss elsewhere.

It is a bowl, as in the laws, whose gradient at p + d is g + c d.
"""

from __future__ import annotations

import numpy as np
from closed_forms import at
from transform_forms import norm

from fnn import tree


def bends(leaf):
    """Return c, which is 1, 2, 3, 1, 2, … in every leaf."""
    return (np.arange(np.size(leaf)) % 3 + 1.0).reshape(np.shape(leaf))


def uphill(rho, then=lambda g, step: g):
    def first_steps(params, grads):
        points = []
        for step, grad in enumerate(grads):
            length = norm([norm(leaf) for leaf in tree.leaves(grad)])
            far = at(rho, step) / length
            params = tree.map(
                lambda p, g, far=far, s=step: p + then(g + bends(g) * far * g, s), params, grad
            )
            points.append(params)
        return points

    return first_steps


def inverse_hessian(pairs, size):
    """Return H as a matrix, by the update of BFGS from s·y / y·y of the newest pair."""
    if not pairs:
        return np.eye(size)
    s, y = pairs[-1]
    h = np.eye(size) * (s @ y) / (y @ y)
    for s, y in pairs:
        v = np.eye(size) - np.outer(y, s) / (s @ y)
        h = v.T @ h @ v + np.outer(s, s) / (s @ y)
    return h


def bfgs(most, decrease=1e-4, curvature=0.9):
    """Return quasi-Newton steps by matrices, and their pairs."""

    def first_steps(params, grads):
        pairs, points = [], []
        for grad in grads:
            g, _ = tree.ravel(grad)
            d = -inverse_hessian(pairs, g.size) @ g
            c, _ = tree.ravel(tree.map(bends, grad))
            slope, bend = g @ d, d @ (c * d)
            t, low, high = 1.0 if pairs else min(1.0, 1 / np.abs(g).sum()), 0.0, np.inf
            while True:
                if t * slope + 0.5 * t**2 * bend > decrease * t * slope:
                    high = t
                elif slope + t * bend < curvature * slope:
                    low = t
                else:
                    break
                t = 2 * t if high == np.inf else (low + high) / 2
            pairs = [*pairs, (t * d, t * c * d)][-most:]
            point, unravel = tree.ravel(params)
            params = unravel(point + t * d)
            empty = np.zeros((most - len(pairs), g.size))
            s, y = (np.vstack([empty, *(pair[i][None] for pair in pairs)]) for i in (0, 1))
            points.append((params, {"change": y, "step": s}))
        return points

    return first_steps
