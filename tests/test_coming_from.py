"""Every line of the page for those who come from elsewhere runs, and theirs where it is installed."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import fnn
from fnn.kernels.values import is_tuple_of_shapes

PAGE = (Path(__file__).resolve().parents[1] / "experiments/COMING_FROM.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
PACKAGES = {"stax": "jax", "PyTorch": "torch", "optax": "optax", "scikit-learn": "sklearn"}
OURS = {name: getattr(fnn, name) for name in fnn.__all__}


def rows(title, *, shapes):
    """Return the cells of a section's tables, as code: theirs, ours and the shape of x."""
    found = []
    for line in SECTIONS[title].splitlines():
        cells = re.findall(r"`([^`]+)`", line)
        if line.startswith("| `") and len(cells) == 2 + shapes:
            found.append(tuple(cells))
    return found


def cases(*titles, shapes):
    return [
        pytest.param(title, *cells, id=f"{title}: {cells[0]}")
        for title in titles
        for cells in rows(title, shapes=shapes)
    ]


def needs(title):
    if PACKAGES[title] == "optax" and not find_spec("jax"):
        pytest.skip("jax is not installed")
    return pytest.importorskip(PACKAGES[title])


def drawn(shape, n=6):
    rng = np.random.default_rng(0)
    if is_tuple_of_shapes(shape):
        return tuple(rng.normal(size=(n, *each)).astype("f4") for each in shape)
    return rng.normal(size=(n, *shape)).astype("f4")


def ours(code, shape):
    """Return what our layer makes of x, and of how many numbers its parameters are."""
    net = eval(code, dict(OURS))
    out_shape, params, state = net.init(fnn.Key.of(0), shape)
    y, _ = net.apply(params, state, drawn(shape))
    assert y.shape == (6, *out_shape)
    return y, sum(leaf.size for leaf in fnn.tree.leaves(params))


def test_the_page_has_a_section_for_each_and_all_their_lines_are_found():
    assert set(SECTIONS) == {"stax", "Keras", "PyTorch", "optax", "scikit-learn"}
    lines = [line for line in PAGE.splitlines() if line.startswith("| `")]
    found = [row for title in SECTIONS for n in (0, 1) for row in rows(title, shapes=n)]
    assert len(lines) == len(found) > 60


@pytest.mark.parametrize(("title", "theirs", "mine", "shape"), cases("Keras", shapes=1))
def test_layers_of_keras_have_a_layer_here(title, theirs, mine, shape):
    y, _ = ours(mine, eval(shape))
    assert theirs.startswith("layers.")
    assert np.isfinite(y).all()


@pytest.mark.parametrize(("title", "theirs", "mine", "shape"), cases("stax", shapes=1))
def test_layers_of_stax_have_the_shapes_and_parameters_of_ours(title, theirs, mine, shape):
    y, n = ours(mine, eval(shape))
    jax = needs(title)
    from jax.example_libraries import stax

    last = (-1, *eval(shape)[1:], eval(shape)[0]) if len(eval(shape)) == 3 else (-1, *eval(shape))
    init, apply = eval(theirs, {"stax": stax})
    out_shape, params = init(jax.random.key(0), last)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == n
    moved = (y.shape[-1], *y.shape[1:-1]) if len(out_shape) == 2 else (*y.shape[2:], y.shape[1])
    assert tuple(out_shape[1:]) == moved
    if n == 0 and y.ndim == 2 and len(last) == 2:
        x = drawn(eval(shape))
        np.testing.assert_allclose(apply(params, x), y, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(("title", "theirs", "mine", "shape"), cases("PyTorch", shapes=1))
def test_layers_of_pytorch_have_the_shapes_and_parameters_of_ours(title, theirs, mine, shape):
    y, n = ours(mine, eval(shape))
    torch = needs(title)
    module = eval(theirs, {"nn": torch.nn}).eval()
    with torch.no_grad():
        z = module(torch.tensor(drawn(eval(shape)))).numpy()
    assert z.shape == y.shape
    assert sum(p.numel() for p in module.parameters()) == n
    if n == 0 or "Norm" in theirs:  # What is drawn is another's; norms begin with ones and zeros.
        np.testing.assert_allclose(y, z, rtol=2e-5, atol=2e-6)


def targets(package=lambda a: a):
    rng = np.random.default_rng(1)
    return {
        "pred": package(drawn((4,))),
        "target": package(rng.normal(size=(6, 4)).astype("f4")),
        "labels": package(np.array([0, 3, 1, 1, 2, 0])),
        "binary": package((rng.random((6, 4)) < 0.5).astype("f4")),
    }


@pytest.mark.parametrize(("title", "theirs", "mine"), cases("PyTorch", shapes=0))
def test_losses_of_pytorch_have_the_values_of_ours(title, theirs, mine):
    value, _ = eval(mine, OURS | targets())
    torch = needs(title)
    other = eval(theirs, {"F": torch.nn.functional, **targets(torch.tensor)})
    np.testing.assert_allclose(value, float(other), rtol=1e-5)


@pytest.mark.parametrize(("title", "theirs", "mine"), cases("optax", shapes=0))
def test_optimizers_of_optax_take_the_steps_of_ours(title, theirs, mine):
    grads = [{"w": drawn((3,)) * (i + 1), "b": drawn(())} for i in range(3)]
    params, optimizer = {"w": drawn((3,)) + 1, "b": drawn(()) - 1}, eval(mine, dict(OURS))
    first, opt_state = params, optimizer.init(params)
    for step, each in enumerate(grads):
        updates, opt_state = optimizer.update(each, opt_state, params, step)
        params = fnn.apply_updates(params, updates)
    optax = needs(title)
    other, transform = first, eval(theirs, {"optax": optax})
    memory = transform.init(other)
    for each in grads:
        updates, memory = transform.update(each, memory, other)
        other = optax.apply_updates(other, updates)
    for name, leaf in params.items():
        np.testing.assert_allclose(leaf, other[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("title", "theirs", "mine"), cases("scikit-learn", shapes=0))
def test_metrics_of_scikit_learn_have_the_values_of_ours(title, theirs, mine):
    value = eval(mine, OURS | targets())
    metrics = needs(title).metrics

    def softmax(z):
        e = np.exp(z.astype("f8"))
        return e / e.sum(axis=1, keepdims=True)

    other = eval(theirs, {"metrics": metrics, "softmax": softmax, **targets()})
    np.testing.assert_allclose(value, other, rtol=1e-5)


@pytest.mark.parametrize("title", SECTIONS)
def test_the_programs_of_a_section_run(title, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train, test = fnn.digits("train").take(200), fnn.digits("test").take(50)
    net = fnn.serial(fnn.Dense(8), fnn.Relu(), fnn.Dense(10))
    params = fnn.Tree({"dense_0": {"w": np.ones((3, 2), "f4"), "b": np.ones(2, "f4")}})
    space = {"fnn": fnn, "np": np, "net": net, "train": train, "test": test, "x": drawn((4,))}
    space |= {"params": params, "dparams": params}
    blocks = re.findall(r"```python\n(.*?)```", SECTIONS[title], re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, f"COMING_FROM.md, {title}", "exec"), space)
