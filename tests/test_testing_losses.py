"""Laws of losses: every public one obeys them, wrong ones are caught by the right law."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from law_cases import LOSS_CASES, public_losses

import fnn
from fnn.errors import OptionError
from fnn.testing.laws.of_losses import check_loss
from fnn.testing.report import LawError


def broken(loss, draw=None, **options):
    """Return the names of the laws that a loss breaks."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            check_loss(loss, draw, **options)
        except LawError as error:
            return set(error.report.broken)
    return set()


# --- right ones ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", LOSS_CASES, ids=str)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_public_loss_obeys_every_law(case, dtype):
    report = check_loss(case.loss, case.draw, dtype=dtype, seed=3)
    assert {"gradient", "weight_gradient", "weight_scale", "batch_of_one"} <= set(report.laws)
    assert not [note for note in report.notes if "complex" in note or "kink" in note]
    kind = "sum" if case.name in ("summed", "half_squared_error") else "mean"
    assert f"a {kind} over the examples" in report.notes


def test_the_table_holds_every_public_loss():
    # Those whose examples are each other's, and whose targets are tuples: test_losses_against_torch.py.
    assert {case.name for case in LOSS_CASES} == public_losses() - {"contrastive", "ctc"}


@pytest.mark.parametrize("name", list(fnn.LOSSES))
def test_what_a_public_loss_takes_is_found_out(name):
    report = check_loss(fnn.LOSSES[name])
    assert report.notes[0].startswith("drawn: ")
    assert report.violations == ()


def test_a_loss_without_weights_is_proved_but_for_their_laws():
    def huber(pred, target):
        if np.shape(target) != pred.shape:
            raise ValueError("shapes")
        d = pred - target.astype(pred.real.dtype)
        inside = np.abs(d.real) < 0.5
        values = np.where(inside, d * d / 2, 0.5 * (np.sign(d.real) * d - 0.25))
        return values.mean(), np.where(inside, d, 0.5 * np.sign(d.real)) / pred.size

    report = check_loss(huber)
    assert "takes no weight for each target: those laws do not apply" in report.notes
    assert not {"weight_scale", "weight_zero"} & set(report.laws)


def cubed(x, t):
    return np.abs(x - t) ** 3, 3 * (x - t).real * np.abs(x - t)


def real_cubed(pred, target, factor=1.0):
    """Refuse complex numbers, as a user's loss may."""
    if pred.dtype.kind == "c" or pred.shape != target.shape:
        raise ValueError("real numbers of one shape")
    values, slopes = cubed(pred, target.astype(pred.dtype))
    return values.mean(), factor * slopes / pred.size


def test_a_loss_that_refuses_complex_numbers_is_proved_by_differences():
    assert "not complex-safe: judged by central differences, to 1e-7" in check_loss(real_cubed).notes
    assert "gradient" in broken(lambda p, t: real_cubed(p, t, 1 + 1e-6))


def test_a_loss_that_loses_imaginary_parts_is_told_so_and_its_gradient_believed():
    with pytest.raises(LawError) as info:
        check_loss(fnn.make_loss("cubed", cubed))
    said = {violation.message for violation in info.value.report.violations}
    (only,) = said
    assert only.startswith("takes complex numbers but loses their imaginary part")
    assert "complex_safe=False" in only


# --- wrong ones ---------------------------------------------------------------------------------


def gradient_of(change):
    """Return the squared error with its gradient changed."""

    def loss(pred, target, *, weight=None):
        value, dpred = fnn.squared_error(pred, target, weight=weight)
        return value, change(dpred)

    return loss


def twice_first(d):
    d = d.copy()
    d.flat[0] *= 2
    return d


@pytest.mark.parametrize("factor", [-1.0, 0.0, 2.0, 1.001, 1 + 1e-6, 1 + 1e-11])
def test_a_gradient_wrong_by_a_factor_is_caught(factor):
    assert {"gradient", "weight_gradient"} <= broken(gradient_of(lambda d: d * factor))


@pytest.mark.parametrize("size", [1, 10, 1000, 100_000, 1_000_000])
def test_a_gradient_wrong_by_a_millionth_is_caught_at_every_size(size):
    def draw(generator, dtype):
        return generator.normal(size=size).astype(dtype), generator.normal(size=size)

    def loss(pred, target):
        value, dpred = fnn.squared_error(pred, target)
        return value, dpred * (1 + 1e-6)

    def exact(pred, target):
        return fnn.squared_error(pred, target)

    if size <= 1000:
        assert "gradient" in broken(loss, draw)
        assert broken(exact, draw) == set()
    else:
        assert "gradient" in only_the_gradient(loss, draw)
        assert only_the_gradient(exact, draw) == set()


