"""How layers over images, and norms, are written in ONNX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fnn.interop.onnx.graph import LAYERS, Graph, Part, Value
from fnn.interop.onnx.of_numbers import reshaped
from fnn.kernels.padding import resized
from fnn.kernels.windows import Pairs, Windows, pool_windows, windows
from fnn.layers.convolution import FILLED, Conv, ConvTranspose, DepthwiseConv
from fnn.layers.norm import BatchNorm
from fnn.layers.pooling import AvgPool, GlobalAvgPool, GlobalMaxPool, MaxPool, MinPool, SumPool
from fnn.layers.resizing import AdaptiveAvgPool, Pad, PixelShuffle, Upsample
from fnn.layers.standardizing import GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from fnn.options import sizes

MODES = {"zeros": "constant", "reflect": "reflect", "edge": "edge", "circular": "wrap"}
"""Paddings by what ONNX calls them."""


def pads_of(pairs: Pairs) -> list[int]:
    """Return all numbers before, then all after, as ONNX has them."""
    return [pair[0] for pair in pairs] + [pair[1] for pair in pairs]


def padded(graph: Graph, x: Any, pairs: Pairs, mode: str = "zeros", value: float | None = None) -> str:
    """Write an image with rows around it."""
    pads = np.array(pads_of(((0, 0), (0, 0), *pairs)))
    return str(graph.op("Pad", x, pads, value, mode=MODES[mode]))


def _bias(graph: Graph, part: Part) -> str | None:
    return graph.weight("b", part.params["b"]) if part.options.bias else None


@LAYERS.of(Conv, DepthwiseConv)
def convolution(graph: Graph, part: Part, x: Value) -> str:
    """Write a convolution, behind a padding of its own where that is by what the image holds."""
    options, w = part.options, part.params["w"]
    image: Any = x
    is_filled = options.padding in FILLED
    padding = "same" if is_filled else options.padding
    geometry = windows(x.shape[1:], w.shape[2:], options.stride, padding, options.dilation)
    pads = geometry.pads
    if is_filled:
        image, pads = padded(graph, x, pads, options.padding), ((0, 0),) * len(pads)
    return str(
        graph.op(
            "Conv",
            image,
            graph.weight("w", w),
            _bias(graph, part),
            kernel_shape=w.shape[2:],
            strides=geometry.stride,
            dilations=geometry.dilation,
            pads=pads_of(pads),
            group=x.shape[0] // w.shape[1],
        )
    )


@LAYERS.of(ConvTranspose)
def transposed_convolution(graph: Graph, part: Part, x: Value) -> str:
    """Write the operator, whose options are the same."""
    options, w = part.options, part.params["w"]
    n_axes = len(x.shape) - 1
    rows = 0 if options.padding == "valid" else options.padding
    pairs = rows if isinstance(rows, tuple) else ((rows, rows),) * n_axes
    return str(
        graph.op(
            "ConvTranspose",
            x,
            graph.weight("w", w),
            _bias(graph, part),
            kernel_shape=w.shape[2:],
            strides=sizes("", "stride", options.stride, n_axes),
            dilations=sizes("", "dilation", options.dilation, n_axes),
            output_padding=sizes("", "output_padding", options.output_padding, n_axes, least=0),
            pads=pads_of(pairs),
            group=options.groups,
        )
    )


# --- pools ------------------------------------------------------------------------------------


def _geometry(part: Part, x: Value) -> Windows:
    options = part.options
    stride = options.window if options.stride is None else options.stride
    laid = options.window, stride, options.padding, options.dilation, options.ceil
    return pool_windows(x.shape[1:], *laid)


def _pooled(graph: Graph, kind: str, x: Any, geometry: Windows, pads: Pairs, **more: Any) -> str:
    return str(
        graph.op(
            kind,
            x,
            kernel_shape=geometry.size,
            strides=geometry.stride,
            dilations=geometry.dilation,
            pads=pads_of(pads),
            **more,
        )
    )


def _is_less(pads: Pairs, size: Sequence[int]) -> bool:
    """Return whether runtimes take these pads: each less than the window, gaps not counted."""
    return all(max(pair) < k for pair, k in zip(pads, size, strict=True))


def _largest(graph: Graph, x: Any, geometry: Windows) -> str:
    pads = geometry.pads
    if not _is_less(pads, geometry.size):
        x, pads = padded(graph, x, pads, value=-np.inf), ((0, 0),) * len(pads)
    return _pooled(graph, "MaxPool", x, geometry, pads)


@LAYERS.of(MaxPool)
def max_pool(graph: Graph, part: Part, x: Value) -> str:
    """Write the operator; rows that `ceil` asks for are padding."""
    return _largest(graph, x, _geometry(part, x))


@LAYERS.of(MinPool)
def min_pool(graph: Graph, part: Part, x: Value) -> str:
    """Write the largest of what is negated."""
    return str(graph.op("Neg", _largest(graph, graph.op("Neg", x), _geometry(part, x))))


def _mean_with_zeros(graph: Graph, x: Any, geometry: Windows) -> str:
    """Write means over whole windows, in which padding counts as zeros."""
    pads = geometry.pads
    if not any(map(any, pads)):
        return _pooled(graph, "AveragePool", x, geometry, pads)
    if _is_less(pads, geometry.size):
        return _pooled(graph, "AveragePool", x, geometry, pads, count_include_pad=1)
    nothing = ((0, 0),) * len(pads)
    return _pooled(graph, "AveragePool", padded(graph, x, pads), geometry, nothing)


@LAYERS.of(SumPool)
def sum_pool(graph: Graph, part: Part, x: Value) -> str:
    """Write means over whole windows, by their size."""
    geometry = _geometry(part, x)
    return str(graph.op("Mul", _mean_with_zeros(graph, x, geometry), math.prod(geometry.size)))


@LAYERS.of(AvgPool)
def average_pool(graph: Graph, part: Part, x: Value) -> str:
    """Write the operator, or where it counts otherwise, means over whole windows and the counts."""
    geometry, counts_pads = _geometry(part, x), part.options.count_padding
    if counts_pads and not any(geometry.over):
        return _mean_with_zeros(graph, x, geometry)
    if not any(geometry.over) and _is_less(geometry.pads, geometry.size):
        return _pooled(graph, "AveragePool", x, geometry, geometry.pads)
    share = math.prod(geometry.size) / _counts(geometry, counts_pads)
    mean = _mean_with_zeros(graph, x, geometry)
    return str(graph.op("Mul", mean, share.astype(graph.dtype)))


def _counts(geometry: Windows, counts_pads: bool) -> Any:
    """Return how many values of every window count, in the shape (*out)."""
    whole = np.ones(())
    axes = zip(
        geometry.size,
        geometry.stride,
        geometry.dilation,
        geometry.pads,
        geometry.space,
        geometry.out,
        geometry.over,
        strict=True,
    )
    for k, s, d, (before, after), n, n_out, over in axes:
        at = np.arange(n_out)[:, None] * s + np.arange(k) * d
        first, last = (0, before + n + after - over) if counts_pads else (before, before + n)
        whole = whole[..., None] * ((at >= first) & (at < last)).sum(axis=1)
    return whole


@LAYERS.of(GlobalAvgPool, GlobalMaxPool)
def global_pool(graph: Graph, part: Part, x: Value) -> str:
    """Write a mean or the largest over all of space."""
    kind = "ReduceMean" if part.layer.made_by().call is GlobalAvgPool else "ReduceMax"
    return str(graph.op(kind, x, np.arange(2, len(x.shape) + 1), keepdims=0))


# --- sizes ------------------------------------------------------------------------------------


@LAYERS.of(Pad)
def pad(graph: Graph, part: Part, x: Value) -> str:
    """Write the operator."""
    padding = part.options.padding
    pairs = padding if isinstance(padding, tuple) else ((padding, padding),) * (len(x.shape) - 1)
    return padded(graph, x, pairs, part.options.mode)


@LAYERS.of(Upsample)
def upsample(graph: Graph, part: Part, x: Value) -> str:
    """Write the operator, with the centres of all values on one scale."""
    factors = sizes("", "factor", part.options.factor, len(x.shape) - 1)
    nearest = part.options.mode == "nearest"
    return str(
        graph.op(
            "Resize",
            x,
            None,
            np.array([1, 1, *factors], np.float32),
            mode="nearest" if nearest else "linear",
            coordinate_transformation_mode="asymmetric" if nearest else "half_pixel",
            nearest_mode="floor" if nearest else None,
        )
    )


@LAYERS.of(AdaptiveAvgPool)
def adaptive_pool(graph: Graph, part: Part, x: Value) -> str:
    """Write means over equal windows, or else products with the matrices of the means, axis by axis."""
    space = x.shape[1:]
    out = sizes("", "size", part.options.size, len(space))
    if not any(n % m for n, m in zip(space, out, strict=True)):
        size = [n // m for n, m in zip(space, out, strict=True)]
        return str(graph.op("AveragePool", x, kernel_shape=size, strides=size))
    y: Any = x
    for axis, (n, m) in enumerate(zip(space, out, strict=True), start=2):
        order = list(range(len(space) + 2))
        order[axis], order[-1] = order[-1], order[axis]
        y = graph.op("Transpose", y, perm=order)
        means = resized(np.eye(n, dtype=graph.dtype)[None], (m,), "adaptive")[0]
        y = graph.op("MatMul", y, means)
        y = graph.op("Transpose", y, perm=order)
    return str(y)


@LAYERS.of(PixelShuffle)
def pixel_shuffle(graph: Graph, part: Part, x: Value) -> str:
    """Write the operator; its places lie as ours in the mode CRD."""
    return str(graph.op("DepthToSpace", x, blocksize=part.options.factor, mode="CRD"))


# --- norms ------------------------------------------------------------------------------------


def _scale_and_shift(graph: Graph, part: Part, n: int | tuple[int, ...]) -> tuple[str, str]:
    """Return the names of both; ones and zeros where the layer has none."""

    def named(name: str, fill: int) -> str:
        if name in part.params:
            return graph.weight(name, part.params[name])
        return graph.constant(np.full(n, fill, graph.dtype))

    return named("scale", 1), named("shift", 0)


def _turned(graph: Graph, x: Any, order: Sequence[int]) -> Any:
    return x if list(order) == sorted(order) else graph.op("Transpose", x, perm=list(order))


@LAYERS.of(BatchNorm)
def batch_norm(graph: Graph, part: Part, x: Value) -> str:
    """Write the operator, with the running moments; it has its features on axis 1."""
    at = part.options.axis % (len(x.shape) + 1)
    order = list(range(len(x.shape) + 1))
    order.insert(1, order.pop(at))
    scale, shift = _scale_and_shift(graph, part, x.shape[at - 1])
    mean, var = (graph.weight(name, part.state[name]) for name in ("mean", "var"))
    numbers = scale, shift, mean, var
    y = graph.op("BatchNormalization", _turned(graph, x, order), *numbers, epsilon=part.options.eps)
    return str(_turned(graph, y, np.argsort(order).tolist()))


def _places(part: Part, x: Value) -> tuple[list[int], list[int]]:
    """Return the axes that are standardised over in their order, and all with those last."""
    axis, n = part.options.axis, len(x.shape) + 1
    at = sorted(each % n for each in (axis if isinstance(axis, tuple) else (axis,)))
    return at, [each for each in range(n) if each not in at] + at


@LAYERS.of(LayerNorm)
def layer_norm(graph: Graph, part: Part, x: Value) -> str:
    """Write the operator, which takes the last axes."""
    at, order = _places(part, x)
    scale, shift = _scale_and_shift(graph, part, tuple(x.shape[each - 1] for each in at))
    options = {"axis": -len(at), "epsilon": part.options.eps}
    y = graph.op("LayerNormalization", _turned(graph, x, order), scale, shift, **options)
    return str(_turned(graph, y, np.argsort(order).tolist()))


@LAYERS.of(RMSNorm)
def rms_norm(graph: Graph, part: Part, x: Value) -> str:
    """Write x / √(mean(x²) + eps)."""
    at, _ = _places(part, x)
    mean = graph.op("ReduceMean", graph.op("Mul", x, x), np.array(at))
    y = graph.op("Div", x, graph.op("Sqrt", graph.op("Add", mean, part.options.eps)))
    if not part.options.scale:
        return str(y)
    sizes = [n if axis in at else 1 for axis, n in enumerate(x.shape, start=1)]
    scale = part.params["scale"].reshape(sizes)
    return str(graph.op("Mul", y, graph.weight("scale", scale)))


@LAYERS.of(InstanceNorm)
def instance_norm(graph: Graph, part: Part, x: Value) -> str:
    """Write the operator."""
    both = _scale_and_shift(graph, part, x.shape[0])
    return str(graph.op("InstanceNormalization", x, *both, epsilon=part.options.eps))


@LAYERS.of(GroupNorm)
def group_norm(graph: Graph, part: Part, x: Value) -> str:
    """Write the operator, which takes one spatial axis or more."""
    both = _scale_and_shift(graph, part, x.shape[0])
    image = x if len(x.shape) > 1 else reshaped(graph, x, (*x.shape, 1))
    options = {"num_groups": part.options.groups, "epsilon": part.options.eps}
    y = graph.op("GroupNormalization", image, *both, **options)
    return y if image is x else reshaped(graph, y, x.shape)
