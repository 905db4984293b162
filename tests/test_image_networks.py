"""The networks of images beside PyTorch's: equal weights, batches, augmentation and noise."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest

import fnn
from fnn import Key

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
NAMES = ["autoencoder", "vae", "resnet"]


@pytest.fixture(params=NAMES)
def script(request, monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return importlib.import_module(request.param)


# --- the same networks as a PyTorch user writes them -------------------------------------------------


def affine(x, own):
    return x @ own["w"] + own["b"]


def autoencoder(torch, p, x, key):
    h = affine(x, p["encoder"]["dense_0"]).relu()
    h = affine(affine(h, p["encoder"]["dense_1"]), p["decoder"]["dense_0"]).relu()
    return affine(h, p["decoder"]["dense_1"])


def vae(torch, p, x, key):
    h = affine(x, p["encoder"]["dense_0"]).relu()
    mean, log_var = (affine(h, p["encoder"]["parallel_0"][f"dense_{i}"]) for i in range(2))
    noise = key.fold("drawn_code_0").generator().standard_normal(mean.shape, "float32")
    code = mean + torch.exp(log_var / 2) * torch.tensor(noise)
    own = p["parallel_0"]["decoder"]
    return affine(affine(code, own["dense_0"]).relu(), own["dense_1"]), mean, log_var


def resnet(torch, p, x, key):
    functional = torch.nn.functional

    def convolution(x, own):
        norm = own["batch_norm_0"]
        y = functional.conv2d(x, own["conv_0"]["w"], padding=1)
        return functional.batch_norm(y, None, None, norm["scale"], norm["shift"], True, 0.1, 1e-5)

    def stage(x, own):
        x = functional.max_pool2d(convolution(x, own["serial_0"]), 2).relu()
        block = own["residual_0"]
        return (x + convolution(convolution(x, block["serial_0"]).relu(), block["serial_1"])).relu()

    x = stage(stage(x, p["first"]), p["second"])
    return affine(x.amax(dim=(2, 3)), p["dense_0"])


def loss_of(torch, name, out, x, target):
    functional = torch.nn.functional
    if name == "resnet":
        return functional.cross_entropy(out, target)
    if name == "autoencoder":
        return functional.binary_cross_entropy_with_logits(out, target)
    logits, mean, log_var = out
    pixels = functional.binary_cross_entropy_with_logits(logits, target, reduction="sum")
    divergence = (log_var.exp() + mean**2 - 1 - log_var).sum() / 2
    return (pixels + divergence) / len(x)


def tensors(torch, node):
    if isinstance(node, dict):
        return {name: tensors(torch, value) for name, value in node.items()}
    return torch.tensor(node, requires_grad=True)


def leaves(node):
    if not isinstance(node, dict):
        return [node]
    return [leaf for each in node.values() for leaf in leaves(each)]


# --- both -------------------------------------------------------------------------------------------


def parts(script, config, data, steps):
    """Return the network, the loss, the optimizer and the augmentation of a script."""
    name = script.__name__
    if name == "resnet":
        schedule = fnn.one_cycle_schedule(config.peak, steps)
        optimizer = fnn.chain(
            fnn.masked(fnn.add_decayed_weights(config.decay), lambda path, leaf: leaf.ndim > 1),
            fnn.nesterov(schedule),
        )
        augment = fnn.composed(fnn.random_rotate(config.degrees), fnn.random_shift(config.pixels))
        return script.network(config), fnn.softmax_cross_entropy, optimizer, augment
    net = script.network(config, data.x.shape[1])
    loss = script.negative_elbo if name == "vae" else fnn.sigmoid_cross_entropy
    return net, loss, fnn.adam(config.learning_rate), None


def torch_optimizer(torch, name, config, params, steps):
    """Return the optimizer and what sets its learning rate before a step."""
    if name != "resnet":
        return torch.optim.Adam(leaves(params), config.learning_rate), lambda step: None
    decayed = [leaf for leaf in leaves(params) if leaf.ndim > 1]
    others = [leaf for leaf in leaves(params) if leaf.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.decay}, {"params": others}]
    sgd = torch.optim.SGD(groups, 0.1, momentum=0.9, nesterov=True)
    schedule = fnn.one_cycle_schedule(config.peak, steps)

    def set_rate(step):
        for group in sgd.param_groups:
            group["lr"] = schedule(step)

    return sgd, set_rate


def both(script, steps, n, dtype="float32", **options):
    """Return the losses of both over the same batches."""
    torch = pytest.importorskip("torch")
    name = script.__name__
    config = attrs.evolve(script.Config(), **options)
    if n is None:
        data = fnn.mnist_or_digits(None, flat=name != "resnet")[0]
    else:
        data = fnn.digits("train", size=28).take(n)
        data = fnn.Dataset(data.x.reshape(-1, 1, 28, 28) if name == "resnet" else data.x, data.y)
    if name != "resnet":
        data = fnn.Dataset(data.x, data.x)
    data = data.cast(dtype)
    net, loss, optimizer, augment = parts(script, config, data, steps)
    now = fnn.init_train_state(net, optimizer, data.in_shape, Key.of(0))
    now = fnn.training.state.cast(now, dtype)
    params = tensors(torch, now.params)
    theirs, set_rate = torch_optimizer(torch, name, config, params, steps)
    twin = globals()[name]
    step = fnn.jit(fnn.train_step(net, loss, optimizer))
    losses, epoch = ([], []), 0
    while now.step < steps:
        key = Key.of(1).fold(epoch)
        order = fnn.batches(data, config.batch_size, key=key, drop_last=True, transform=augment)
        for x, target in order:
            if now.step == steps:
                break
            own = now.key.fold("step", now.step)
            set_rate(now.step)
            given = torch.tensor(x), torch.tensor(target)
            theirs.zero_grad()
            value = loss_of(torch, name, twin(torch, params, given[0], own), *given)
            value.backward()
            theirs.step()
            losses[1].append(float(value.detach()))
            now, logs = step(now, (x, target))
            losses[0].append(float(logs["loss"]))
        epoch += 1
    return [np.array(each) for each in losses]


SMALL = {"autoencoder": {"width": 16}, "vae": {"width": 16}, "resnet": {"width": 4}}


def test_the_first_steps_go_where_torch_goes(script):
    options = SMALL[script.__name__]
    ours, theirs = both(script, 12, 96, "float64", batch_size=24, **options)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    assert ours[-1] < ours[0]


@pytest.mark.slow
def test_after_a_thousand_steps_on_mnist_the_loss_is_that_of_torch_within_two_percent(script, capsys):
    ours, theirs = both(script, 1000, None)
    ends = [float(each[-100:].mean()) for each in (ours, theirs)]
    with capsys.disabled():
        sys.stdout.write(f"\n{script.__name__}: loss {ends[0]:.4f} beside {ends[1]:.4f}\n")
    assert abs(ends[0] / ends[1] - 1) < 0.02


def test_a_drawn_code_obeys_the_laws(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    layer = importlib.import_module("vae").drawn_code()
    fnn.testing.check_layer(layer, ((3,), (3,)))


def test_the_bound_has_the_gradient_that_it_says(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    loss = importlib.import_module("vae").negative_elbo
    rng = np.random.default_rng(0)
    pred = rng.normal(size=(3, 5)), rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    target = rng.random((3, 5))
    value, dpred = loss(pred, target)
    for i, part in enumerate(pred):
        for at in np.ndindex(part.shape):
            moved = [each.astype(complex) for each in pred]
            moved[i][at] += 1e-30j
            assert loss(tuple(moved), target)[0].imag / 1e-30 == pytest.approx(dpred[i][at], rel=1e-12)
    assert value > 0
