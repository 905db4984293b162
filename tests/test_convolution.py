"""Convolution beside loops over every window, on each of the ways in which it is worked out."""

import contextlib
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from window_cases import geometries

from fnn.kernels import convolution, unfolding
from fnn.kernels.windows import windows


def by_loops(x, w, b, dy, at, groups):
    """Return y, dw, db and dx, one window of one output channel at a time."""
    z = np.pad(x, ((0, 0), (0, 0), *at.pads))
    y, dz, dw = np.zeros(dy.shape), np.zeros(z.shape), np.zeros(w.shape)
    own = w.shape[1]
    for o, place in itertools.product(range(len(w)), itertools.product(*map(range, at.out))):
        first = o // (len(w) // groups) * own
        window = tuple(
            slice(i * s, i * s + (k - 1) * d + 1, d)
            for i, s, k, d in zip(place, at.stride, at.size, at.dilation, strict=True)
        )
        seen = (slice(None), slice(first, first + own), *window)
        y[:, o, *place] = np.tensordot(z[seen], w[o], w.ndim - 1) + b[o]
        dw[o] += np.tensordot(dy[:, o, *place], z[seen], 1)
        dz[seen] += np.multiply.outer(dy[:, o, *place], w[o])
    inside = tuple(slice(a, a + n) for (a, _), n in zip(at.pads, at.space, strict=True))
    return y, dw, dy.sum(axis=(0, *range(2, dy.ndim))), dz[:, :, *inside]


@contextlib.contextmanager
def patched(**constants):
    """Set constants of the kernels, and forget what was laid out by others."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in constants.items():
            for module in (convolution, unfolding):
                if hasattr(module, name):
                    patch.setattr(module, name, value)
        unfolding.unfolding.cache_clear()
        yield
    unfolding.unfolding.cache_clear()


def drawn(at, batch, groups, seed=0):
    """Return x, w, b and dy of a convolution."""
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(batch, 2 * groups, *at.space)), rng.normal(size=(2 * groups, 2, *at.size))
    return x, w, rng.normal(size=2 * groups), rng.normal(size=(batch, 2 * groups, *at.out))


def worked_out(x, w, b, dy, at, groups):
    """Return y, dw, db and dx of the kernels."""
    y = convolution.convolution(x, w, b, at, groups)
    return y, *convolution.convolution_vjp(x, w, dy, at, groups, bias=True, need_dx=True)


@settings(max_examples=200)
@given(
    geometries(),
    st.integers(1, 3),
    st.sampled_from([1, 2]),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 10**9]),
    st.sampled_from([1, 1000, 1 << 22]),
)
def test_values_and_derivatives_are_those_of_loops_over_windows(at, batch, groups, seed, long, limit):
    arrays = drawn(at, batch, groups, seed)
    with patched(LONG_ROW=long, COLUMN_BYTES=limit, ROW_BYTES=limit, SUM_BYTES=limit):
        found = worked_out(*arrays, at, groups)
    for got, want in zip(found, by_loops(*arrays, at, groups), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("limit", [1, 2000, 1 << 22], ids=["rows alone", "some rows", "all rows"])
@pytest.mark.parametrize("long_row", [1, 10**9], ids=["by row", "by chunk"])
@pytest.mark.parametrize(
    ("space", "size", "stride", "padding", "dilation"),
    [
        ((19,), (3,), (1,), "valid", (1,)),
        ((19,), (3,), (2,), ((2, 1),), (1,)),
        ((19,), (3,), (1,), "same", (2,)),
        ((17, 4), (3, 3), (1, 1), "same", (1, 1)),
        ((17, 4), (2, 3), (1, 2), ((0, 2), (1, 0)), (1, 2)),
        ((17, 4), (2, 3), (2, 1), "valid", (1, 1)),
        ((17, 4), (3, 3), (3, 1), "same", (1, 1)),
        ((17, 4), (3, 3), (1, 1), 2, (3, 1)),
        ((17, 4), (1, 1), (1, 1), "valid", (1, 1)),
        ((17, 4), (17, 4), (1, 1), "valid", (1, 1)),
        ((9, 4, 3), (2, 2, 3), (1, 1, 1), "same", (1, 1, 1)),
        ((9, 4, 3), (2, 3, 1), (1, 2, 1), 1, (1, 1, 2)),
    ],
)
def test_tall_images_too_in_chunks_of_any_size(space, size, stride, padding, dilation, long_row, limit):
    at = windows(space, size, stride, padding, dilation)
    arrays = drawn(at, 3, 2)
    with patched(LONG_ROW=long_row, COLUMN_BYTES=limit, ROW_BYTES=limit, SUM_BYTES=limit):
        found = worked_out(*arrays, at, 2)
    for got, want in zip(found, by_loops(*arrays, at, 2), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("by_row", [True, False])
@pytest.mark.parametrize("size", [5, 1])
def test_chunks_cover_every_row_once(by_row, size):
    at = windows((200, 50), (size, 5), (2, 1), "same", (1, 1))
    chunks = unfolding.unfolding(at, (16, *at.padded, 32), 4, 1, by_row).chunks
    assert len(chunks) > 1
    assert chunks[0].make.start == chunks[0].see.start == 0
    assert chunks[-1].make.stop == math.prod(at.out) * 32
    assert sum(chunk.rows for chunk in chunks) == at.out[0]
    assert chunks[-1].see.stop <= at.padded[0]
    for one, two in itertools.pairwise(chunks):
        assert one.make.stop == two.make.start
        assert one.make.stop - one.make.start == one.rows * at.out[1] * 32
        assert two.see.start == one.see.start + one.rows * at.stride[0]
    limit = unfolding.ROW_BYTES if by_row else unfolding.COLUMN_BYTES
    several = [chunk for chunk in chunks if chunk.rows > 1]
    assert all(math.prod(chunk.shape) * 4 <= limit for chunk in several)


@pytest.mark.parametrize("batch", [0, 2, 20])
def test_no_channels_convolve_to_the_bias(batch):
    at = windows((40, 40), (3, 3), (1, 1), "valid", (1, 1))
    x, w, b = np.zeros((batch, 0, 40, 40)), np.zeros((4, 0, 3, 3)), np.arange(4.0)
    y = convolution.convolution(x, w, b, at, 1)
    np.testing.assert_array_equal(y, np.broadcast_to(b[:, None, None], (batch, 4, *at.out)))
    dw, db, dx = convolution.convolution_vjp(x, w, np.ones_like(y), at, 1, bias=True, need_dx=True)
    assert (dw.shape, dx.shape) == (w.shape, x.shape)
    np.testing.assert_array_equal(db, batch * 38 * 38 * np.ones(4))
