"""Operators over images, norms, and recurrences over time."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.errors import DataError
from fnn.interop.onnx.arrangement import Take
from fnn.interop.onnx.importing import Nothing, Reader, Tensor, operator
from fnn.interop.onnx.operators_of_numbers import array, attribute, optional, plain, tensor
from fnn.interop.onnx.reading import Node
from fnn.kernels.windows import Pairs
from fnn.layers.convolution import Conv, ConvTranspose
from fnn.layers.norm import BatchNorm
from fnn.layers.pooling import AvgPool, GlobalAvgPool, GlobalMaxPool, MaxPool
from fnn.layers.resizing import PixelShuffle, Upsample
from fnn.layers.standardizing import GroupNorm, InstanceNorm, LayerNorm
from fnn.tree import Array


def one(sizes: Any) -> Any:
    """Return one number for sizes that are equal, as one would write it, else their tuple."""
    sizes = tuple(int(n) for n in sizes)
    return sizes[0] if len(set(sizes)) == 1 else sizes


def image(x: Tensor) -> tuple[int, ...]:
    """Return the space of images."""
    if x.n_axes < 3 or x.batch:
        raise DataError(f"expected images (batch, channels, *space), got examples of {x.shape}")
    return x.shape[1:]


def geometry(node: Node, space: tuple[int, ...], window: tuple[int, ...]) -> dict[str, Any]:
    """Return stride, padding and dilation as layers have them."""
    n = len(space)
    stride = node.attributes.get("strides", [1] * n)
    dilation = node.attributes.get("dilations", [1] * n)
    auto = node.attributes.get("auto_pad", "NOTSET")
    padding: Any = "valid"
    if auto == "SAME_UPPER":
        padding = "same"
    elif auto == "SAME_LOWER":
        extents = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
        totals = [
            max((-(-size // s) - 1) * s + extent - size, 0)
            for size, s, extent in zip(space, stride, extents, strict=True)
        ]
        padding = tuple((total - total // 2, total // 2) for total in totals)
    elif auto == "NOTSET":
        pads = [int(each) for each in node.attributes.get("pads", [0] * 2 * n)]
        padding = short(tuple(zip(pads[:n], pads[n:], strict=True)))
    elif auto != "VALID":
        raise DataError(f"expected auto_pad as ONNX names it, got {auto!r}")
    return {"stride": one(stride), "padding": padding, "dilation": one(dilation)}


def short(pairs: Pairs) -> Any:
    """Return padding as one would write it."""
    if not any(map(any, pairs)):
        return "valid"
    return pairs[0][0] if len({n for pair in pairs for n in pair}) == 1 else pairs


def _weights(w: Array, operands: list[Any]) -> dict[str, Array]:
    b = optional(operands, 2)
    return {"w": w.copy()} if b is None else {"w": w.copy(), "b": array(b, "its bias").copy()}


@operator("Conv")
def conv(reader: Reader, node: Node, operands: list[Any]) -> Any:
    """Read a convolution."""
    x, w = tensor(operands[0]), array(operands[1], "its kernels")
    laid = geometry(node, image(x), w.shape[2:])
    params = _weights(w, operands)
    groups = node.attributes.get("group", 1)
    layer = Conv(w.shape[0], one(w.shape[2:]), groups=groups, bias="b" in params, **laid)
    return reader.add(layer, x, params=params)


@operator("ConvTranspose")
def conv_transpose(reader: Reader, node: Node, operands: list[Any]) -> Any:
    """Read a transposed convolution."""
    x, w = tensor(operands[0]), array(operands[1], "its kernels")
    if node.attributes.get("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in node.attributes:
        raise DataError("expected pads, got what they follow from")
    params, groups = _weights(w, operands), node.attributes.get("group", 1)
    space = image(x)
    more = one(node.attributes.get("output_padding", [0] * len(space)))
    options = {**geometry(node, space, w.shape[2:]), "output_padding": more, "groups": groups}
    layer = ConvTranspose(w.shape[1] * groups, one(w.shape[2:]), bias="b" in params, **options)
    return reader.add(layer, x, params=params)


@operator("MaxPool", "AveragePool")
def pool(reader: Reader, node: Node, operands: list[Any]) -> Any:
    """Read a pool; where the largest were is not known."""
    x = tensor(operands[0])
    window = tuple(node.attributes["kernel_shape"])
    options = geometry(node, image(x), window)
    if options["stride"] == one(window):
        del options["stride"]
    options |= {"ceil": bool(node.attributes.get("ceil_mode", 0))}
    if node.operator == "MaxPool":
        return reader.add(MaxPool(one(window), **options), x), Nothing
    counted = bool(node.attributes.get("count_include_pad", 0))
    return reader.add(AvgPool(one(window), count_padding=counted, **options), x)


@operator("GlobalAveragePool", "GlobalMaxPool")
def global_pool(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read a pool over all of space, whose axes stay."""
    x = tensor(operands[0])
    space = image(x)
    y = reader.add(GlobalAvgPool() if node.operator == "GlobalAveragePool" else GlobalMaxPool(), x)
    return reader.arranged(y, (*y.shape, *(1,) * len(space)))


