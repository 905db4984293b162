"""Modules of PyTorch as networks of ours, and numbers of ours back into them."""

from __future__ import annotations

import numpy as np
import pytest
from torch_cases import agrees, close, close_trees, inputs, trees

import fnn
from fnn import Key, tree
from fnn.kernels.values import map_arrays

torch = pytest.importorskip("torch")
room = pytest.importorskip("fnn.interop.torch")
from_torch, into_torch, to_torch = room.from_torch, room.into_torch, room.to_torch
nn = torch.nn


class First(nn.Module):
    """The outputs of a module that returns more."""

    def __init__(self, module, times=1):
        super().__init__()
        self.module, self.times = module, times

    def forward(self, x):
        return self.module(*(x,) * self.times)[0]


PLAIN = [
    nn.CELU, nn.ELU, nn.Hardswish, nn.LeakyReLU, nn.LogSigmoid, nn.Mish, nn.ReLU, nn.SELU, nn.SiLU,
    nn.Sigmoid, nn.Softplus, nn.Softsign, nn.Tanh, nn.Hardtanh, nn.Identity, nn.Flatten,
]  # fmt: skip
MODULES = [
    (lambda: nn.Linear(4, 3), (4,)),
    (lambda: nn.Linear(4, 3, bias=False), (5, 4)),
    (lambda: nn.Conv1d(2, 4, 3, stride=2, padding=1), (2, 9)),
    (lambda: nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), (2, 7, 8)),
    (lambda: nn.Conv2d(4, 4, 3, padding="same", groups=2, bias=False), (4, 5, 5)),
    (lambda: nn.Conv2d(2, 3, 3, padding=2, padding_mode="reflect"), (2, 5, 5)),
    (lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 5, 5)),
    (lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="replicate"), (2, 5, 5)),
    (lambda: nn.Conv3d(1, 2, 2), (1, 3, 4, 3)),
    (lambda: nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, output_padding=1, groups=2), (2, 4, 4)),
    (lambda: nn.ConvTranspose1d(2, 3, 3, dilation=2), (2, 5)),
    (lambda: nn.BatchNorm1d(4), (4,)),
    (lambda: nn.BatchNorm2d(3, momentum=0.3, eps=1e-3, affine=False), (3, 4, 4)),
    (lambda: nn.LayerNorm(4, eps=1e-3), (5, 4)),
    (lambda: nn.LayerNorm((3, 4), bias=False), (3, 4)),
    (lambda: nn.GroupNorm(2, 4), (4, 3, 3)),
    (lambda: nn.InstanceNorm2d(3, affine=True), (3, 4, 4)),
    (lambda: nn.RMSNorm(4, eps=1e-5), (5, 4)),
    (lambda: nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), (2, 6, 6)),
    (lambda: nn.MaxPool1d(2, dilation=2), (2, 9)),
    (lambda: nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False), (2, 6, 6)),
    (lambda: nn.AvgPool2d((2, 3)), (2, 6, 6)),
    (lambda: nn.AdaptiveAvgPool2d((2, 3)), (2, 5, 7)),
    (lambda: nn.PReLU(), (4,)),
    (lambda: nn.PReLU(3), (3, 4)),
    (lambda: nn.Upsample(scale_factor=2), (2, 3, 3)),
    (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), (2, 3, 3)),
    (lambda: nn.PixelShuffle(2), (8, 3, 3)),
    (lambda: nn.Softmax(dim=-1), (4,)),
    (lambda: nn.LogSoftmax(dim=1), (4, 3)),
    (lambda: nn.GLU(dim=1), (4, 3)),
    (lambda: nn.Hardtanh(0, 6), (4,)),
    (lambda: nn.GELU(), (4,)),
    *(((lambda make=make: make()), (4,)) for make in PLAIN),
    (
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
            nn.Sequential(nn.Flatten(), nn.Linear(36, 5)), nn.Tanh(), nn.Linear(5, 2),
        ),
        (1, 8, 8),
    ),
    (
        lambda: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 12, 0.0, "gelu", batch_first=True, norm_first=True),
            2, nn.LayerNorm(8), enable_nested_tensor=False,
        ),
        (5, 8),
    ),
    (lambda: nn.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=True), (5, 8)),
]  # fmt: skip
MORE = [
    (lambda: nn.LSTM(3, 4, batch_first=True), 1, (5, 3)),
    (lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True), 1, (5, 3)),
    (lambda: nn.GRU(3, 4, bidirectional=True, batch_first=True), 1, (5, 3)),
    (lambda: nn.GRU(3, 4, num_layers=2, batch_first=True), 1, (5, 3)),
    (lambda: nn.RNN(3, 4, nonlinearity="relu", batch_first=True), 1, (5, 3)),
    (lambda: nn.MultiheadAttention(8, 2, batch_first=True), 3, (5, 8)),
    (lambda: nn.MultiheadAttention(8, 2, batch_first=True, bias=False), 3, (5, 8)),
]


def stirred(module, seed=0):
    """Return a module in float64 off its first values."""
    torch.manual_seed(seed)
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for name, buffer in module.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(torch.rand_like(buffer))
    return module