def only_the_gradient(loss, draw):
    """Run that one law along directions, for arrays that would take long in every entry."""
    from fnn.testing import loss_case
    from fnn.testing.laws import of_losses as loss_laws

    most, laws = loss_case.MOST_ENTRIES, loss_laws._LAWS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_case, "MOST_ENTRIES", min(most, 3))
        patch.setattr(loss_laws, "_LAWS", tuple(law for law in laws if law.__name__ == "gradient"))
        patch.setattr(loss_laws, "_OF_EXAMPLES", ())
        return broken(loss, draw)


def test_a_fault_that_one_draw_hides_is_found_in_another():
    def draw(generator, dtype):
        labels = generator.integers(0, 3, 4)
        return np.log(np.full((4, 3), 1 / 3, dtype)) - generator.random((4, 3)).astype(dtype), labels

    def loss(pred, target, *, weight=None):
        value, dpred = fnn.nll(pred, target, weight=weight)
        dpred[-1, -1] = 0  # Which is right wherever the last label is another.
        return value, dpred

    assert all("gradient" in broken(loss, draw, seed=seed) for seed in range(20))


WRONG_GRADIENTS = {
    "one entry": twice_first,
    "rows shifted": lambda d: np.roll(d, 1, axis=0),
    "columns reversed": lambda d: d[:, ::-1].copy(),
    "summed, not averaged": lambda d: d * d.size,
    "averaged over the batch alone": lambda d: d * d.shape[1],
    "rounded to float32": lambda d: d.astype(np.float32).astype(d.dtype),
    "the mean taken out": lambda d: d - d.mean(),
}


@pytest.mark.parametrize("name", WRONG_GRADIENTS)
def test_a_wrong_gradient_is_caught_and_named(name):
    assert "gradient" in broken(gradient_of(WRONG_GRADIENTS[name]))


def test_the_worst_entry_is_named_with_what_came_and_what_should_have_come():
    with pytest.raises(
        LawError, match=r"gradient: .* at dpred\[0, 0\]; got .*, want .*; seed 7"
    ) as info:
        check_loss(gradient_of(twice_first), seed=7)
    entry = next(v for v in info.value.report.violations if v.index == (0, 0))
    assert entry.got == pytest.approx(2 * entry.want)
    assert str(pickle.loads(pickle.dumps(info.value))) == str(info.value)


def of_sum(pred, target, *, weight=None):
    """Give the value of a mean and the gradient of the sum."""
    return fnn.squared_error(pred, target, weight=weight)[0], 2 * (pred - target)


def ignores_weight(pred, target, *, weight=None):
    return fnn.squared_error(pred, target)


def swallows_keywords(pred, target, **options):
    return fnn.squared_error(pred, target)


def divides_by_n(pred, target, *, weight=None):
    """Divide Σ w ℓ by the batch size: neither a mean nor a sum where weights grow."""
    d = pred - np.asarray(target)
    if d.shape != target.shape:
        raise ValueError("shapes")
    w = np.ones(len(pred)) if weight is None else weight
    w = w.reshape(-1, *(1,) * (pred.ndim - 1)).astype(pred.real.dtype)
    return (w * d * d).sum() / pred.size, 2 * w * d / pred.size


def broadcasts(pred, target, *, weight=None):
    d = pred - target
    return (d * d).mean(), np.broadcast_to(2 * d / d.size, d.shape).reshape(pred.shape).copy()


def writes_to_pred(pred, target, *, weight=None):
    result = fnn.squared_error(pred, target, weight=weight)
    pred -= target
    return result


def writes_to_weight(pred, target, *, weight=None):
    result = fnn.squared_error(pred, target, weight=weight)
    if weight is not None:
        weight /= weight.sum()
    return result


def python_float(pred, target, *, weight=None):
    value, dpred = fnn.squared_error(pred, target, weight=weight)
    return (value if np.iscomplexobj(value) else float(value)), dpred


def float64_leak(pred, target, *, weight=None):
    value, dpred = fnn.squared_error(pred, target, weight=weight)
    return value, dpred * np.float64(1.0)  # NumPy 2 promotes.


def nan_at_weight_zero(pred, target, *, weight=None):
    value, dpred = fnn.squared_error(pred, target, weight=weight)
    return value + 0 * pred.sum(), dpred


def alone_it_is_nothing(pred, target, *, weight=None):
    value, dpred = fnn.squared_error(pred, target, weight=weight)
    return (value, dpred) if len(pred) > 1 else (value * 0, dpred * 0 + 1)


def first_counts_twice(pred, target, *, weight=None):
    w = np.ones(len(pred)) if weight is None else weight.copy()
    w[0] *= 2
    return fnn.squared_error(pred, target, weight=w)


