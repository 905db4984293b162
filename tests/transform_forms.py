"""Closed forms of transforms as their papers have them, for single leaves."""

from __future__ import annotations

import numpy as np
from closed_forms import at, steps_of, weighted_sum

import fnn
from fnn import tree

# --- means ----------------------------------------------------------------------------------


def means(memory, g, b1, b2):
    """Return (1 - b) Σ bᵏ of g and of g²."""
    m = (1 - b1) * weighted_sum(memory, "m", g, b1)
    return m, (1 - b2) * weighted_sum(memory, "v", g**2, b2)


def nadam(rate, b1, b2, eps, psi=0.004):
    def direction(p, g, memory, step):
        n = step + 1
        mus = [b1 * (1 - 0.5 * 0.96 ** (i * psi)) for i in range(1, n + 2)]
        m, v = means(memory, g, b1, b2)
        ahead = m * mus[n] / (1 - np.prod(mus)) + g * (1 - mus[n - 1]) / (1 - np.prod(mus[:n]))
        return -at(rate, step) * ahead / (np.sqrt(v / (1 - b2**n)) + eps)

    return steps_of(direction)


def radam(sign, b1, b2, eps):
    def direction(p, g, memory, step):
        n, (m, v) = step + 1, means(memory, g, b1, b2)
        most = 2 / (1 - b2) - 1
        rho = most - 2 * n * b2**n / (1 - b2**n)
        m = m / (1 - b1**n)
        if rho <= 5:
            return sign(step) * m
        r = np.sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho))
        return sign(step) * r * m * np.sqrt(1 - b2**n) / (np.sqrt(v) + eps)

    return steps_of(direction)


def amsgrad(sign, b1, b2, eps):
    def direction(p, g, memory, step):
        n, (m, v) = step + 1, means(memory, g, b1, b2)
        memory.setdefault("all", []).append(v)
        largest = np.max(memory["all"], axis=0)
        return sign(step) * m / (1 - b1**n) / (np.sqrt(largest / (1 - b2**n)) + eps)

    return steps_of(direction)


def adamax(sign, b1, b2, eps):
    def direction(p, g, memory, step):
        m = (1 - b1) * weighted_sum(memory, "m", g, b1)
        past = memory.setdefault("g", [])
        past.append(np.abs(g) + eps)
        faded = [b2**k * each for k, each in enumerate(reversed(past))]
        return sign(step) * m / (1 - b1 ** (step + 1)) / np.max(faded, axis=0)

    return steps_of(direction)


def adabelief(sign, b1, b2, eps):
    def direction(p, g, memory, step):
        n = step + 1
        m = (1 - b1) * weighted_sum(memory, "m", g, b1)
        s = weighted_sum(memory, "s", (1 - b2) * (g - m) ** 2 + eps, b2)
        return sign(step) * m / (1 - b1**n) / (np.sqrt(s / (1 - b2**n)) + eps)

    return steps_of(direction)


def yogi(sign, b1, b2, eps):
    def direction(p, g, memory, step):
        m = (1 - b1) * weighted_sum(memory, "m", g, b1)
        v = memory.get("v", 0.0)
        memory["v"] = v - (1 - b2) * np.sign(v - g**2) * g**2
        return sign(step) * m / (np.sqrt(memory["v"]) + eps)

    return steps_of(direction)


def adadelta(sign, decay, eps):
    def direction(p, g, memory, step):
        s = (1 - decay) * weighted_sum(memory, "s", g**2, decay)
        moved = g * np.sqrt(memory.get("e", 0.0) + eps) / np.sqrt(s + eps)
        memory["e"] = (1 - decay) * weighted_sum(memory, "d", moved**2, decay)
        return sign(step) * moved

    return steps_of(direction)


# --- signs ----------------------------------------------------------------------------------


def lion(sign, b1, b2, weight_decay=0.0):
    def direction(p, g, memory, step):
        m = memory.get("m", np.zeros_like(g))
        memory["m"] = (1 - b2) * weighted_sum(memory, "g", g, b2)
        return sign(step) * (np.sign(b1 * m + (1 - b1) * g) + weight_decay * p)

    return steps_of(direction)


