"""Trajectories of optimizers beside PyTorch's, and schedules beside its schedulers."""

from __future__ import annotations

import numpy as np
import pytest

import fnn
from fnn import tree
from fnn.optimizers import apply_updates

torch = pytest.importorskip("torch")

PAIRS = {
    "nesterov": (fnn.nesterov(0.1), "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "nadam": (fnn.nadam(), "NAdam", {}),
    "nadam, other options": (
        fnn.nadam(0.01, b1=0.8, b2=0.9, eps=1e-3, momentum_decay=0.1),
        "NAdam",
        {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-3, "momentum_decay": 0.1},
    ),
    "radam": (fnn.radam(), "RAdam", {}),
    "radam, other options": (
        fnn.radam(0.01, b1=0.8, b2=0.9, eps=1e-3),
        "RAdam",
        {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-3},
    ),
    "amsgrad": (fnn.amsgrad(), "Adam", {"amsgrad": True}),
    "amsgrad, other options": (
        fnn.amsgrad(0.01, b1=0.8, b2=0.9, eps=1e-3),
        "Adam",
        {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-3, "amsgrad": True},
    ),
    "adamax": (fnn.adamax(), "Adamax", {}),
    "adamax, other options": (
        fnn.adamax(0.01, b1=0.8, b2=0.9, eps=1e-3),
        "Adamax",
        {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-3},
    ),
    "adadelta": (fnn.adadelta(), "Adadelta", {}),
    "adadelta, other options": (
        fnn.adadelta(0.1, 0.8, eps=1e-3),
        "Adadelta",
        {"lr": 0.1, "rho": 0.8, "eps": 1e-3},
    ),
    "rprop": (fnn.rprop(), "Rprop", {}),
    "rprop, other options": (
        fnn.rprop(0.1, shrink=0.3, grow=1.5, least=0.01, most=0.5),
        "Rprop",
        {"lr": 0.1, "etas": (0.3, 1.5), "step_sizes": (0.01, 0.5)},
    ),
    "adafactor": (fnn.adafactor(), "Adafactor", {}),
    "adafactor, other options": (
        fnn.adafactor(
            0.3, decay_power=0.5, eps=1e-5, least_scale=0.1, most_update=1.1, weight_decay=0.1
        ),
        "Adafactor",
        {"lr": 0.3, "beta2_decay": -0.5, "eps": (1e-5, 0.1), "d": 1.1, "weight_decay": 0.1},
    ),
}


def shape_and_start(rng, dtype):
    shapes = {"w": (6, 4), "b": (4,), "kernel": (3, 2, 2, 2), "scale": ()}
    return {name: np.asarray(rng.normal(size=shape), dtype) for name, shape in shapes.items()}


def follow(ours, optimizer, start, theirs, dtype, tolerance, *, to=lambda leaf: leaf):
    """Take 50 steps of both with the same gradients, and compare after each."""
    rng = np.random.default_rng(5)
    params, opt_state = tree.freeze(start), ours.init(start)
    target = {name: rng.normal(size=leaf.shape) for name, leaf in start.items()}
    for step in range(50):
        # The same gradients go to both, so that rounding is not fed back through them.
        grads = {
            name: np.asarray(goal * np.cos(step) + 0.3 * rng.normal(size=goal.shape), dtype)
            for name, goal in target.items()
        }
        updates, opt_state = ours.update(grads, opt_state, params, step)
        params = apply_updates(params, updates)
        for name, leaf in theirs.items():
            leaf.grad = torch.tensor(to(grads[name]))
        optimizer.step()
        for name, leaf in theirs.items():
            error = np.linalg.norm(to(params[name]) - leaf.detach().numpy())
            error /= np.linalg.norm(params[name])
            assert error < tolerance, f"{name} at step {step}: {error:.1e}"


@pytest.fixture(autouse=True)
def wide_scalars():
    """Have PyTorch keep numbers such as the product of momenta in float64 as well."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 3e-6)])
@pytest.mark.parametrize("name", PAIRS)
def test_fifty_steps_follow_pytorch(name, dtype, tolerance):
    ours, kind, options = PAIRS[name]
    start = shape_and_start(np.random.default_rng(3), dtype)
    theirs = {name: torch.nn.Parameter(torch.tensor(leaf)) for name, leaf in start.items()}
    optimizer = getattr(torch.optim, kind)(theirs.values(), foreach=False, **options)
    follow(ours, optimizer, start, theirs, dtype, tolerance)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_follows_pytorch_where_that_keeps_its_digits(shape, nesterov, monkeypatch):
    # PyTorch orthogonalises in bfloat16, two digits; here it is held to float64.
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda self: self.clone())
    ours = fnn.muon(0.02, nesterov=nesterov, weight_decay=0.3)
    start = {"w": np.random.default_rng(3).normal(size=shape)}
    # Its matrices are (outputs, inputs).
    theirs = {"w": torch.nn.Parameter(torch.tensor(start["w"].T.copy()))}
    optimizer = torch.optim.Muon(theirs.values(), lr=0.02, nesterov=nesterov, weight_decay=0.3)
    follow(ours, optimizer, start, theirs, "float64", 1e-12, to=lambda leaf: leaf.T.copy())


def test_muon_steps_as_adamw_does_where_there_is_no_matrix():
    start = {"b": np.random.default_rng(3).normal(size=7)}
    theirs = {"b": torch.nn.Parameter(torch.tensor(start["b"]))}
    optimizer = torch.optim.AdamW(theirs.values(), lr=0.02, weight_decay=0.3)
    follow(fnn.muon(0.02, weight_decay=0.3), optimizer, start, theirs, "float64", 1e-12)


def test_decayed_weights_of_some_leaves_are_pytorchs_parameter_groups():
    rng = np.random.default_rng(3)
    start = {"w": rng.normal(size=(6, 4)), "b": rng.normal(size=4)}
    theirs = {name: torch.nn.Parameter(torch.tensor(leaf)) for name, leaf in start.items()}
    groups = [
        {"params": [theirs["w"]], "weight_decay": 0.3},
        {"params": [theirs["b"]], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.02)
    ours = fnn.adamw(0.02, weight_decay=0.3, decayed="w")
    follow(ours, optimizer, start, theirs, "float64", 1e-12)


# --- schedules ------------------------------------------------------------------------------


def rates(scheduler, options, steps=50, lr=0.3):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = getattr(torch.optim.lr_scheduler, scheduler)(optimizer, **options)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


SCHEDULES = {
    "LinearLR": (
        fnn.linear_schedule(0.3 * 0.25, 0.3, 10),
        {"start_factor": 0.25, "total_iters": 10},
    ),
    "ConstantLR": (
        fnn.piecewise_schedule([0.3 * 0.25, 0.3], [7]),
        {"factor": 0.25, "total_iters": 7},
    ),
    "PolynomialLR": (
        fnn.polynomial_schedule(0.3, 0.0, 1.7, 40),
        {"total_iters": 40, "power": 1.7},
    ),
    "ExponentialLR": (fnn.exponential_schedule(0.3, 1, 0.9), {"gamma": 0.9}),
    "StepLR": (
        fnn.exponential_schedule(0.3, 7, 0.5, staircase=True),
        {"step_size": 7, "gamma": 0.5},
    ),
    "MultiStepLR": (
        fnn.piecewise_schedule([0.3, 0.03, 0.003], [5, 20]),
        {"milestones": [5, 20], "gamma": 0.1},
    ),
    "CosineAnnealingLR": (
        fnn.cosine_schedule(0.3, 50, alpha=0.1),
        {"T_max": 50, "eta_min": 0.03},
    ),
    "CosineAnnealingWarmRestarts": (
        fnn.cosine_restarts_schedule(0.3, 5, factor=2, end_value=0.01),
        {"T_0": 5, "T_mult": 2, "eta_min": 0.01},
    ),
    "OneCycleLR": (
        fnn.one_cycle_schedule(0.5, 51, warmup=0.4, div_factor=10, final_div_factor=100),
        {
            "max_lr": 0.5,
            "total_steps": 51,
            "pct_start": 0.4,
            "div_factor": 10,
            "final_div_factor": 100,
        },
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_follow_pytorchs_schedulers(name):
    ours, options = SCHEDULES[name]
    expected = rates(name, options)
    np.testing.assert_allclose([ours(step) for step in range(50)], expected, rtol=1e-12, atol=1e-15)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("total", "share"), [(20, 0.3), (3, 0.7), (100, 0.5), (7, 0.95)])
def test_one_cycle_follows_pytorch_at_its_edges(total, share):
    ours = fnn.one_cycle_schedule(0.5, total, warmup=share)
    expected = rates("OneCycleLR", {"max_lr": 0.5, "total_steps": total, "pct_start": share}, total)
    np.testing.assert_allclose([ours(step) for step in range(total)], expected, rtol=1e-12)
