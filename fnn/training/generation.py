"""Sequences continued by a network, one token after the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.errors import DataError, DTypeError, FnnError, ShapeError
from fnn.keys import Key
from fnn.layers.calls import check_key, placed_error
from fnn.layers.contract import Layer
from fnn.options import integer, real
from fnn.tree import Array


def generate(
    net: Layer,
    params: Any,
    state: Any,
    prompt: Any,
    *,
    steps: int,
    key: Key,
    temperature: float = 1.0,
    top_k: int | None = None,
    window: int | None = None,
) -> Array:
    """Continue tokens: draw the next from softmax(scores / temperature), add it, and so on.

    `net` maps tokens (batch, time) to scores (batch, time, n) of the token after each; a causal network
    or a recurrent one, in evaluation mode. Equal keys give equal texts.

    Args:
        net, params, state: The network and its weights.
        prompt: Tokens to begin with, (time,) or (batch, time), one or more.
        steps: How many tokens to add.
        key: Determines every draw.
        temperature: Below 1 the likelier become likelier still; 0 takes the likeliest.
        top_k: Draw among the k likeliest alone.
        window: How many of the last tokens the network is shown; all by default.

    Returns:
        The prompt and what was added, of its dtype, (time + steps,) or (batch, time + steps).

    Raises:
        DataError: If the prompt is empty, or a token is out of range.
        ShapeError, DTypeError: If the prompt are no tokens, or of a dtype that cannot hold all, or the
            network returns no scores of them.
        OptionError: If an option is out of range.
    """
    try:
        check_key(key)
        steps = integer("", "steps", steps, least=0)
        temperature = real("", "temperature", temperature, least=0)
        top_k = None if top_k is None else integer("", "top_k", top_k)
        window = None if window is None else integer("", "window", window)
        tokens = _tokens(prompt)
    except FnnError as error:
        raise error.inside("generate", "") from None
    length = tokens.shape[1]
    whole = np.concatenate([tokens, np.zeros((len(tokens), steps), tokens.dtype)], axis=1)
    for i in range(length, length + steps):
        seen = whole[:, max(0, i - window) if window else 0 : i]
        try:
            with np.errstate(all="ignore"):
                scores, _ = net.core.apply(params, state, seen)
        except (FnnError, KeyError) as error:
            raise placed_error(error, net.name, net.where) from error.__cause__
        if getattr(scores, "shape", ())[:2] != seen.shape or scores.ndim != 3:
            got = getattr(scores, "shape", type(scores).__name__)
            expected = f"scores of shape ({seen.shape[0]}, {seen.shape[1]}, n)"
            raise ShapeError(f"expected {expected}, got {got}", path=("generate",))
        if scores.shape[2] - 1 > np.iinfo(tokens.dtype).max:  # A larger token would wrap around.
            expected = f"a dtype that holds all {scores.shape[2]} tokens"
            raise DTypeError(f"prompt: expected {expected}, got {tokens.dtype}", path=("generate",))
        whole[:, i] = _drawn(scores[:, -1].astype("float64"), key.fold(i - length), temperature, top_k)
    return whole[0] if np.ndim(prompt) == 1 else whole


def _tokens(prompt: Any) -> Array:
    tokens = np.asarray(prompt)
    if tokens.size == 0:
        raise DataError("prompt: expected one token or more, got none")
    if tokens.dtype.kind not in "iu":
        raise DTypeError(f"prompt: expected tokens as integers, got {tokens.dtype}")
    if tokens.ndim not in (1, 2):
        raise ShapeError(f"prompt: expected (time,) or (batch, time), got {tokens.shape}")
    return tokens[None] if tokens.ndim == 1 else tokens


def _drawn(scores: Array, key: Key, temperature: float, top_k: int | None) -> Array:
    """Return one token for each row of scores (batch, n)."""
    if not np.isfinite(scores).all():
        raise DataError("expected finite scores", path=("generate",))
    if temperature == 0:
        return np.argmax(scores, axis=1)
    scores = (scores - scores.max(axis=1, keepdims=True)) / temperature
    if top_k is not None and top_k < scores.shape[1]:
        least = np.partition(scores, -top_k, axis=1)[:, -top_k, None]
        scores = np.where(scores >= least, scores, -np.inf)
    up_to = np.cumsum(np.exp(scores), axis=1)
    at = key.generator().random((len(scores), 1)) * up_to[:, -1:]
    return np.argmax(up_to > at, axis=1)
