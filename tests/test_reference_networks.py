"""The five reference networks step by step beside PyTorch: 50 steps from one set of weights."""

import attrs
import numpy as np
import pytest

import fnn
from fnn import tree

torch = pytest.importorskip("torch")

STEPS = 50
TOLERANCES = {np.float64: 1e-10, np.float32: 1e-5}


def torch_modules(net):
    """Return the modules of a `serial` in order, its parameters left as PyTorch draws them."""
    made = {
        "relu": lambda args: torch.nn.ReLU(),
        "sigmoid": lambda args: torch.nn.Sigmoid(),
        "flatten": lambda args: torch.nn.Flatten(),
        "leaky_relu": lambda args: torch.nn.LeakyReLU(args.get("slope", 0.01)),
        "max_pool": lambda args: torch.nn.MaxPool2d(2),
    }
    return [
        (name, made[layer.name](layer.recipe.kwargs) if layer.name in made else layer.name)
        for name, layer in net.children
    ]


def twin(net, now, dtype):
    """Return PyTorch's network with copies of the same weights, and its parameters by our paths."""
    modules, leaves = [], {}
    for name, module in torch_modules(net):
        params = now.params.get(name, {})
        tensors = {leaf: torch.tensor(np.array(value)) for leaf, value in params.items()}
        if module == "dense":
            module = torch.nn.Linear(*params["w"].shape, bias="b" in params).to(dtype)
            pairs = {"w": (module.weight, True)}
            pairs |= {"b": (module.bias, False)} if "b" in params else {}
        elif module == "conv":
            out, inside, *window = params["w"].shape
            module = torch.nn.Conv2d(inside, out, tuple(window)).to(dtype)
            pairs = {"w": (module.weight, False), "b": (module.bias, False)}
        elif module == "batch_norm":
            module = torch.nn.BatchNorm1d(len(params["scale"]), eps=1e-5, momentum=0.1).to(dtype)
            pairs = {"scale": (module.weight, False), "shift": (module.bias, False)}
        else:
            pairs = {}
        for leaf, (theirs, transposed) in pairs.items():
            theirs.data = tensors[leaf].T.contiguous() if transposed else tensors[leaf]
            leaves[f"{name}/{leaf}"] = (theirs, transposed)
        modules.append(module)
    return torch.nn.Sequential(*modules), leaves


class RmsPropOutside(torch.optim.Optimizer):
    """Written out: s ← decay s + (1 - decay) g², p ← p - lr g / (√s + eps)."""

    def __init__(self, params, lr, decay, eps):
        super().__init__(params, {"lr": lr, "decay": decay, "eps": eps})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                s = self.state[p].setdefault("s", torch.zeros_like(p))
                s.mul_(group["decay"]).add_((1 - group["decay"]) * p.grad**2)
                p -= group["lr"] * p.grad / (s.sqrt() + group["eps"])


def half_squared(pred, target):
    return 0.5 * ((pred - target) ** 2).sum()


def labels(rng, n):
    return rng.integers(0, 10, n)


def flat(rng, n, width=20):
    return rng.uniform(0, 1, (n, width)), labels(rng, n)


def images(rng, n):
    # Multiples of 1/4: many ties in the pools, as between the white pixels of a page.
    return np.floor(rng.uniform(0, 1, (n, 1, 14, 14)) * 4) / 4, labels(rng, n)


def parity(rng, n):
    bits = rng.permutation((np.arange(32)[:, None] >> np.arange(5)) & 1)
    return bits, bits.sum(axis=1, keepdims=True) % 2