def rprop(rate, shrink=0.5, grow=1.2, least=1e-6, most=50.0):
    def direction(p, g, memory, step):
        last, size = memory.get("last", np.zeros_like(g)), memory.get("size", np.full_like(g, rate))
        moved, kept = np.empty_like(g), g.copy()
        for i in np.ndindex(g.shape):
            turn = np.sign(g[i] * last[i])
            size[i] = min(max(size[i] * {1: grow, -1: shrink, 0: 1.0}[int(turn)], least), most)
            kept[i] = 0.0 if turn < 0 else g[i]
            moved[i] = -size[i] * np.sign(kept[i])
        memory |= {"last": kept, "size": size}
        return moved

    return steps_of(direction)


# --- leaves ---------------------------------------------------------------------------------


def norm(x):
    return np.sqrt(np.sum(np.asarray(x) ** 2))


def rms(x):
    return np.sqrt(np.mean(np.asarray(x) ** 2))


def trust(weight):
    return steps_of(lambda p, g, memory, step: g * at(weight, step) * norm(p) / norm(g))


def lamb(rate, b1, b2, eps, weight_decay):
    def direction(p, g, memory, step):
        n, (m, v) = step + 1, means(memory, g, b1, b2)
        r = m / (1 - b1**n) / (np.sqrt(v / (1 - b2**n)) + eps) + weight_decay * p
        return -at(rate, step) * norm(p) / norm(r) * r

    return steps_of(direction)


def lars(rate, decay, weight, weight_decay):
    def direction(p, g, memory, step):
        local = weight * norm(p) / (norm(g) + weight_decay * norm(p))
        return -weighted_sum(memory, "v", at(rate, step) * local * (g + weight_decay * p), decay)

    return steps_of(direction)


def novograd(sign, b1, b2, eps, weight_decay=0.0):
    def direction(p, g, memory, step):
        square = norm(g) ** 2
        s = memory["s"] = b2 * memory.get("s", square) + (1 - b2) * square
        unit = g / (np.sqrt(s) + eps) + weight_decay * p
        return sign(step) * weighted_sum(memory, "m", unit, b1)

    return steps_of(direction)


def mean_squares(memory, g, n, power):
    newest = n**-power
    keep = 1 - newest
    if g.ndim < 2:
        memory["v"] = keep * memory.get("v", 0.0) + newest * g**2
        return memory["v"]
    rows = memory["r"] = keep * memory.get("r", 0.0) + newest * np.mean(g**2, axis=-1)
    columns = memory["c"] = keep * memory.get("c", 0.0) + newest * np.mean(g**2, axis=-2)
    return np.einsum("...i,...j->...ij", rows, columns) / np.mean(rows, axis=-1)[..., None, None]


def adafactor(rate, power=0.8, eps=2.0**-52, least=1e-3, most=1.0, weight_decay=0.0):
    def direction(p, g, memory, step):
        n = float(step + 1)
        d = g / np.sqrt(np.maximum(mean_squares(memory, g, n, power), eps**2))
        d = d / max(1.0, rms(d) / most)
        share = min(at(rate, step), n**-0.5) * max(least, rms(p))
        return -share * d - at(rate, step) * weight_decay * p

    return steps_of(direction)


def factored(power):
    return steps_of(
        lambda p, g, memory, step: g / np.sqrt(mean_squares(memory, g, float(step + 1), power))
    )


def from_zeros(closed):
    """Return the closed form with the first memory, to which the first step gives no weight."""

    def first_steps(params, grads):
        memory = {"row": {}, "column": {}, "square": {}}
        for name, leaf in params.items():
            if isinstance(leaf, dict):
                n_in, n_out = leaf["w"].shape
                memory["row"][name] = {"w": np.zeros((n_in, 1))}
                memory["column"][name] = {"w": np.zeros((1, n_out))}
                memory["square"] |= {name: {"b": np.zeros(n_out)}} if "b" in leaf else {}
            else:
                memory["square"][name] = np.zeros(())
        return [(params, memory), *closed(params, grads)]

    return first_steps


def sm3(sign, decay, eps):
    def direction(p, g, memory, step):
        axes = [memory.setdefault(k, np.zeros(n)) for k, n in enumerate(g.shape)]
        if not axes:
            axes = [memory.setdefault(0, np.zeros(1))]
        s, new = np.empty_like(g), [np.zeros_like(axis) for axis in axes]
        for place in np.ndindex(g.shape):
            along = place or (0,)
            s[place] = min(axis[i] for axis, i in zip(axes, along, strict=True)) + g[place] ** 2
            for axis, i in zip(new, along, strict=True):
                axis[i] = max(axis[i], s[place])
        memory |= dict(enumerate(new))
        return sign(step) * (1 - decay) * weighted_sum(memory, "m", g / (np.sqrt(s) + eps), decay)

    return steps_of(direction)


