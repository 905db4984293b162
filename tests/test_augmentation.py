"""Augmentations: pure, a function of key and index, and right against loops and PyTorch."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest

import fnn
from fnn.errors import DataError, DTypeError, OptionError, ShapeError
from fnn.kernels import sampling

KEY = fnn.Key.of(11)


def images(n=6, channels=2, height=7, width=5, dtype=np.float32):
    rng = np.random.default_rng(n)
    return rng.normal(size=(n, channels, height, width)).astype(dtype)


@fnn.constructor
def brighten(most):
    def change(draws, x):
        return x + (most * draws.uniform("by", *(1,) * (x.ndim - 1))).astype(x.dtype)

    return fnn.make_augmentation("brighten", change)


ALL = [
    fnn.random_flip(),
    fnn.random_flip(-2, rate=0.3),
    fnn.random_crop(2),
    fnn.random_crop((1, 0), mode="reflect"),
    fnn.random_crop(9, mode="wrap"),
    fnn.random_shift(1.5),
    fnn.random_shift((0, 2)),
    fnn.random_rotate(30),
    fnn.cutout(3),
    fnn.cutout((2, 9), fill=0.5),
    fnn.gaussian_noise(0.1),
    brighten(0.5),
    fnn.composed(fnn.random_crop(1), fnn.random_flip(), fnn.random_flip(-2), fnn.cutout(2)),
    fnn.composed(),
]
names = pytest.mark.parametrize("augment", ALL, ids=repr)

# --- laws ---------------------------------------------------------------------------------------


@names
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_augmentation_is_pure_and_keeps_shape_and_dtype(augment, dtype):
    x = images(dtype=dtype)
    before = x.copy()
    one, again = augment(KEY, x), augment(KEY, x)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(one, again)
    assert (one.shape, one.dtype) == (x.shape, dtype)
    assert not one.flags.writeable
    assert x.flags.writeable


@names
def test_what_becomes_of_an_example_follows_from_key_and_index_alone(augment):
    x, index = images(13), np.array([0, 7, 3, 2**33, 4, 5, 1, 11, 12, 99, 8, 2, 6])
    whole = augment(KEY, x, index=index)
    for at in (slice(0, 1), slice(4, 9), np.random.default_rng(0).permutation(13)):
        np.testing.assert_array_equal(augment(KEY, x[at], index=index[at]), whole[at])
    np.testing.assert_array_equal(augment(KEY, x), augment(KEY, x, index=np.arange(13)))


@names
def test_other_memory_layouts_give_the_same_bits(augment):
    x = images()
    for other in (np.asfortranarray(x), np.repeat(x, 2, axis=-1)[..., ::2], x[::-1].copy()[::-1]):
        np.testing.assert_array_equal(augment(KEY, other), augment(KEY, x))


@names
def test_no_examples_and_one_are_taken(augment):
    assert augment(KEY, images(0)).shape == (0, 2, 7, 5)
    assert augment(KEY, images(1)).shape == (1, 2, 7, 5)


@names
def test_another_key_or_index_gives_other_examples(augment):
    x = images(40)
    same = [
        np.array_equal(augment(KEY, x), other)
        for other in (augment(fnn.Key.of(1), x), augment(KEY, x, index=np.arange(40) + 40))
    ]
    assert same == [augment == fnn.composed()] * 2


@names
def test_it_prints_compares_and_pickles_by_its_recipe(augment):
    assert repr(augment).startswith(augment.name + "(")
    for other in (pickle.loads(pickle.dumps(augment)), copy.deepcopy(augment)):
        assert other == augment
        np.testing.assert_array_equal(other(KEY, images()), augment(KEY, images()))
    assert augment != fnn.gaussian_noise(9.0)


@names
def test_targets_come_along_as_they_are(augment):
    x, y = augment(KEY, images(3), [1, 2, 3])
    np.testing.assert_array_equal(x, augment(KEY, images(3)))
    np.testing.assert_array_equal(y, [1, 2, 3])


def test_integers_are_flipped_cropped_and_covered_as_they_are():
    x = np.arange(1, 61, dtype=np.uint8).reshape(3, 4, 5)
    for augment in (fnn.random_flip(), fnn.random_crop(1), fnn.cutout(2, fill=255)):
        assert augment(KEY, x).dtype == np.uint8


def test_to_add_another_kind_changes_nobody_elses_draws():
    x = images()
    crop, noise = fnn.random_crop(2), fnn.gaussian_noise(0.0)
    np.testing.assert_array_equal(fnn.composed(crop)(KEY, x), fnn.composed(noise, crop, noise)(KEY, x))
    assert not np.array_equal(fnn.composed(crop, crop)(KEY, x), fnn.composed(crop)(KEY, x))


# --- what each does -------------------------------------------------------------------------------


def test_a_flip_reverses_its_axis_of_about_as_many_as_its_rate_says():
    x = images(2000, 1, 2, 3)
    for axis, rate in ((-1, 0.5), (2, 0.2), (-1, 0.0), (3, 1.0)):
        y = fnn.random_flip(axis, rate=rate)(KEY, x)
        flipped = np.array([np.array_equal(b, np.flip(a, axis if axis < 0 else axis - 1))
                            for a, b in zip(x, y, strict=True)])  # fmt: skip
        kept = np.array([np.array_equal(a, b) for a, b in zip(x, y, strict=True)])
        assert (flipped ^ kept).all()
        assert abs(flipped.mean() - rate) < 0.05


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
def test_a_crop_is_a_window_of_the_padded_image(mode):
    x = images(200, 1, 4, 5)
    y = fnn.random_crop((1, 2), mode=mode)(KEY, x)
    seen = set()
    for a, b in zip(x[:, 0], y[:, 0], strict=True):
        padded = np.pad(a, ((1, 1), (2, 2)), mode=mode)
        found = [(r, c) for r in range(3) for c in range(5)
                 if np.array_equal(padded[r : r + 4, c : c + 5], b)]  # fmt: skip
        assert found
        seen |= set(found)
    assert len(seen) == 15, "all places occur"


def loop_bilinear(image, row, column):
    def at(r, c):
        inside = 0 <= r < image.shape[0] and 0 <= c < image.shape[1]
        return image[r, c] if inside else 0.0

    r, c = math.floor(row), math.floor(column)
    t, s = row - r, column - c
    return ((1 - t) * ((1 - s) * at(r, c) + s * at(r, c + 1))
            + t * ((1 - s) * at(r + 1, c) + s * at(r + 1, c + 1)))  # fmt: skip


def test_reading_between_pixels_is_what_a_loop_does():
    x = images(3, 2, 5, 4, np.float64)
    rng = np.random.default_rng(0)
    rows, columns = rng.uniform(-3, 8, (3, 6, 2)), rng.uniform(-3, 7, (3, 6, 2))
    rows[0, 0], columns[0, 1] = [-1, 4], [3, 0]
    got = sampling.bilinear(x, rows, columns)
    for i, c, j, k in np.ndindex(*got.shape):
        want = loop_bilinear(x[i, c], rows[i, j, k], columns[i, j, k])
        assert got[i, c, j, k] == pytest.approx(want, rel=1e-12, abs=1e-12)


def test_whole_steps_and_quarter_turns_move_pixels_alone():
    x = images(4, 1, 5, 5)
    moved = sampling.shifted(x, np.array([1.0, -2, 0, 7]), np.array([0.0, 1, 3, 0]))
    np.testing.assert_array_equal(moved[0, 0, 1:], x[0, 0, :-1])
    np.testing.assert_array_equal(moved[0, 0, 0], 0)
    np.testing.assert_array_equal(moved[1, 0, :3, 1:], x[1, 0, 2:, :-1])
    np.testing.assert_array_equal(moved[2, 0, :, 3:], x[2, 0, :, :2])
    assert not moved[3].any()
    turned = sampling.turned(x, np.array([0, 1, 2, -1]) * math.pi / 2)
    for i, times in enumerate((0, 1, 2, -1)):
        np.testing.assert_allclose(turned[i, 0], np.rot90(x[i, 0], times), atol=1e-6)


def test_a_constant_image_is_moved_and_turned_without_rounding_inside():
    x = np.full((20, 1, 9, 9), 0.1, np.float32)
    for augment in (fnn.random_shift(2), fnn.random_rotate(20)):
        np.testing.assert_array_equal(augment(KEY, x)[:, :, 3:6, 3:6], x[:, :, 3:6, 3:6])


def test_shifts_and_angles_are_uniform_within_their_bounds():
    ramp = np.broadcast_to(np.arange(31.0), (500, 1, 31, 31))
    rows = np.swapaxes(ramp, 2, 3)
    middle = (Ellipsis, 15, 15)
    for x, pair in ((ramp, (0, 3)), (rows, (3, 0))):
        moved = 15 - fnn.random_shift(pair)(KEY, x)[middle][:, 0]
        assert -3 <= moved.min() < -2.9
        assert 2.9 < moved.max() <= 3
        assert abs(moved.mean()) < 0.3
    x = fnn.random_rotate(25)(KEY, ramp - 15)
    # One pixel to the right of the centre reads the cosine of the angle, one above it the sine.
    angles = np.degrees(np.arctan2(x[:, 0, 14, 15] , x[:, 0, 15, 16]))  # fmt: skip
    assert -25 <= angles.min() < -24
    assert 24 < angles.max() <= 25
    assert abs(angles.mean()) < 2


def test_moving_agrees_with_torch():
    torch = pytest.importorskip("torch")
    x = images(5, 3, 8, 11, np.float64)
    angles = np.linspace(-2, 3, 5)
    height, width = x.shape[2:]
    dy, dx = np.mgrid[:height, :width] - np.array([(height - 1) / 2, (width - 1) / 2])[:, None, None]
    cos, sin = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
    # PyTorch counts from -1 to 1, from the first pixel's centre to the last one's.
    grid = np.stack(
        [(cos * dx - sin * dy) * 2 / (width - 1), (sin * dx + cos * dy) * 2 / (height - 1)], -1
    )
    want = torch.nn.functional.grid_sample(
        torch.from_numpy(x), torch.from_numpy(grid), padding_mode="zeros", align_corners=True
    )
    np.testing.assert_allclose(sampling.turned(x, angles), want.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("size", "sides"), [(1, (1, 1)), (3, (3, 3)), ((2, 5), (2, 5)), (99, (99, 99))]
)
def test_cutout_covers_a_rectangle_about_a_pixel(size, sides):
    x = np.ones((300, 2, 6, 7))
    y = fnn.cutout(size, fill=-1.0)(KEY, x)
    starts = set()
    for image in y:
        np.testing.assert_array_equal(image[0], image[1])
        rows, columns = np.nonzero(image[0] == -1)
        assert len(rows)
        top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
        assert len(rows) == (bottom - top) * (right - left)
        assert bottom - top <= sides[0]
        assert right - left <= sides[1]
        if top > 0 and bottom < 6:
            assert bottom - top == sides[0]
        starts.add((top, left))
    assert len(starts) > 1 or size == 99


def test_noise_is_normal_with_its_standard_deviation():
    x = np.zeros((4000, 5, 5), np.float32)
    z = fnn.gaussian_noise(2.0)(KEY, x) / 2
    assert z.dtype == np.float32
    assert abs(z.mean()) < 0.02
    assert abs(z.std() - 1) < 0.02
    assert abs((z**3).mean()) < 0.06
    assert abs((z**4).mean() - 3) < 0.15
    flat = z.reshape(4000, 25)
    np.testing.assert_allclose(np.corrcoef(flat.T) - np.eye(25), 0, atol=0.08)
    np.testing.assert_array_equal(fnn.gaussian_noise(0)(KEY, x), x)
    drawn = fnn.datasets.Draws(KEY, np.arange(4000)).normal("noise", 5, 5)
    np.testing.assert_array_equal(fnn.gaussian_noise(2.0)(KEY, x + 1), 1 + (2.0 * drawn).astype("f4"))


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fnn.random_flip(0), "random_flip: axis: expected an axis of an example, got 0"),
        (lambda: fnn.random_flip(rate=1.5), r"random_flip: rate: expected a number in \[0, 1\]"),
        (lambda: fnn.random_crop(-1), "random_crop: padding: expected 0 or more"),
        (lambda: fnn.random_crop(1, mode="mirror"), "random_crop: mode: expected one of"),
        (lambda: fnn.random_shift((1, 2, 3)), "random_shift: most: expected a number or a pair"),
        (lambda: fnn.random_shift(-1), "random_shift: most: expected a number in"),
        (lambda: fnn.random_rotate(181), "random_rotate: degrees: expected a number in"),
        (lambda: fnn.cutout(0), "cutout: size: expected 1 or more"),
        (lambda: fnn.gaussian_noise(-0.1), "gaussian_noise: std: expected a number in"),
        (lambda: fnn.mixup(0), "mixup: alpha: expected a number above 0"),
        (lambda: fnn.mixup(1, n_classes=0), "mixup: n_classes: expected 1 or more"),
        (
            lambda: fnn.composed(lambda key, x: x),
            r"composed: expected augmentations.*make_augmentation",
        ),
        (lambda: fnn.make_augmentation("", len), "make_augmentation: name: expected a text"),
        (
            lambda: fnn.make_augmentation("a", 3),
            "make_augmentation: change: expected a function, got 3",
        ),
    ],
)
def test_options_out_of_range_are_refused_when_it_is_made(make, message):
    with pytest.raises(OptionError, match=message):
        make()


X = images(3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fnn.cutout(2)(3, X), OptionError, "cutout .*: key: expected a Key"),
        (lambda: fnn.cutout(2)(KEY, X[0, 0]), ShapeError, r"cutout .*: x: expected images .*\(7, 5\)"),
        (lambda: fnn.cutout(2)(KEY, 3.0), ShapeError, "x: expected an axis of examples, got a scalar"),
        (lambda: fnn.cutout(2)(KEY, (X, X)), ShapeError, "x: expected one array, got a tuple of 2"),
        (lambda: fnn.cutout(2)(KEY, ["a"]), DTypeError, "x: expected numbers"),
        (lambda: fnn.cutout(2, fill=0.5)(KEY, X.astype(int)), DTypeError, "holds fill = 0.5, got"),
        (lambda: fnn.cutout(2, fill=-1)(KEY, X.astype(np.uint8)), DTypeError, "holds fill = -1"),
        (lambda: fnn.random_flip(4)(KEY, X), ShapeError, "random_flip .*examples with axis 4"),
        (lambda: fnn.random_flip(-4)(KEY, X), ShapeError, "examples with axis -4"),
        (lambda: fnn.random_shift(1)(KEY, X.astype(int)), DTypeError, "random_shift .*expected floats"),
        (lambda: fnn.gaussian_noise(1)(KEY, X.astype(int)), DTypeError, "x: expected floats, got"),
        (lambda: fnn.composed(fnn.random_flip(), fnn.random_rotate(3))(KEY, X.astype(int)),
         DTypeError, r"composed/random_rotate_0 \(test_augmentation.py:\d+\): x: expected floats"),
        (lambda: fnn.random_flip()(KEY, X, index=[0, 1]), ShapeError, r"index: .*\(3,\), got \(2,\)"),
        (lambda: fnn.random_flip()(KEY, X, index=[0, 1, -2]), DataError, "index: .*0 or more, got -2"),
        (lambda: fnn.random_flip()(KEY, X, index=[0.0, 1, 2]), DTypeError, "index: expected integers"),
        (lambda: fnn.random_flip()(KEY, X, [1, 2]), DataError, "x and y of equal length, got 3 and 2"),
        (lambda: fnn.mixup(1.0)(KEY, X), OptionError, "mixup .*: y: expected targets"),
        (lambda: fnn.mixup(1.0)(KEY, X, [0, 1, 2]), DTypeError, "floats without n_classes, got labels"),
        (lambda: fnn.mixup(1.0, n_classes=2)(KEY, X, [0, 1, 2]), DataError,
         r"y\[2\] = 2 is not in \[0, 2\)"),
        (lambda: fnn.mixup(1.0, n_classes=3)(KEY, X, np.eye(3)), DTypeError,
         "integer labels on one axis"),
        (lambda: fnn.mixup(1.0)(KEY, X, (np.eye(3), np.eye(3))), ShapeError, "y: expected one array"),
    ],
)  # fmt: skip
def test_what_it_cannot_take_is_refused_with_its_place(call, error, message):
    with pytest.raises(error, match=message):
        call()
