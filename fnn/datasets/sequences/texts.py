"""Windows over tokens with their next tokens as targets: anywhere, or going on from batch to batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.datasets.dataset import Dataset
from fnn.errors import DataError, DTypeError, ShapeError
from fnn.kernels.conversion import as_array, read_only
from fnn.options import integer
from fnn.tree import Array


def _checked(who: str, tokens: Any, least: int, what: str) -> Array:
    path = (who,)
    if isinstance(tokens, str | bytes):
        message = "expected tokens, got a text; Characters.fit(text).encode(text) makes them"
        raise DTypeError(message, path=path)
    array = as_array("tokens", tokens, path)
    if array.ndim != 1:
        raise ShapeError(f"expected tokens on one axis, got shape {array.shape}", path=path)
    if not array.size:
        raise DataError(f"expected at least {least} tokens ({what}), got none", path=path)
    if array.dtype.kind not in "iu":
        raise DTypeError(f"expected tokens of an integer dtype, got {array.dtype}", path=path)
    if len(array) < least:
        message = f"expected at least {least} tokens ({what}), got {len(array)}"
        raise DataError(message, path=path)
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False))


def text_windows(tokens: Any, length: int, *, stride: int | None = None) -> Dataset:
    """Return all windows of `length` tokens, each with the window one token later as its target.

    Window i of x holds tokens i · stride up to i · stride + length, without the last, and y the same
    from one token later on. x and y look at one copy of the tokens: windows that overlap cost nothing.

    Args:
        tokens: Integers on one axis.
        length: Tokens of a window.
        stride: From one window's start to the next one's; `length` if None, so that every token but
            the first is a target once at most.

    Raises:
        DataError: If there are not length + 1 tokens, as of an empty text.
        DTypeError, ShapeError: If they are not integers on one axis.
        OptionError: If length or stride is no integer of 1 or more.
    """
    who = "text_windows"
    length = integer(who, "length", length)
    stride = length if stride is None else integer(who, "stride", stride)
    tokens = read_only(_checked(who, tokens, length + 1, "a window and its next"))
    n = (len(tokens) - 1 - length) // stride + 1
    step = tokens.itemsize
    # Not by as_strided, whose views hide whose memory they are; `Dataset` would copy them.
    x, y = (
        np.ndarray(
            (n, length), tokens.dtype, tokens, offset=later * step, strides=(stride * step, step)
        )
        for later in (0, 1)
    )
    return Dataset(x, y)


def text_streams(tokens: Any, length: int, *, batch_size: int) -> Dataset:
    """Return windows that go on from batch to batch: row r of a batch follows row r of the one before.

    The tokens are cut into `batch_size` streams of equal length, and every stream into windows of
    `length` tokens; what is left over is dropped. In this order, `batches(streams, batch_size)` without
    a key gives batches of which each row goes on where it ended, for networks whose hidden state is
    carried along. A shuffled order, such as `fit` has, would tear the streams apart.

    Args:
        tokens: Integers on one axis.
        length: Tokens of a window.
        batch_size: How many streams there are.

    Returns:
        x and y of shape (n, length), n a multiple of `batch_size`; y is one token later.

    Raises:
        DataError: If there are not batch_size · length + 1 tokens, as of an empty text.
        DTypeError, ShapeError: If they are not integers on one axis.
        OptionError: If length or batch_size is no integer of 1 or more.
    """
    who = "text_streams"
    length = integer(who, "length", length)
    batch_size = integer(who, "batch_size", batch_size)
    least = batch_size * length + 1
    tokens = _checked(who, tokens, least, "a window for each stream, and a next")
    steps = (len(tokens) - 1) // (batch_size * length)
    used = batch_size * steps * length
    parts = []
    for later in (0, 1):
        streams = tokens[later : later + used].reshape(batch_size, steps, length)
        part = np.ascontiguousarray(streams.swapaxes(0, 1)).reshape(steps * batch_size, length)
        parts.append(part)
    return Dataset(*parts)