def newton_schulz(x, steps, a=3.4445, b=-4.7750, c=2.0315):
    """Return the quintic's iterates by the singular values: each goes its own way."""
    u, s, v = np.linalg.svd(x, full_matrices=False)
    s = s / np.linalg.norm(s)
    for _ in range(steps):
        s = a * s + b * s**3 + c * s**5
    return u @ np.diag(s) @ v


def muon(sign, decay=0.95, nesterov=True, steps=5, weight_decay=0.0, b1=0.9, b2=0.999):
    def direction(p, g, memory, step):
        n = step + 1
        if g.ndim == 2:
            m = (1 - decay) * weighted_sum(memory, "m", g, decay)
            x = decay * m + (1 - decay) * g if nesterov else m
            moved = np.sqrt(max(1, g.shape[1] / g.shape[0])) * newton_schulz(x, steps)
        else:
            m, v = means(memory, g, b1, b2)
            moved = m / (1 - b1**n) / (np.sqrt(v / (1 - b2**n)) + 1e-8)
        return sign(step) * (moved + weight_decay * p)

    return steps_of(direction)


def units(x):
    """Return the norm of every unit: a column of a matrix, all of anything smaller."""
    return np.sqrt(np.sum(x**2, axis=0, keepdims=True)) if x.ndim == 2 else norm(x)


def unit_clipped(most, eps):
    def direction(p, g, memory, step):
        return g * np.minimum(1.0, at(most, step) * np.maximum(units(p), eps) / units(g))

    return steps_of(direction)


# --- parts and wholes -----------------------------------------------------------------------


def in_parts(kept, one, other):
    """Return the closed form of `one` at the paths that are kept, and of `other` elsewhere."""

    def first_steps(params, grads):
        pairs = zip(one(params, grads), other(params, grads), strict=True)
        return [
            tree.update(b, {path: leaf for path, leaf in tree.items(a) if kept(path)}) for a, b in pairs
        ]

    return first_steps


PASS = steps_of(lambda p, g, memory, step: g)


def in_first(path):
    return path.startswith("dense_0/")


def is_matrix(path, leaf):
    return leaf.ndim == 2


def label_of(path, leaf):
    return "matrix" if leaf.ndim == 2 else "rest"


def every_other(closed, n):
    """Return the closed form over the means of n gradients each."""

    def first_steps(params, grads):
        means = [
            tree.map(lambda *g: np.sum(g, axis=0) / n, *grads[i : i + n])
            for i in range(0, len(grads) - n + 1, n)
        ]
        points = [params, *closed(params, means)]
        return [points[(i + 1) // n] for i in range(len(grads))]

    return first_steps


def looking_ahead(direction, n, alpha):
    """Return the closed form of SGD-like steps, p + direction(g, step), that go back now and then."""

    def first_steps(params, grads):
        slow, points = params, []
        for step, grad in enumerate(grads):
            params = tree.map(lambda p, g, step=step: p + direction(g, step), params, grad)
            if (step + 1) % n == 0:
                slow = params = tree.map(lambda s, p: (1 - alpha) * s + alpha * p, slow, params)
            points.append(params)
        return points

    return first_steps


def averaged(closed, decay, place=("average",)):
    """Return parameters and their averages, as weighted sums over all points."""

    def first_steps(params, grads):
        points, found = [params, *closed(params, grads)], []
        for n in range(1, len(points)):
            weights = [decay**n, *((1 - decay) * decay ** (n - i) for i in range(1, n + 1))]

            def mean(*leaves, weights=weights):
                return sum(w * leaf for w, leaf in zip(weights, leaves, strict=True))

            memory = tree.map(mean, *points[: n + 1])
            for name in reversed(place):
                memory = {name: memory}
            found.append((points[n], memory))
        return found

    return first_steps


NOISE = fnn.Key.of(7)


def noisy(deviation):
    def first_steps(params, grads):
        points = []
        for step, grad in enumerate(grads):
            moved = {}
            for path, g in tree.items(grad):
                key = NOISE.fold("add_noise", step, *path.split("/"))
                drawn = key.generator().standard_normal(g.shape)
                moved[path] = tree.get(params, path) + g + at(deviation, step) * drawn
            params = tree.update(params, moved)
            points.append(params)
        return points

    return first_steps