wide = fnn.normal(1.0)
REFERENCES = {
    "R1": (
        fnn.serial(fnn.Dense(24), fnn.BatchNorm(), fnn.Relu(), fnn.Dense(10), fnn.BatchNorm()),
        fnn.summed(fnn.softmax_cross_entropy),
        torch.nn.CrossEntropyLoss(reduction="sum"),
        fnn.momentum(1e-3),
        lambda params: torch.optim.SGD(params, lr=1e-3, momentum=0.9),
        flat,
    ),
    "R2": (
        fnn.serial(
            fnn.Conv(4, 5), fnn.MaxPool(2), fnn.Relu(),
            fnn.Conv(6, 2), fnn.MaxPool(2), fnn.Relu(),
            fnn.Flatten(), fnn.Dense(10),
        ),
        fnn.softmax_cross_entropy,
        torch.nn.CrossEntropyLoss(),
        fnn.sgd(0.1),
        lambda params: torch.optim.SGD(params, lr=0.1),
        images,
    ),
    "R3": (
        fnn.serial(
            fnn.Dense(24, init_w=wide, init_b=wide), fnn.Sigmoid(),
            fnn.Dense(16, init_w=wide, init_b=wide), fnn.Sigmoid(),
            fnn.Dense(10, init_w=wide, init_b=wide),
        ),
        fnn.softmax_cross_entropy,
        torch.nn.CrossEntropyLoss(),
        fnn.sgd(1.0),
        lambda params: torch.optim.SGD(params, lr=1.0),
        flat,
    ),
    "R4": (
        fnn.serial(
            *(
                layer
                for width in (20, 10, 5, 1)
                for layer in (
                    fnn.Dense(width, init_w=fnn.uniform(-4, 4), init_b=fnn.uniform(-4, 4)),
                    fnn.Sigmoid(),
                )
            )
        ),
        fnn.half_squared_error,
        half_squared,
        fnn.sgd(0.01),
        lambda params: torch.optim.SGD(params, lr=0.01),
        parity,
    ),
    # Before batch norm a bias has a derivative of zero; RMSProp and Adam would blow up its rounding.
    "R5": (
        fnn.serial(fnn.Dense(24, bias=False), fnn.BatchNorm(), fnn.LeakyRelu(0.0), fnn.Dense(10)),
        fnn.softmax_cross_entropy,
        torch.nn.CrossEntropyLoss(),
        fnn.rmsprop(0.02, 0.9, eps=1e-6),
        lambda params: RmsPropOutside(params, 0.02, 0.9, 1e-6),
        flat,
    ),
    "R5, slope 0.3, Adam": (
        fnn.serial(fnn.Dense(24, bias=False), fnn.BatchNorm(), fnn.LeakyRelu(0.3), fnn.Dense(10)),
        fnn.softmax_cross_entropy,
        torch.nn.CrossEntropyLoss(),
        fnn.adam(0.01),
        lambda params: torch.optim.Adam(params, lr=0.01),
        flat,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("dtype", TOLERANCES, ids=["float64", "float32"])
def test_fifty_steps_of_a_reference_network_are_pytorchs(name, dtype):
    net, loss, their_loss, optimizer, their_optimizer, data = REFERENCES[name]
    rng = np.random.default_rng(0)
    batches = []
    for _ in range(STEPS):
        x, y = data(rng, 32)
        batches.append((x.astype(dtype), y.astype(dtype) if name == "R4" else y))
    now = fnn.init_train_state(net, optimizer, batches[0][0].shape[1:], fnn.Key.of(0))
    now = attrs.evolve(
        now, **{part: tree.cast(getattr(now, part), dtype) for part in ("params", "state", "opt_state")}
    )
    theirs, leaves = twin(net, now, getattr(torch, np.dtype(dtype).name))
    assert set(leaves) == {path for path, _ in tree.items(now.params)}
    theirs.train()
    descent = their_optimizer(theirs.parameters())
    step = fnn.jit(fnn.train_step(net, loss, optimizer))
    tolerance = TOLERANCES[dtype]
    for i, (x, y) in enumerate(batches):
        now, logs = step(now, (x, y))
        descent.zero_grad()
        value = their_loss(theirs(torch.tensor(x)), torch.tensor(y))
        value.backward()
        descent.step()
        assert logs["loss"] == pytest.approx(value.item(), rel=10 * tolerance), f"step {i}"
    for path, leaf in tree.items(now.params):
        tensor, transposed = leaves[path]
        expected = tensor.detach().numpy()
        expected = expected.T if transposed else expected
        error = np.abs(leaf - expected).max()
        assert error <= tolerance * max(1.0, np.abs(expected).max()), path
    for name_, module in zip((name_ for name_, _ in net.children), theirs, strict=True):
        if isinstance(module, torch.nn.BatchNorm1d):
            own = now.state[name_]
            np.testing.assert_allclose(own["mean"], module.running_mean, rtol=0, atol=10 * tolerance)
            np.testing.assert_allclose(
                own["var"], module.running_var, rtol=10 * tolerance, atol=tolerance
            )
    theirs.eval()
    with torch.no_grad():
        expected = theirs(torch.tensor(x)).numpy()
    np.testing.assert_allclose(
        fnn.predict(net, now, x), expected, rtol=0, atol=10 * tolerance * np.abs(expected).max()
    )
