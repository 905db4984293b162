"""Batches and training through augmentations, which a resumed run repeats bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from test_loop import digest

import fnn
from fnn.errors import DataError, DivergedError, DTypeError, OptionError, ShapeError
from fnn.runs.checkpoint import load_checkpoint, save_checkpoint

KEY = fnn.Key.of(5)
NOISE = fnn.composed(fnn.random_crop(1), fnn.random_flip(), fnn.gaussian_noise(0.1))
NET = fnn.serial(fnn.Flatten(), fnn.Dense(6), fnn.Tanh(), fnn.Dropout(0.1), fnn.Dense(3))


def examples(n=22, weight=None):
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, 1, 5, 4)).astype(np.float32)
    return fnn.Dataset(x, np.arange(n) % 3, weight=weight)


def soft(n=22):
    data = examples(n)
    return fnn.Dataset(data.x, np.eye(3, dtype=np.float32)[data.y])


def fit(augment=NOISE, train=None, loss=fnn.softmax_cross_entropy, **options):
    options = {"epochs": 3, "batch_size": 8, "key": KEY, "progress": False} | options
    train = examples() if train is None else train
    return fnn.fit(NET, loss, fnn.adam(0.02), train, augment=augment, **options)


def by_example(data, size, **options):
    """Return what became of every example, by its first pixel before."""
    order = fnn.batches(data, size, key=KEY, transform=NOISE, **options)
    plain = fnn.batches(data, size, key=KEY, **options)
    return {
        float(was[0, 0, 0]): x.tobytes()
        for batch, before in zip(order, plain, strict=True)
        for x, was in zip(batch[0], before[0], strict=True)
    }


# --- batches --------------------------------------------------------------------------------------


def test_batches_are_those_without_a_transform_sent_through_it_by_index():
    data = examples()
    order = KEY.generator().permutation(22)
    for number, (x, y) in enumerate(fnn.batches(data, 8, key=KEY, transform=NOISE)):
        at = order[8 * number : 8 * number + 8]
        np.testing.assert_array_equal(x, NOISE(KEY.fold("transform"), data.x[at], index=at))
        np.testing.assert_array_equal(y, data.y[at])
        assert not x.flags.writeable


def test_what_becomes_of_an_example_does_not_depend_on_the_batch_size():
    data = examples()
    whole = by_example(data, 22)
    assert len(whole) == 22
    for size in (1, 5, 8, 100):
        assert by_example(data, size) == whole


def test_an_example_of_weight_0_is_as_good_as_absent():
    weight = np.ones(22)
    weight[[3, 9]] = 0
    kept = np.flatnonzero(weight)
    with_zeros = by_example(examples(weight=weight), 8)
    assert with_zeros == by_example(examples().select(kept), 8)


def test_batches_from_any_number_on_are_those_of_the_whole_epoch():
    for transform in (NOISE, lambda key, x: x + key.generator().normal(size=x.shape).astype(x.dtype)):
        order = fnn.batches(examples(), 5, key=KEY, transform=transform)
        whole = list(order)
        for first in range(len(order) + 1):
            left = list(order.since(first))
            assert len(left) == len(whole) - first
            for (x, _), (want, _) in zip(left, whole[first:], strict=True):
                np.testing.assert_array_equal(x, want)


def test_weights_and_targets_come_along():
    data = examples(weight=np.arange(22) + 1.0)
    for x, y, weight in fnn.batches(data, 8, key=KEY, transform=fnn.mixup(0.3, n_classes=3)):
        assert (len(x), y.shape, weight.shape) == (len(y), (len(x), 3), (len(x),))


def test_a_function_of_ones_own_gets_a_key_per_batch_and_may_take_tuples():
    data = fnn.Dataset((np.arange(6.0), np.arange(12).reshape(6, 2)), np.zeros(6))
    keys = []

    def swap(key, x):
        keys.append(key)
        return x[0] + 1, x[1]

    (first, _), (second, _) = fnn.batches(data, 4, key=KEY, transform=swap)
    assert keys == [KEY.fold("transform", "batch", number) for number in (0, 1)]
    order = KEY.generator().permutation(6)
    np.testing.assert_array_equal(np.concatenate([first[0], second[0]]), order + 1.0)
    assert not first[0].flags.writeable


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"transform": 3, "key": KEY}, OptionError, r"batches: transform: expected an augmentation or"),
        ({"transform": NOISE}, OptionError, "batches: transform: expected a key beside it, got None"),
        ({"transform": lambda key, x: x[:2], "key": KEY}, DataError, "transform: expected 8 .* got 2"),
        ({"transform": lambda key, x: None, "key": KEY}, DataError, "expected 8 examples .* got None"),
        ({"transform": lambda key, x: np.ma.masked_equal(x, 0), "key": KEY}, DataError, "mask"),
    ],
)
def test_transforms_that_cannot_be_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        list(fnn.batches(examples(), 8, **options))


# --- fit ------------------------------------------------------------------------------------------


def test_fit_is_the_fold_of_the_step_over_augmented_batches_bit_for_bit():
    train = examples()
    step = fnn.train_step(NET, fnn.softmax_cross_entropy, fnn.adam(0.02))
    now = fnn.init_train_state(NET, fnn.adam(0.02), (1, 5, 4), KEY)
    for epoch in range(3):
        order = fnn.batches(train, 8, key=KEY.fold("epoch", epoch), transform=NOISE)
        now, _ = fnn.scan(step, now, order)
    assert digest(fit().last) == digest(now)
    assert digest(fit(None).last) != digest(now)
    assert digest(fit(fnn.composed()).last) == digest(fit(None).last)


MIX = {"augment": fnn.mixup(0.4), "loss": fnn.softmax_cross_entropy_dense, "train": soft()}
RUNS = {
    "by index": {},
    "mixtures": MIX,
    "a function": {"augment": lambda key, x: x * np.float32(1 + key.generator().random())},
}


@pytest.mark.parametrize("name", RUNS)
def test_a_resumed_run_repeats_its_augmentations_bit_for_bit(name, tmp_path):
    options, kept = RUNS[name], []
    whole = fit(**options, save=kept.append, save_every=1)
    assert len(kept) == 12
    for start in kept:
        save_checkpoint(tmp_path / "c.npz", start)
        again = fit(**options, start=load_checkpoint(tmp_path / "c.npz"))
        assert digest(again.last) == digest(whole.last)
        assert list(again.history) == list(whole.history)


def test_every_epoch_has_augmentations_of_its_own():
    seen = {}

    def watching(draws, x):
        for at, by in zip(draws.index, draws.uniform("by"), strict=True):
            seen.setdefault(int(at), []).append(float(by))
        return x

    fit(fnn.make_augmentation("watch", watching), batch_size=22)
    for drawn in seen.values():
        assert len(set(drawn[-3:])) == 3


def test_labels_become_rows_in_training_alone():
    result = fit(fnn.mixup(0.4, n_classes=3), loss=fnn.softmax_cross_entropy_dense, validation=soft(9))
    assert np.isfinite(result.history["validation_loss"]).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"augment": "flip"}, OptionError, "fit: augment: expected an augmentation or a function"),
        ({"augment": fnn.random_flip(4)}, ShapeError, "random_flip .*axis 4"),
        ({"augment": lambda key, x: x[:, :, 1:]}, ShapeError, "dense_0"),
        ({"augment": lambda key, x: x.astype(np.float64)}, DTypeError, "float64"),
        ({"augment": fnn.mixup(0.4, n_classes=3)}, ShapeError, r"labels of shape \(8,\), got \(8, 3\)"),
        ({"augment": fnn.mixup(0.4, n_classes=2), "loss": fnn.softmax_cross_entropy_dense},
         DataError, r"y\[\d\] = 2 is not in \[0, 2\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_raises_before_the_first_step(options, error, message):
    kept = []
    with pytest.raises(error, match=message):
        fit(**options, save=kept.append, save_every=1)
    assert not kept


def test_an_augmentation_that_makes_nan_is_told_as_a_step_that_diverged():
    calls = []

    def spoil(key, x):
        calls.append(key)
        return x * np.float32("nan") if len(calls) > 3 else x

    with pytest.raises(DivergedError, match="x"):
        fit(spoil)


def test_a_run_says_by_which_augmentation_it_was_trained(tmp_path):
    from fnn.runs.experiment.runs import Run

    run = Run(tmp_path)
    options = {"epochs": 1, "batch_size": 8, "key": KEY, "progress": False}
    for augment in (NOISE, None):
        run.fit(NET, fnn.softmax_cross_entropy, fnn.adam(0.02), examples(), augment=augment, **options)
    first, second = run.about["fits"]
    assert first["augment"] == repr(NOISE)
    assert first["augment"] == "composed(random_crop(1), random_flip(), gaussian_noise(0.1))"
    assert "augment" not in second
