"""What the page is answered: probabilities, pictures of layers, texts; all as JSON takes it."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from fnn import tree
from fnn.demo.asking import MOST_STEPS, Question
from fnn.demo.moments import Moment
from fnn.demo.strokes import drawn
from fnn.demo.subject import Subject
from fnn.demo.watching import Seen, outcome, seen
from fnn.errors import DataError
from fnn.keys import Key
from fnn.training.generation import generate
from fnn.tree import Array

MOST_LAYERS, MOST_MAPS, MOST_PIXELS, MOST_UNITS = 40, 32, 4096, 1024
"""How many layers are shown, maps of each, pixels of a map, and numbers of a vector."""
_LIKELIEST, _EFFECTS = 16, 10


def described(subject: Subject) -> dict[str, Any]:
    """Return what the page has to know before anything is tried."""
    return {
        "title": subject.title,
        "source": subject.source,
        "kind": subject.kind,
        "outputs": subject.outputs,
        "network": repr(subject.net)[:2000],
        "parameters": subject.parameters,
        "moments": [each.label for each in subject.moments],
        "classes": _classes(subject),
        "side": subject.side if subject.kind == "drawing" else None,
        "steps": MOST_STEPS,
        "window": subject.in_shape[0] if subject.kind == "text" else None,
        "fields": [
            {"name": each.name, "mean": each.mean, "std": each.std, "choices": list(each.choices)}
            for each in subject.fields
        ],
        "target": subject.target[0],
        "beginning": _beginning(subject),
    }


def _beginning(subject: Subject) -> str:
    """Return what a text may begin with, in characters that the network knows."""
    known = "" if subject.codec is None else subject.codec.characters
    return "".join(each for each in "What would you have, " if each in known)


def answer(subject: Subject, question: Question) -> dict[str, Any]:
    """Return what the network says.

    Raises:
        QuestionError: If the question is none that this network can be asked.
        DataError: If its outputs are not finite.
    """
    last = len(subject.moments) - 1
    moment = subject.moments[question.integer("moment", last, 0, last)]
    by_kind = {"drawing": _drawing, "text": _text, "numbers": _numbers}
    return by_kind[subject.kind](subject, moment, question)


# --- drawings


def _drawing(subject: Subject, moment: Moment, question: Question) -> dict[str, Any]:
    strokes = question.strokes()
    question.end()
    image = drawn(strokes, subject.side, subject.style)
    x = _as_input(subject.brightness * image.reshape(1, *subject.in_shape), moment)
    y, notes = _looked(subject, moment, x)
    found: dict[str, Any] = {"image": _coded(image), "layers": _layers(notes)}
    if subject.outputs == "picture":
        ink = 1 / (1 + np.exp(-np.clip(y[0], -60, 60))) if _beyond(y) else np.clip(y[0], 0, 1)
        return {**found, "picture": _coded(ink.reshape(subject.side, subject.side))}
    heat = outcome(subject.net, moment.params, moment.state, x, subject.outputs)
    if heat is not None:
        found |= {"first": heat.first, "second": heat.second}
        found["heat"] = _coded(heat.heat.reshape(subject.side, subject.side))
    return {**found, "probabilities": _probabilities(subject, y[0])}


def _beyond(y: Array) -> bool:
    """Return whether outputs are logits of ink and no ink."""
    return bool(y.min() < -0.5 or y.max() > 1.5)


# --- numbers


def _numbers(subject: Subject, moment: Moment, question: Question) -> dict[str, Any]:
    x = np.array([question.numbers(subject.in_shape[0])])
    question.end()
    y, notes = _looked(subject, moment, _as_input(x, moment))
    found: dict[str, Any] = {"layers": _layers(notes)}
    if subject.outputs == "values":
        found["values"] = _values(subject, y[0])
    else:
        found["probabilities"] = _probabilities(subject, y[0])
    return {**found, "effects": _effects(subject, moment, x, y)}


def _values(subject: Subject, y: Array) -> list[float]:
    _, mean, std = subject.target
    return [float(each) * std + mean for each in y]


def _effects(subject: Subject, moment: Moment, x: Array, y: Array) -> list[dict[str, Any]]:
    """Return what would change the answer most: an entry alone that is larger, or another choice.

    The answer is the value, the first of several, or the probability of the likeliest class.
    """
    if subject.outputs == "values":
        at = 0
    else:
        at = int(np.argmax(_probabilities(subject, y[0])))
    rows, told, start = [], [], 0
    for field in subject.fields:
        width = len(field.choices) or 1
        for i, choice in enumerate(field.choices or ("",)):
            if field.choices and x[0, start + i] == 1:
                continue
            row = x[0].copy()
            if field.choices:
                row[start : start + width] = np.arange(width) == i
            else:
                row[start] += 1
            rows.append(row)
            step = choice or f"+{field.std:.3g}"
            told.append((field.name, step))
        start += width
    with np.errstate(all="ignore"):
        others, _ = subject.net.apply(moment.params, moment.state, _as_input(np.array(rows), moment))
    if not rows or not np.isfinite(others).all():
        return []
    said = _values if subject.outputs == "values" else _probabilities
    now = said(subject, y[0])[at]
    best: dict[str, dict[str, Any]] = {}
    for (name, step), other in zip(told, others, strict=True):
        change = said(subject, other)[at] - now
        if name not in best or abs(change) > abs(best[name]["change"]):
            best[name] = {"name": name, "step": step, "change": change}
    return sorted(best.values(), key=lambda each: -abs(each["change"]))[:_EFFECTS]


def _classes(subject: Subject) -> list[str]:
    if subject.classes:
        return list(subject.classes)
    if (
        subject.kind == "text"
        or len(subject.out_shape) != 1
        or subject.outputs in ("values", "picture")
    ):
        return []
    n = subject.out_shape[0]
    return ["no", "yes"] if n == 1 else [str(i) for i in range(n)]


def _probabilities(subject: Subject, y: Array) -> list[float]:
    """Return one probability per class; of a single output, those of "no" and of "yes"."""
    y = y.astype(np.float64)
    if subject.outputs == "sigmoid" or (len(y) == 1 and subject.outputs == "logits"):
        y = 1 / (1 + np.exp(-np.clip(y, -500, 500)))
    elif subject.outputs != "probabilities" and (
        (y < 0).any() or not np.isclose(y.sum(), 1, atol=1e-3)
    ):
        y = np.exp(y - y.max())
    y = np.clip(y, 0, None)
    if len(y) == 1:
        y = np.array([1 - min(float(y[0]), 1.0), float(y[0])])
    # Outputs that are probabilities each for itself, too.
    return [float(each) for each in y / max(float(y.sum()), 1e-300)]


# --- texts


def _text(subject: Subject, moment: Moment, question: Question) -> dict[str, Any]:
    text = question.text()
    temperature = question.number("temperature", 0.8, 0, 5)
    steps = question.integer("steps", 0, 0, MOST_STEPS)
    seed = question.integer("seed", 0, 0, 2**31)
    question.end()
    codec = subject.codec
    assert codec is not None
    known = [each for each in text if each in codec.characters]
    unknown = sorted({each for each in text if each not in codec.characters})
    # A network has to be shown something: what comes before the first character is a new line.
    begin = "\n" if "\n" in codec.characters else codec.characters[0]
    window = subject.in_shape[0]
    tokens = codec.encode("".join(known)[-window:] or begin)
    y, notes = _looked(subject, moment, tokens[None])
    scores = y[0, -1].astype(np.float64)
    p = np.zeros(len(scores))
    if temperature == 0:
        p[scores.argmax()] = 1
    else:
        p = np.exp((scores - scores.max()) / temperature)
        p /= p.sum()
    likeliest = np.argsort(-p, kind="stable")[:_LIKELIEST]
    found: dict[str, Any] = {
        "next": [[codec.characters[i], float(p[i])] for i in likeliest],
        "unknown": unknown[:20],
        "layers": _layers([Seen(n.path, n.kind, n.y[:, -1]) for n in notes if n.y.ndim == 3]),
    }
    if steps:
        longer = generate(
            subject.net,
            moment.params,
            moment.state,
            tokens,
            steps=steps,
            key=Key.of(seed).fold("demo", len(known)),
            temperature=temperature,
            window=window,
        )
        found["more"] = codec.decode(longer[len(tokens) :])
    return found


# --- what all share


def _as_input(x: Array, moment: Moment) -> Array:
    return x.astype(next((leaf.dtype for leaf in tree.leaves(moment.params)), np.dtype("float32")))


def _looked(subject: Subject, moment: Moment, x: Array) -> tuple[Array, list[Seen]]:
    y, notes = seen(subject.seeing, moment.params, moment.state, x)
    if not np.isfinite(y).all():
        raise DataError(f"{moment.label}: expected finite outputs; this training has diverged")
    return y, notes


def _layers(notes: list[Seen]) -> list[dict[str, Any]]:
    """Return pictures of what layers gave: maps of images, strips of vectors."""
    found = []
    for note in notes:
        y = note.y[0] if note.y.ndim > 1 else note.y
        if y.dtype.kind not in "fiu" or not y.size:
            continue
        about = {"path": note.path, "kind": note.kind, "shape": list(y.shape)}
        if y.ndim == 3 and y.shape[1] * y.shape[2] <= MOST_PIXELS and y.shape[1] * y.shape[2] > 1:
            found.append({**about, **_coded(y[:MOST_MAPS])})
        elif y.ndim in (1, 3) and max(y.shape[1:], default=1) == 1:
            found.append({**about, **_coded(y.reshape(-1)[:MOST_UNITS])})
    return found[-MOST_LAYERS:]


def _coded(values: Array) -> dict[str, Any]:
    """Return numbers as bytes from -127 to 127 in base64, with their shape and what 127 stands for."""
    values = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    most = float(np.abs(values).max())
    bytes_ = np.rint(values * (127 / most) if most else values).astype(np.int8)
    return {
        "most": most,
        "size": list(values.shape),
        "bytes": base64.b64encode(bytes_.tobytes()).decode("ascii"),
    }
