"""PyTorch as a peer, eager and compiled, as its tutorials write a training loop."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

from bench.job import Job
from bench.ours import weights
from bench.pytorch_modules import MODULES
from bench.workloads import Batch, Workload

torch: Any = import_module("torch")


def network(workload: Workload) -> Any:
    """Return the network with our first weights."""
    nn, shape, modules = torch.nn, workload.in_shape, []
    for (name, *numbers), params in zip(workload.layers, weights(workload), strict=True):
        if name == "conv":
            modules.append(nn.Conv2d(shape[0], *numbers))
            _fill(modules[-1], params["w"], params["b"])
            shape = (numbers[0], *(n - numbers[1] + 1 for n in shape[1:]))
        elif name == "dense":
            modules.append(nn.Linear(shape[-1], *numbers))
            _fill(modules[-1], params["w"].T, params["b"])
            shape = (*shape[:-1], numbers[0])
        elif name == "pool":
            modules.append(nn.MaxPool2d(*numbers))
            shape = (shape[0], *(n // numbers[0] for n in shape[1:]))
        elif name == "flatten":
            modules.append(nn.Flatten())
            shape = (math.prod(shape),)
        elif name == "bn":
            modules.append(nn.BatchNorm1d(shape[0]))
        elif name in MODULES:
            module, shape = MODULES[name](shape, *numbers, params=params)
            modules.append(module)
        else:
            make = {
                "relu": nn.ReLU, "sigmoid": nn.Sigmoid, "dropout": nn.Dropout, "swish": nn.SiLU
            }[name]  # fmt: skip
            modules.append(make(*numbers))
    return nn.Sequential(*modules)


def _fill(module: Any, w: Any, b: Any) -> None:
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(w.copy()))
        module.bias.copy_(torch.from_numpy(b))


def optimizer(workload: Workload, net: Any) -> Any:
    """Return the optimizer, with our numbers where PyTorch's own are others."""
    name, rate = workload.optimizer
    own = {
        "sgd": lambda p: torch.optim.SGD(p, lr=rate),
        "momentum": lambda p: torch.optim.SGD(p, lr=rate, momentum=0.9),
        "rmsprop": lambda p: torch.optim.RMSprop(p, lr=rate, alpha=0.9, eps=1e-6),
        "adam": lambda p: torch.optim.Adam(p, lr=rate),
    }
    return own[name](net.parameters())


def loss_of(workload: Workload) -> Any:
    """Return the loss function of (outputs, targets)."""
    if workload.loss == "half_squared":
        return lambda y, t: 0.5 * torch.nn.functional.mse_loss(y, t, reduction="sum")
    if workload.loss == "text":
        return lambda y, t: torch.nn.functional.cross_entropy(y.flatten(0, 1), t.flatten())
    reduction = "sum" if workload.loss == "sum" else "mean"
    return torch.nn.CrossEntropyLoss(reduction=reduction)


def _tensors(batches: list[Batch]) -> list[Batch]:
    return [(torch.tensor(x), torch.tensor(y)) for x, y in batches]


def make(workload: Workload, batches: list[Batch], peer: str) -> Job:
    """Return the job of `torch` or `torch_compile`."""
    net, items = network(workload), _tensors(batches)
    run = torch.compile(net) if peer == "torch_compile" else net
    if workload.kind == "predict":
        net.eval()

        def predict(x: Any) -> Any:
            with torch.inference_mode():
                return run(x)

        images = [x for x, _ in items]
        return Job(predict, images, outputs=lambda: predict(images[0])[0].tolist())
    first = {name: value.clone() for name, value in net.state_dict().items()}
    loss, update = loss_of(workload), optimizer(workload, net)

    def reset() -> None:
        nonlocal update
        net.load_state_dict(first)
        update = optimizer(workload, net)

    def step(batch: Batch) -> Any:
        x, target = batch
        value = loss(run(x), target)
        update.zero_grad()
        value.backward()
        update.step()
        return value.detach()

    return Job(step, items, reset)
