"""What modules of PyTorch are here: a layer, and where its arrays are in the module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import attrs

from fnn import layers as fnn
from fnn.errors import OptionError
from fnn.interop.torch.arrays import torch
from fnn.layers.contract import Layer
from fnn.tree import Array

nn: Any = torch.nn


@attrs.frozen
class Entry:
    """One array of ours, and the tensors that it is in PyTorch.

    Attributes:
        path: Its path in params, or in state if that begins with "state:".
        names: The names of the tensors in the module; of some rows alone "name[start:stop]".
        ours, theirs: From the tensors to our array, and back.
    """

    path: str
    names: tuple[str, ...]
    ours: Callable[..., Array]
    theirs: Callable[[Array], tuple[Array, ...]]


def same(path: str, name: str) -> Entry:
    """Return an array that is the tensor."""
    return Entry(path, (name,), lambda a: a, lambda a: (a,))


def turned(path: str, name: str) -> Entry:
    """Return a matrix that is the tensor turned."""
    return Entry(path, (name,), lambda a: a.T, lambda a: (a.T,))


@attrs.frozen
class Read:
    """What a module is: a layer, and where its arrays are in the module."""

    layer: Layer
    entries: tuple[Entry, ...] = ()


Rule: TypeAlias = Callable[[Any], Read]
RULES: dict[Any, Rule] = {}
"""By the class of the module."""


def of(*kinds: Any) -> Callable[[Rule], Rule]:
    """Return a decorator that makes a function the rule of these classes of modules."""

    def noted(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(kinds, rule))
        return rule

    return noted


def one(value: Any) -> Any:
    """Return the size along an axis as ours: one number, or one for each axis."""
    if not isinstance(value, tuple | list):
        return value
    return value[0] if len(set(value)) == 1 else tuple(value)


def refuse(module: Any, what: str) -> OptionError:
    """Return the error about a module that there is no layer for."""
    return OptionError(f"expected a module that fnn has a layer for, got {module!r:.200}: {what}")


def scaled(module: Any, *more: Entry) -> dict[str, Any]:
    """Return the options and entries of a scale and a shift that may be missing."""
    scale, shift = (getattr(module, name, None) is not None for name in ("weight", "bias"))
    own = (("scale", "weight", scale), ("shift", "bias", shift))
    entries = tuple(same(path, name) for path, name, there in own if there)
    return {"entries": (*entries, *more), "scale": scale, "shift": shift}


# --- affine maps and convolutions ---------------------------------------------------------------


@of(nn.Linear)
def linear(module: Any) -> Read:
    """Map the last axis affinely."""
    bias = module.bias is not None
    entries = (turned("w", "weight"), *([same("b", "bias")] if bias else []))
    return Read(fnn.Dense(module.out_features, bias=bias), entries)


def _padding(module: Any, given: Any) -> Any:
    if given == "same" or given == "valid":
        return given
    return tuple((n, n) for n in given) if len(set(given)) > 1 else given[0]


@of(nn.Conv1d, nn.Conv2d, nn.Conv3d)
def conv(module: Any) -> Read:
    """Convolve over space."""
    padding, mode = _padding(module, module.padding), module.padding_mode
    before: tuple[Layer, ...] = ()
    if mode != "zeros":
        if padding == "same":
            raise refuse(module, "padding='same' of another mode than zeros")
        names = {"replicate": "edge"}
        before, padding = (fnn.Pad(padding, mode=names.get(mode, mode)),), "valid"
    bias = module.bias is not None
    layer = fnn.Conv(
        module.out_channels, tuple(module.kernel_size), stride=one(module.stride), padding=padding,
        dilation=one(module.dilation), groups=module.groups, bias=bias,
    )  # fmt: skip
    entries = (same("w", "weight"), *([same("b", "bias")] if bias else []))
    if not before:
        return Read(layer, entries)
    entries = tuple(attrs.evolve(each, path=f"conv_0/{each.path}") for each in entries)
    return Read(fnn.serial(*before, layer), entries)


@of(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
def conv_transpose(module: Any) -> Read:
    """Spread every value over a window."""
    bias = module.bias is not None
    layer = fnn.ConvTranspose(
        module.out_channels, tuple(module.kernel_size), stride=one(module.stride),
        padding=_padding(module, module.padding), output_padding=one(module.output_padding),
        dilation=one(module.dilation), groups=module.groups, bias=bias,
    )  # fmt: skip
    return Read(layer, (same("w", "weight"), *([same("b", "bias")] if bias else [])))


@of(nn.Embedding)
def embedding(module: Any) -> Read:
    """Look up a row for every token."""
    if module.max_norm is not None:
        raise refuse(module, "max_norm")
    return Read(fnn.Embedding(*module.weight.shape), (same("w", "weight"),))


# --- normalisation ------------------------------------------------------------------------------


@of(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
def batch_norm(module: Any) -> Read:
    """Standardise over the batch."""
    if module.running_mean is None or module.momentum is None:
        raise refuse(module, "no running statistics, or those of all batches alike")
    moments = [same(f"state:{name}", f"running_{name}") for name in ("mean", "var")]
    found = scaled(module, *moments)
    entries = found.pop("entries")
    return Read(fnn.BatchNorm(momentum=1 - module.momentum, eps=module.eps, **found), entries)


@of(nn.LayerNorm)
def layer_norm(module: Any) -> Read:
    """Standardise over the last axes."""
    found = scaled(module)
    axes = tuple(range(-len(module.normalized_shape), 0))
    entries = found.pop("entries")
    return Read(fnn.LayerNorm(axis=one(axes), eps=module.eps, **found), entries)


@of(nn.GroupNorm)
def group_norm(module: Any) -> Read:
    """Standardise over groups of channels."""
    found = scaled(module)
    entries = found.pop("entries")
    return Read(fnn.GroupNorm(module.num_groups, eps=module.eps, **found), entries)


@of(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
def instance_norm(module: Any) -> Read:
    """Standardise every channel of every example."""
    if module.track_running_stats:
        raise refuse(module, "running statistics")
    found = scaled(module)
    entries = found.pop("entries")
    return Read(fnn.InstanceNorm(eps=module.eps, **found), entries)


@of(nn.RMSNorm)
def rms_norm(module: Any) -> Read:
    """Divide by the root mean square over the last axes."""
    found = scaled(module)
    axes = tuple(range(-len(module.normalized_shape), 0))
    eps = module.eps if module.eps is not None else float(torch.finfo(torch.float32).eps)
    layer = fnn.RMSNorm(axis=one(axes), eps=eps, scale=found["scale"])
    return Read(layer, found["entries"])


# --- what has no numbers, or one -----------------------------------------------------------------


@of(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
def max_pool(module: Any) -> Read:
    """Take the largest of every window."""
    if module.return_indices:
        raise refuse(module, "return_indices")
    return Read(
        fnn.MaxPool(
            one(module.kernel_size), stride=one(module.stride), padding=one(module.padding),
            dilation=one(module.dilation), ceil=module.ceil_mode,
        )
    )  # fmt: skip


@of(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
def avg_pool(module: Any) -> Read:
    """Take the mean of every window."""
    if getattr(module, "divisor_override", None) is not None:
        raise refuse(module, "divisor_override")
    return Read(
        fnn.AvgPool(
            one(module.kernel_size), stride=one(module.stride), padding=one(module.padding),
            ceil=module.ceil_mode, count_padding=module.count_include_pad,
        )
    )  # fmt: skip


@of(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
def adaptive_avg_pool(module: Any) -> Read:
    """Take means over parts of space."""
    size = module.output_size
    if size is None or (isinstance(size, tuple | list) and None in size):
        raise refuse(module, "output_size of None")
    return Read(fnn.AdaptiveAvgPool(size if isinstance(size, int) else tuple(size)))


@of(nn.PReLU)
def p_relu(module: Any) -> Read:
    """Flatten below zero by a slope that is learned."""
    layer = fnn.PRelu(per_channel=module.num_parameters > 1)
    return Read(layer, (same("slope", "weight"),))


@of(nn.Upsample)
def upsample(module: Any) -> Read:
    """Make images larger."""
    factor = module.scale_factor
    if factor is None or module.mode not in ("nearest", "bilinear") or module.align_corners:
        raise refuse(module, "a size, another mode, or aligned corners")
    sizes = factor if isinstance(factor, tuple) else (factor,)
    if any(each != int(each) for each in sizes):
        raise refuse(module, "a factor that is no whole number")
    whole = tuple(map(int, sizes))
    return Read(fnn.Upsample(one(whole), module.mode))


@of(nn.Flatten)
def flatten(module: Any) -> Read:
    """Make a row of every example."""
    if (module.start_dim, module.end_dim) != (1, -1):
        raise refuse(module, "other axes than all but the first")
    return Read(fnn.Flatten())


PLAIN: dict[Any, Callable[[Any], Layer]] = {
    nn.CELU: lambda m: fnn.Celu(m.alpha),
    nn.Dropout: lambda m: fnn.Dropout(m.p),
    nn.Dropout1d: lambda m: fnn.SpatialDropout(m.p),
    nn.Dropout2d: lambda m: fnn.SpatialDropout(m.p),
    nn.Dropout3d: lambda m: fnn.SpatialDropout(m.p),
    nn.ELU: lambda m: fnn.Elu(m.alpha),
    nn.GELU: lambda m: fnn.Gelu(approximate=m.approximate == "tanh"),
    nn.GLU: lambda m: fnn.Glu(axis=m.dim),
    nn.Hardsigmoid: lambda m: fnn.HardSigmoid(),
    nn.Hardswish: lambda m: fnn.HardSwish(),
    nn.Identity: lambda m: fnn.Identity(),
    nn.LeakyReLU: lambda m: fnn.LeakyRelu(m.negative_slope),
    nn.LogSigmoid: lambda m: fnn.LogSigmoid(),
    nn.Mish: lambda m: fnn.Mish(),
    nn.PixelShuffle: lambda m: fnn.PixelShuffle(m.upscale_factor),
    nn.ReLU: lambda m: fnn.Relu(),
    nn.ReLU6: lambda m: fnn.Relu6(),
    nn.SELU: lambda m: fnn.Selu(),
    nn.SiLU: lambda m: fnn.Silu(),
    nn.Sigmoid: lambda m: fnn.Sigmoid(),
    nn.Softsign: lambda m: fnn.Softsign(),
    nn.Tanh: lambda m: fnn.Tanh(),
}
"""Layers without numbers."""


def _along(module: Any) -> int:
    if module.dim is None:
        raise refuse(module, "dim of None")
    return int(module.dim)


@of(nn.Softmax, nn.LogSoftmax)
def softmax(module: Any) -> Read:
    """Turn scores into probabilities or their logarithms."""
    make = fnn.Softmax if type(module) is nn.Softmax else fnn.LogSoftmax
    return Read(make(axis=_along(module)))


@of(nn.Softplus)
def softplus(module: Any) -> Read:
    """Bend smoothly; PyTorch's is straight beyond its threshold, ours to rounding."""
    if module.beta != 1:
        raise refuse(module, "another beta than 1")
    return Read(fnn.Softplus())


@of(nn.Hardtanh)
def hard_tanh(module: Any) -> Read:
    """Cut off."""
    if (module.min_val, module.max_val) == (0, 6):
        return Read(fnn.Relu6())
    if (module.min_val, module.max_val) != (-1, 1):
        raise refuse(module, "other bounds than -1 and 1")
    return Read(fnn.HardTanh())