def same(module, whole, in_shape, *, train):
    """Hold a network that was read to its module: outputs, derivatives, running statistics."""
    net, params, state = from_torch(module)
    x = inputs(net, in_shape, "float64")
    y, moved, back = net.vjp(params, state, x, train=train, key=Key.of(0))
    given = torch.tensor(np.array(x), requires_grad=True)
    came = whole.train(train)(given)
    close(came, y, "float64", "y")
    dy = np.random.default_rng(3).normal(size=y.shape)
    dparams, dx = back(dy)
    (came * torch.tensor(dy)).sum().backward()
    close(given.grad, dx, "float64", "dx")
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    grads = {name: p.grad for name, p in module.named_parameters()}
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.copy_(torch.zeros_like(p) if grads[name] is None else grads[name])
    theirs = from_torch(module)[1]
    close_trees(theirs, halved(theirs, dparams, module), "float64", "the derivative in")
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.copy_(before[name])
    if train:
        close_trees(from_torch(module)[2], moved, "float64", "state")


def halved(theirs, dparams, module):
    """Return the derivatives as they are read: a bias that PyTorch has twice is read as their sum."""
    twice = any(isinstance(each, nn.LSTM | nn.RNN) for each in module.modules())
    if not twice:
        return dparams
    return tree.update(
        dparams,
        {path: 2 * leaf for path, leaf in tree.items(dparams) if path.rpartition("/")[2] == "b"},
    )


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(("make", "in_shape"), MODULES, ids=[repr(m())[:50] for m, _ in MODULES])
def test_a_module_is_read_as_what_it_computes(make, in_shape, train):
    module = stirred(make())
    same(module, module, in_shape, train=train)


@pytest.mark.parametrize(("make", "times", "in_shape"), MORE, ids=[repr(m())[:50] for m, _, _ in MORE])
def test_recurrences_and_attention_are_read_as_what_they_compute(make, times, in_shape):
    module = stirred(make())
    same(module, First(module, times), in_shape, train=False)


def test_a_hard_sigmoid_is_read_whose_sixth_is_one_of_single_precision_in_torch():
    net, params, state = from_torch(nn.Hardsigmoid())
    x = inputs(net, (4,), "float32")
    close(nn.Hardsigmoid()(torch.tensor(x)), net.apply(params, state, x)[0], "float32", "y")


def test_embeddings_are_read():
    module = nn.Embedding(7, 3)
    net, params, state = from_torch(module)
    tokens = np.array([[0, 6], [3, 3]])
    close(module(torch.tensor(tokens)), net.apply(params, state, tokens)[0], "float32", "y")


@pytest.mark.parametrize(
    ("make", "in_shape"),
    [*MODULES, *((lambda make=make: make(), shape) for make, _, shape in MORE)],
)
def test_numbers_go_into_a_module_and_come_back(make, in_shape):
    net, params, state = from_torch(stirred(make()))
    other = stirred(make(), seed=1)
    into_torch(other, params, state)
    _, again, again_state = from_torch(other)
    assert again == params
    assert again_state == state
    assert net == from_torch(other)[0]


def test_a_network_trains_on_here_and_goes_back():
    module = nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))
    net, params, state = from_torch(module)
    data = fnn.digits("train").take(200)
    fit = fnn.fit(
        net, fnn.softmax_cross_entropy, fnn.adam(0.01), data, epochs=3, batch_size=20, key=Key.of(0),
        params=params, state=state, progress=False,
    )  # fmt: skip
    into_torch(module, fit.last.params, fit.last.state)
    x = data.x[:20]
    close(module.eval()(torch.tensor(np.array(x))), fnn.predict(net, fit.last, x), "float32", "y")


def test_what_to_torch_made_is_given_back():
    net = fnn.serial(fnn.bidirectional(fnn.GRU(3)), fnn.BatchNorm(axis=-1))
    params, state = trees(net, (4, 2), "float32")
    module = to_torch(net, params, state)
    assert from_torch(module) == (net, params, state)
    moved = tree.map(lambda leaf: leaf + 1, params)
    into_torch(module, moved, state)
    assert from_torch(module)[1] == moved
    x = map_arrays(np.array, inputs(net, (4, 2), "float32"))
    agrees(net, moved, state, x, "float32", train=True, module=module)


# --- refusals ------------------------------------------------------------------------------------


class Own(nn.Linear):
    """A layer that may do anything."""


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Own(2, 2), r"from_torch: expected a module that fnn has a layer for, got Own"),
        (
            nn.Sequential(nn.ReLU(), nn.Sequential(Own(2, 2))),
            r"from_torch/1/0: .* no rule for its class",
        ),
        (nn.LSTM(2, 2), "time before the batch"),
        (nn.BatchNorm1d(3, track_running_stats=False), "no running statistics"),
        (nn.Softplus(beta=2), "another beta than 1"),
        (nn.Upsample(size=4), "a size"),
        (nn.Flatten(2), "other axes"),
        (nn.Embedding(3, 2, max_norm=1.0), "max_norm"),
        (nn.Linear(2, 2).half(), "float32 or float64, got torch.float16"),
        ("module", "expected a module of PyTorch, got 'module'"),
    ],
)
def test_what_cannot_be_read_is_refused_by_path(module, message):
    with pytest.raises(fnn.OptionError, match=message):
        from_torch(module)


def test_numbers_that_do_not_fit_are_refused_and_nothing_is_written():
    module = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    _, params, state = from_torch(module)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    wrong = tree.update(params, {"dense_1": {"w": np.ones((3, 2), "f4"), "b": np.ones(2, "f4")}})
    with pytest.raises(
        fnn.ShapeError, match=r"into_torch: expected 1.weight of shape \(2, 2\), got \(2, 3\)"
    ):
        into_torch(module, tree.map(lambda leaf: leaf + 1, wrong), state)
    with pytest.raises(fnn.TreeError, match="dense_1"):
        into_torch(module, {"dense_0": params["dense_0"]}, state)
    assert all(torch.equal(p, before[name]) for name, p in module.named_parameters())