@operator("Resize", "Upsample")
def resize(reader: Reader, node: Node, operands: list[Any]) -> Any:
    """Read images that become larger by whole factors."""
    x = tensor(operands[0])
    space, given = (
        image(x),
        [None if each is None else array(each, "the sizes") for each in operands[1:]],
    )
    sizes = given[2] if len(given) > 2 else None
    scales = given[0] if node.operator == "Upsample" else optional(given, 1)
    axes = [axis % x.n_axes for axis in node.attributes.get("axes", range(x.n_axes))]
    given_factors = _factors(x, axes, sizes, scales)
    factors = [given_factors.get(axis, 1.0) for axis in range(2, x.n_axes)]
    if any(given_factors.get(axis, 1.0) != 1 for axis in (0, 1)):
        raise DataError(f"expected space to grow, got factors {given_factors} by axis")
    whole = [round(each) for each in factors]
    if len(whole) != len(space) or any(a != b or b < 1 for a, b in zip(factors, whole, strict=True)):
        raise DataError(f"expected images to grow by whole factors, got {factors}")
    mode = node.attributes.get("mode", "nearest")
    if node.operator == "Upsample":
        way, rounded = "asymmetric", "floor"
    else:
        way = node.attributes.get("coordinate_transformation_mode", "half_pixel")
        rounded = node.attributes.get("nearest_mode", "round_prefer_floor")
    repeats = way == "half_pixel" and rounded in ("round_prefer_floor", "round_prefer_ceil")
    if mode == "nearest" and (repeats or (way, rounded) == ("asymmetric", "floor")):
        return reader.add(Upsample(one(whole)), x)
    grows = all(n * m > 1 for n, m in zip(space, whole, strict=True))
    if mode == "linear" and (way == "half_pixel" or (way == "pytorch_half_pixel" and grows)):
        return reader.add(Upsample(one(whole), "bilinear"), x)
    expected = "expected the modes nearest or linear, with half_pixel"
    raise DataError(f"{expected}, got {mode} with {way}, {rounded}")


def _factors(x: Tensor, axes: list[int], sizes: Any, scales: Any) -> dict[int, float]:
    """Return by how much every axis is to grow; of the batch, whose size is not known, 1."""
    if sizes is None:
        return dict(zip(axes, map(plain, scales if scales is not None else ()), strict=True))
    pairs = zip(axes, sizes, strict=True)
    return {axis: int(size) / x.shape[axis - 1] if axis else 1.0 for axis, size in pairs}


@operator("DepthToSpace")
def depth_to_space(reader: Reader, node: Node, operands: list[Any]) -> Any:
    """Read space made of channels; in the mode DCR they lie in another order."""
    x, r = tensor(operands[0]), int(node.attributes["blocksize"])
    image(x)
    if node.attributes.get("mode", "DCR") == "DCR" and r > 0:
        order = np.arange(x.shape[0]).reshape(r * r, -1).T.reshape(-1)
        x = reader.add(Take(order.tolist(), axis=1), x)
    return reader.add(PixelShuffle(r), x)


# --- norms ------------------------------------------------------------------------------------


@operator("BatchNormalization")
def batch_norm(reader: Reader, node: Node, operands: list[Any]) -> Any:
    """Read the norm in evaluation."""
    x = tensor(operands[0])
    if node.attributes.get("training_mode") or x.batch:
        raise DataError("expected a norm in evaluation, got training_mode")
    names = "scale", "shift", "mean", "var"
    own = {name: array(each, name).copy() for name, each in zip(names, operands[1:], strict=True)}
    numbers = attribute(node, "momentum", 0.9), attribute(node, "epsilon", 1e-5)
    layer = BatchNorm(momentum=numbers[0], eps=numbers[1])
    params, state = ({name: own[name] for name in part} for part in (names[:2], names[2:]))
    return reader.add(layer, x, params=params, state=state)


@operator("LayerNormalization")
def layer_norm(reader: Reader, node: Node, operands: list[Any]) -> Any:
    """Read the norm over the last axes."""
    x = tensor(operands[0])
    axis = node.attributes.get("axis", -1)
    n = -axis if axis < 0 else x.n_axes - axis
    if not 0 < n < x.n_axes or x.n_axes - n <= x.batch:
        raise DataError(f"expected axes of the examples, got {axis} of {x.n_axes}")
    sizes, shift = x.shape[-n:], optional(operands, 2)
    params = {"scale": np.broadcast_to(array(operands[1], "the scale"), sizes).copy()}
    if shift is not None:
        params["shift"] = np.broadcast_to(array(shift, "the shift"), sizes).copy()
    axes: Any = -1 if n == 1 else tuple(range(-n, 0))
    eps = attribute(node, "epsilon", 1e-5)
    return reader.each(LayerNorm(axis=axes, eps=eps, shift=shift is not None), x, params=params)


@operator("InstanceNormalization", "GroupNormalization")
def norm_of_channels(reader: Reader, node: Node, operands: list[Any]) -> Any:
    """Read a norm over channels and space."""
    x, eps = tensor(operands[0]), attribute(node, "epsilon", 1e-5)
    image(x)
    own = [array(each, "scale and shift") for each in operands[1:3]]
    if node.operator == "InstanceNormalization":
        layer = InstanceNorm(eps=eps)
    else:
        groups = int(node.attributes["num_groups"])
        layer = GroupNorm(groups, eps=eps)
        if reader.model.opset < 21:  # One number for each group.
            own = [np.repeat(each, x.shape[0] // groups) for each in own]
    params = {"scale": own[0].copy(), "shift": own[1].copy()}
    return reader.add(layer, x, params=params)