def looks_at_the_order_in_memory(pred, target, *, weight=None):
    value, dpred = fnn.squared_error(pred, target, weight=weight)
    return (value, dpred) if pred.flags.c_contiguous else (value, dpred[::-1].copy())


def accepts_weights_of_zero(pred, target, *, weight=None):
    if weight is not None and weight.shape == (len(pred),) and not weight.any():
        return pred.dtype.type(0), np.zeros_like(pred)
    return fnn.squared_error(pred, target, weight=weight)


def returns_its_argument(pred, target, *, weight=None):
    value, dpred = fnn.squared_error(pred, target, weight=weight)
    pred[...] = dpred
    return value, pred


class Counting:
    __name__ = "counting"

    def __init__(self):
        self.calls = 0

    def __call__(self, pred, target, *, weight=None):
        self.calls += 1
        value, dpred = fnn.squared_error(pred, target, weight=weight)
        return value + pred.real.dtype.type(1e-9 * self.calls), dpred


class Buffered:
    __name__ = "buffered"

    def __init__(self):
        self.buffers = {}

    def __call__(self, pred, target, *, weight=None):
        value, dpred = fnn.squared_error(pred, target, weight=weight)
        out = self.buffers.setdefault((dpred.shape, dpred.dtype), np.empty_like(dpred))
        out[...] = dpred
        return value, out


@pytest.mark.parametrize(
    ("loss", "law"),
    [
        (of_sum, "gradient"),
        (ignores_weight, "weight_zero"),
        (ignores_weight, "weight_refused"),
        (swallows_keywords, "weight_scale"),
        (divides_by_n, "weight_zero"),
        (broadcasts, "shapes"),
        (writes_to_pred, "untouched"),
        (writes_to_weight, "untouched"),
        (python_float, "value"),
        (float64_leak, "float32"),
        (nan_at_weight_zero, "weight_zero"),
        (alone_it_is_nothing, "batch_of_one"),
        (first_counts_twice, "permutation"),
        (looks_at_the_order_in_memory, "pure"),
        (accepts_weights_of_zero, "weight_refused"),
        (returns_its_argument, "dpred"),
        (Counting(), "pure"),
        (Buffered(), "pure"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_wrong_loss_is_caught_by_the_law_it_breaks(loss, law):
    assert law in broken(loss)


def test_a_right_loss_with_one_wrong_law_breaks_no_other():
    assert broken(python_float) == {"value", "float32"}
    assert broken(writes_to_pred) == {"untouched", "pure"}
    assert broken(accepts_weights_of_zero) == {"weight_refused"}


# --- what is no loss at all ---------------------------------------------------------------------


def raising(*_, **__):
    raise KeyError("no such thing")


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (raising, "KeyError"),
        (lambda pred, target: pred.mean(), "expected (value, dpred), got float64"),
        (lambda pred, target: (1.0, pred, pred), "got 3 values"),
        (lambda pred, target: (np.float64(np.nan), pred), "expected finite floating numbers as value"),
        (lambda pred, target: (np.float64(1), pred * np.inf), "finite floating numbers as dpred"),
        (lambda pred, target: (pred, pred), "expected one value, got shape (5, 4)"),
        (lambda pred, target: ("one", pred), "floating numbers as value"),
        (lambda pred, target: (np.float64(1), None), "floating numbers as dpred"),
        (lambda pred: (np.float64(1), pred), "TypeError"),
        (17, "TypeError"),
    ],
)
def test_what_is_no_loss_is_reported_and_never_a_traceback(loss, said):
    with pytest.raises(LawError) as info:
        check_loss(loss)
    assert said in str(info.value)
    assert info.value.report.broken == ("call",)


def test_warnings_of_a_loss_become_notes():
    def loud(pred, target, *, weight=None):
        warnings.warn("so loud", stacklevel=1)
        return fnn.squared_error(pred, target, weight=weight)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = check_loss(loud)
    assert "value: warned of UserWarning: so loud" in report.notes


def test_a_bad_draw_is_reported():
    for draw in (raising, lambda g, dtype: np.ones(3), lambda g, dtype: (np.ones(3, int), np.ones(3))):
        assert broken(fnn.squared_error, draw) == {"call"}


def test_options_out_of_range_are_refused():
    for options in (
        {"dtype": "float16"},
        {"dtype": "complex128"},
        {"directions": 0},
        {"rtol": -1.0},
        {"rtol": 1e-16},
        {"dtype": "float32", "rtol": 1e-12},
    ):
        with pytest.raises(OptionError):
            check_loss(fnn.squared_error, **options)


def test_equal_seeds_give_equal_reports():
    reports = []
    for _ in range(2):
        with pytest.raises(LawError) as info:
            check_loss(gradient_of(lambda d: 2 * d), seed=5)
        reports.append(str(info.value))
    assert reports[0] == reports[1]
