"""Windows of all kinds, for the tests of what moves them over images."""

from __future__ import annotations

from hypothesis import strategies as st

from fnn.kernels.windows import windows


@st.composite
def geometries(draw, *, pooling=False):
    """Draw windows over images of one to three axes that fit at least once."""
    axes = draw(st.sampled_from([1, 1, 2, 2, 3]))
    most = {1: 7, 2: 5, 3: 3}[axes]
    space = tuple(draw(st.integers(1, most)) for _ in range(axes))
    size = tuple(draw(st.integers(1, 3)) for _ in range(axes))
    dilation = (1,) * axes if pooling else tuple(draw(st.integers(1, 2)) for _ in range(axes))
    stride = tuple(draw(st.integers(1, 4)) for _ in range(axes))
    pairs = []
    for n, k, d in zip(space, size, dilation, strict=True):
        limit = k - 1 if pooling else 2
        before, after = draw(st.integers(0, limit)), draw(st.integers(0, limit))
        short = (k - 1) * d + 1 - n - before - after
        pairs.append((before, after + max(short, 0)))
    padding = draw(st.sampled_from(["same", tuple(pairs)]))
    if pooling and any(side >= k for pair, k in zip(pairs, size, strict=True) for side in pair):
        padding = "same"
    return windows(space, size, stride, padding, dilation)
