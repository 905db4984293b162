"""What augmentations draw: words by place, numbers of their distributions, shares of mixtures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_augmentation import KEY, images

import fnn
from fnn.datasets.augmentation.values import beta
from fnn.errors import DTypeError
from fnn.kernels import philox

GOLDEN_UNIFORM = [
    "0x1.3aec659173330p-4",
    "0x1.7ef15757a657cp-3",
    "0x1.fbe7cdfd16738p-1",
    "0x1.bb890b52eef08p-1",
    "0x1.415eacf6798dap-2",
    "0x1.054ecbb364b44p-3",
]
GOLDEN_NORMAL = [
    0.4813672927697764,
    -2.2134043839319353,
    0.12157771605735915,
    -0.03574004302935187,
    1.3590141927411115,
    -0.6861770325024102,
]

# --- mixup --------------------------------------------------------------------------------------


def test_a_mixture_is_of_two_examples_and_of_their_targets_alike():
    n = 12
    x, y = np.eye(n, dtype=np.float32), np.arange(n) % 3
    mixed, soft = fnn.mixup(1.0, n_classes=3)(KEY, x, y)
    assert (mixed.dtype, soft.dtype, soft.shape) == (np.float32, np.float32, (n, 3))
    np.testing.assert_allclose(mixed.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=1e-6)
    others = []
    for i, row in enumerate(mixed):
        (at,) = np.nonzero(row)
        assert len(at) == 2, "two examples, of which one is its own"
        assert i in at
        others.append(int(at[at != i][0]))
        np.testing.assert_allclose(soft[i], sum(row[j] * np.eye(3)[y[j]] for j in at), rtol=1e-6)
    assert sorted(others) == list(range(n)), "everybody is somebody's other once"


def test_a_mixture_follows_from_the_key_and_from_who_is_in_the_batch():
    x, y, order = images(9), np.eye(9), np.random.default_rng(0).permutation(9)
    mix = fnn.mixup(0.4)
    one = mix(KEY, x, y, index=np.arange(9) + 5)
    other = mix(KEY, x[order], y[order], index=order + 5)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a[order], b)
    for a, b in zip(mix(KEY, x[:1], y[:1]), (x[:1], y[:1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_labels_are_made_rows_by_a_number_or_by_their_codec():
    x, labels = images(6), np.array(["cat", "dog", "owl", "cat", "dog", "owl"])
    codec = fnn.OneHot.fit(labels)
    numbers = codec.encode(labels).argmax(axis=1)
    by_codec = fnn.mixup(0.5, n_classes=codec)
    one = fnn.composed(fnn.random_flip(), fnn.mixup(0.5, n_classes=3))(KEY, x, numbers)
    other = fnn.composed(fnn.random_flip(), fnn.mixup(0.5))(KEY, x, codec.encode(labels))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    assert "n_classes=OneHot(" in repr(by_codec)
    with pytest.raises(DTypeError, match="labels"):
        by_codec.change(None, x, np.array([object()]))


@pytest.mark.parametrize("alpha", [0.15, 0.5, 1.0, 3.0, 40.0])
def test_shares_are_of_the_beta_distribution(alpha):
    stats = pytest.importorskip("scipy.stats")
    share = beta(fnn.datasets.Draws(KEY, np.arange(20000)), alpha)
    assert 0 <= share.min() < share.max() <= 1
    # Kolmogorov's distance is beyond 1.95 / √n once in a thousand times.
    assert stats.kstest(share, stats.beta(alpha, alpha).cdf).statistic < 1.95 / math.sqrt(20000)


def test_a_tiny_alpha_leaves_one_of_the_two():
    share = beta(fnn.datasets.Draws(KEY, np.arange(500)), 1e-6)
    assert set(share) == {0.0, 1.0}


# --- the generator --------------------------------------------------------------------------------


def test_words_are_those_that_the_authors_of_philox_publish():
    def of(counter, key):
        found = philox.philox(tuple(np.array([word], np.uint64) for word in counter), key)
        return [f"{int(word[0]):08x}" for word in found]

    ones = 0xFFFFFFFF
    assert of((0,) * 4, (0, 0)) == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]
    assert of((ones,) * 4, (ones, ones)) == ["408f276d", "41c83b0e", "a20bc7c6", "6d5451fd"]
    pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)
    assert of(*pi) == ["d16cfe09", "94fdcceb", "5001e420", "24126ea1"]


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 20), seed=st.integers(0, 9), index=st.lists(st.integers(0, 2**62), max_size=5)
)
def test_an_examples_words_depend_on_nobody_else_and_not_on_how_many_are_asked_for(count, seed, index):
    bits = fnn.Key.of(seed).bits
    at = np.array(index, np.int64)
    whole = philox.words(bits, at, 20)
    np.testing.assert_array_equal(philox.words(bits, at, count), whole[:, :count])
    for i in range(len(at)):
        np.testing.assert_array_equal(philox.words(bits, at[i : i + 1], 20)[0], whole[i])


def test_normal_numbers_are_those_of_box_and_muller_on_the_words():
    bits, index = KEY.bits, np.array([3, 2**40])
    for count in (1, 4, 7):
        found = philox.normals(bits, index, count)
        for i, row in enumerate(philox.words(bits, index, 8)):
            want = []
            for u, v in row.reshape(4, 2).tolist():
                r, t = math.sqrt(-2 * math.log((u + 0.5) / 2**32)), 2 * math.pi * (v + 0.5) / 2**32
                want += [r * math.cos(t), r * math.sin(t)]
            np.testing.assert_allclose(found[i], want[:count], rtol=1e-12, atol=1e-12)


def test_draws_stay_what_they_are_from_one_version_to_the_next():
    draws = fnn.datasets.Draws(fnn.Key.of(0), np.array([0, 1, 2**40]))
    u, z = draws.uniform("golden", 2), draws.normal("golden", 2)
    assert [value.hex() for value in u.ravel().tolist()] == GOLDEN_UNIFORM
    np.testing.assert_allclose(z.ravel(), GOLDEN_NORMAL, rtol=1e-12)  # By the platform's logarithm.


def test_far_indices_and_every_part_of_the_key_count():
    far = np.array([0, 1, 2**31, 2**32, 2**32 + 1, 2**62])
    assert len({tuple(row) for row in philox.words(KEY.bits, far, 4).tolist()}) == 6
    for at in range(12):
        other = bytes(byte ^ (i == at) for i, byte in enumerate(KEY.bits))
        assert not np.array_equal(philox.words(other, far, 4), philox.words(KEY.bits, far, 4))


def test_uniform_numbers_and_integers_cover_their_ranges_evenly():
    draws = fnn.datasets.Draws(KEY, np.arange(5000))
    u = draws.uniform("u", 4)
    assert (u.shape, u.dtype) == ((5000, 4), np.float64)
    assert 0 <= u.min() < 0.001
    assert 0.999 < u.max() < 1
    np.testing.assert_allclose(np.histogram(u, 10, (0, 1))[0] / 20000, 0.1, atol=0.01)
    counts = np.bincount(draws.integers("i", 7), minlength=7)
    np.testing.assert_allclose(counts / 5000, 1 / 7, atol=0.02)
    assert not np.array_equal(draws.uniform("u"), draws.uniform("v"))
    assert not np.array_equal(draws.uniform("u"), draws.fold("w").uniform("u"))
    np.testing.assert_array_equal(draws.uniform("u"), draws.uniform("u"))
