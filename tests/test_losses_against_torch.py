"""Further losses beside PyTorch and their closed forms, and what they refuse."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest

import fnn
from fnn import DataError, DTypeError, OptionError, ShapeError

RNG = np.random.default_rng(0)
X, T = RNG.normal(size=(2, 6, 4)) * 2
LABELS = RNG.integers(0, 4, 6)
SIGNS = np.sign(T)
BITS = (T > 0).astype(float)
ROWS = np.exp(T) / np.exp(T).sum(axis=1, keepdims=True)
LOGS = X - np.log(np.exp(X).sum(axis=1, keepdims=True))


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def torch_focal(torch, x, t):
    p = torch.sigmoid(x)
    ce = torch.nn.functional.binary_cross_entropy_with_logits(x, t, reduction="none")
    p_t = p * t + (1 - p) * (1 - t)
    return ((0.25 * t + 0.75 * (1 - t)) * (1 - p_t) ** 2 * ce).mean()


TWINS = [
    (fnn.huber(0.7), X, T, lambda f, x, t: f.huber_loss(x, t, delta=0.7)),
    (fnn.poisson, X, BITS, lambda f, x, t: f.poisson_nll_loss(x, t, log_input=True)),
    (fnn.hinge, X, SIGNS, lambda f, x, t: (1 - x * t).clamp(min=0).mean()),
    (fnn.kl_divergence, LOGS, ROWS, lambda f, x, t: f.kl_div(x, t, reduction="batchmean")),
    (fnn.smoothed_cross_entropy(0.2), X, LABELS,
     lambda f, x, t: f.cross_entropy(x, t, label_smoothing=0.2)),
    (fnn.cosine_distance, X, T, lambda f, x, t: (1 - f.cosine_similarity(x, t, dim=1)).mean()),
    (fnn.gaussian_nll, X.reshape(6, 2, 2), T[:, :2],
     lambda f, x, t: f.gaussian_nll_loss(x[..., 0], t, x[..., 1].exp(), eps=0)),
    (fnn.triplet(0.8), X.reshape(2, 3, 4), np.zeros(2),
     lambda f, x, t: f.triplet_margin_loss(x[:, 0], x[:, 1], x[:, 2], margin=0.8, eps=0)),
    (fnn.contrastive(0.5), X.reshape(3, 2, 4), np.zeros(3), lambda f, x, t: f.cross_entropy(
        f.normalize(x[:, 0]) @ f.normalize(x[:, 1]).T / 0.5, t.argsort(stable=True))),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "x", "t", "twin"), TWINS, ids=[loss.__name__ for loss, *_ in TWINS])
def test_values_and_gradients_are_those_of_torch(loss, x, t, twin):
    torch = pytest.importorskip("torch")
    value, dpred = loss(x, t)
    tx = torch.tensor(x, requires_grad=True)
    want = twin(torch.nn.functional, tx, torch.tensor(t))
    want.backward()
    close(value, want.item())
    close(dpred, tx.grad.numpy())


def test_focal_losses_are_those_of_their_paper():
    torch = pytest.importorskip("torch")
    for loss, t, twin in (
        (fnn.binary_focal(), BITS, torch_focal),
        (fnn.focal(), LABELS, lambda torch, x, t: focal_of_classes(torch, x, t)),
    ):
        value, dpred = loss(X, t)
        tx = torch.tensor(X, requires_grad=True)
        want = twin(torch, tx, torch.tensor(t))
        want.backward()
        close(value, want.item())
        close(dpred, tx.grad.numpy())


def focal_of_classes(torch, x, t):
    log_p = torch.log_softmax(x, 1)[torch.arange(len(t)), t]
    return (-((1 - log_p.exp()) ** 2) * log_p).mean()


def test_no_focus_is_no_other_loss():
    np.testing.assert_allclose(fnn.focal(0)(X, LABELS)[1], fnn.softmax_cross_entropy(X, LABELS)[1])
    value = fnn.smoothed_cross_entropy(0)(X, LABELS)[0]
    np.testing.assert_allclose(value, fnn.softmax_cross_entropy(X, LABELS)[0])
    np.testing.assert_allclose(fnn.quantile(0.5)(X, T)[0], fnn.absolute_error(X, T)[0] / 2)


def test_the_hinge_of_classes_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    close(fnn.multiclass_hinge(X, LABELS)[0], metrics.hinge_loss(LABELS, X, labels=range(4)))


def test_the_quantile_is_where_the_loss_is_least():
    data = RNG.normal(size=2001)
    for q in (0.1, 0.5, 0.9):
        at = [float(fnn.quantile(q)(np.full(2001, v), data)[0]) for v in np.sort(data)]
        assert abs(np.argmin(at) / 2000 - q) < 0.01


def test_overlap_is_one_less_its_share():
    t = np.array([[1.0, 1, 0, 0], [0, 0, 0, 0]])
    close(fnn.dice(0.0)(t[:1], t[:1])[0], 0)
    close(fnn.dice(1.0)(t, t)[0], 0)
    close(fnn.dice(0.0)(1 - t[:1], t[:1])[0], 1)
    close(fnn.dice(0.0)(np.array([[1.0, 0, 0, 1]]), t[:1])[0], 0.5)


def test_an_example_of_weight_zero_is_nobodys_other():
    pred, some = RNG.normal(size=(5, 2, 3)), np.array([1.0, 0, 2, 0, 1])
    loss, kept = fnn.contrastive(0.3), some > 0
    value, dpred = loss(pred, some, weight=some)
    want, dwant = loss(pred[kept], some[kept], weight=some[kept])
    close(value, want)
    close(dpred[kept], dwant)
    assert not dpred[~kept].any()


@pytest.mark.parametrize("name", ["huber", "log_cosh", "quantile", "hinge", "squared_hinge", "focal",
                                  "multiclass_hinge", "smoothed_cross_entropy", "binary_focal",
                                  "cosine_distance"])  # fmt: skip
def test_large_scores_give_finite_values_and_gradients_in_float32(name):
    labels = LABELS if name in ("focal", "multiclass_hinge", "smoothed_cross_entropy") else SIGNS
    labels = BITS if name == "binary_focal" else labels
    with np.errstate(all="raise", under="ignore"):
        value, dpred = fnn.LOSSES[name]((1e4 * X).astype("float32"), labels)
    assert value.dtype == dpred.dtype == np.float32
    assert np.isfinite(value)
    assert np.isfinite(dpred).all()


def test_losses_with_options_are_values():
    loss = fnn.huber(0.5)
    assert repr(loss) == "huber(delta=0.5)"
    assert loss == fnn.huber(0.5) != fnn.huber(0.6)
    assert pickle.loads(pickle.dumps(loss)) == loss
    close(pickle.loads(pickle.dumps(loss))(X, T)[0], loss(X, T)[0])
    assert fnn.huber() == fnn.LOSSES["huber"]


# --- CTC ----------------------------------------------------------------------------------------


def spellings(n_steps, n_classes, blank, labels):
    """Yield all ways to spell labels in so many steps."""
    for way in np.ndindex(*(n_classes,) * n_steps):
        merged = [s for i, s in enumerate(way) if i == 0 or s != way[i - 1]]
        if [s for s in merged if s != blank] == list(labels):
            yield way


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("labels", [(), (1,), (1, 1), (1, 3), (3, 1, 3)])
def test_the_probability_is_the_sum_over_all_spellings(blank, labels):
    logits = RNG.normal(size=(1, 4, 4))
    p = np.exp(logits[0]) / np.exp(logits[0]).sum(axis=1, keepdims=True)
    want = sum(np.prod([p[t, s] for t, s in enumerate(way)]) for way in spellings(4, 4, blank, labels))
    padded = np.array([[*labels, *[9] * (3 - len(labels))]])
    target = padded, np.array([len(labels)]), np.array([4])
    close(np.exp(-fnn.ctc(blank)(logits, target)[0]), want)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ctc_and_its_gradient_are_those_of_torch(dtype):
    torch = pytest.importorskip("torch")
    logits = (RNG.normal(size=(5, 12, 6)) * 3).astype(dtype)
    labels = RNG.integers(1, 6, (5, 4))
    labels[0] = [2, 2, 2, 2]
    n_labels, n_steps = np.array([4, 3, 1, 0, 4]), np.array([12, 7, 12, 5, 8])
    value, dlogits = fnn.ctc()(logits, (labels, n_labels, n_steps))
    tx = torch.tensor(logits, requires_grad=True)
    logs = torch.log_softmax(tx, 2).transpose(0, 1)
    counts = torch.tensor(n_steps), torch.tensor(n_labels)
    want = torch.nn.functional.ctc_loss(logs, torch.tensor(labels), *counts, reduction="none").mean()
    want.backward()
    rtol = 1e-10 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(value, want.item(), rtol=rtol)
    np.testing.assert_allclose(dlogits, tx.grad.numpy(), rtol=rtol, atol=rtol)
    assert dlogits.dtype == dtype
    assert not dlogits[1, 7:].any()


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (([[1, 1]], [2], [2]), DataError, "expected 3 steps or more for 2 labels, got 2 in example 0"),
        (([[1, 0]], [2], [4]), DataError, "expected labels of 0 to 3 but 0, the blank, got [1, 0] in"),
        (([[1, 4]], [2], [4]), DataError, "expected labels of 0 to 3 but 0, the blank, got [1, 4] in"),
        (([[1, 2]], [3], [4]), DataError, "expected 0 to 2 labels, got 3 in example 0"),
        (([[1, 2]], [1], [5]), DataError, "expected 1 to 4 steps, got 5 in example 0"),
        (([[1.0]], [1], [4]), DTypeError, "expected labels as integers, got float64"),
        (([1], [1], [4]), ShapeError, "expected labels of shape (1, length), got (1,)"),
    ],
)
def test_targets_that_cannot_be_spelt_are_refused(target, error, message):
    with pytest.raises(error, match="^ctc: " + re.escape(message)):
        fnn.ctc()(np.zeros((1, 4, 4)), tuple(map(np.array, target)))


def test_a_network_learns_to_spell():
    """Through fit: logits over time, and a tuple as target."""
    rng = np.random.default_rng(3)
    labels = rng.integers(1, 4, (64, 2))
    x = np.zeros((64, 8, 4), "float32")
    for i, (a, b) in enumerate(labels):
        x[i, 1:3, a], x[i, 5:7, b] = 1, 1
    x += 0.1 * rng.normal(size=x.shape).astype("float32")
    data = fnn.Dataset(x, (labels, np.full(64, 2), np.full(64, 8)))
    net = fnn.serial(fnn.GRU(8), fnn.Dense(4))
    fit = fnn.fit(net, fnn.ctc(), fnn.adam(0.02), data, epochs=30, batch_size=16, key=fnn.Key.of(0))
    assert fit.history["loss"][-1] < 0.3 * fit.history["loss"][0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fnn.huber(0), OptionError, "^huber: delta: expected a number"),
        (lambda: fnn.quantile(1.5), OptionError, "^quantile: q: expected a number"),
        (lambda: fnn.focal(-1), OptionError, "^focal: gamma: expected a number"),
        (lambda: fnn.ctc(-1), OptionError, "^ctc: blank: expected 0 or more, got -1"),
        (lambda: fnn.hinge(X, BITS), DataError, "^hinge: target.* is neither -1 nor 1"),
        (lambda: fnn.binary_focal()(X, SIGNS), DataError, "^binary_focal: target.* is neither 0 nor 1"),
        (lambda: fnn.poisson(X, -BITS), DataError, "^poisson: target.* is not 0 or more"),
        (lambda: fnn.gaussian_nll(X, T), ShapeError, "^gaussian_nll: expected mean and log-variance"),
        (
            lambda: fnn.triplet()(X, T),
            ShapeError,
            "^triplet: expected anchor, like and other on axis 1",
        ),
        (lambda: fnn.contrastive()(X, T), ShapeError, "^contrastive: expected two vectors on axis 1"),
    ],
)
def test_what_is_out_of_range_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
