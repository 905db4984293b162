"""Operators along rows of scores, and with matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from fnn.errors import DataError
from fnn.interop.onnx.arrangement import Product, RunningSum, Sorted
from fnn.interop.onnx.importing import Nothing, Reader, Tensor, operator
from fnn.interop.onnx.operators_of_numbers import array, from_the_end, held, optional, tensor
from fnn.interop.onnx.reading import Constant, Node
from fnn.layers.activation import LogSoftmax, Softmax
from fnn.layers.combinators import frozen
from fnn.layers.dense import Dense


@operator("Softmax", "LogSoftmax")
def softmax(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read a softmax over one axis; operators before version 13 joined all that follow it."""
    x, is_old = tensor(operands[0]), reader.model.opset < 13
    axis = from_the_end(x, node.attributes.get("axis", 1 if is_old else -1))
    if is_old and axis != -1:
        raise DataError(f"expected the last axis, got {axis}, which joins several")
    make = Softmax if node.operator == "Softmax" else LogSoftmax
    return reader.each(make(axis=axis), x)


@operator("MatMul")
def matmul(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read an affine map, or the product of what depends on the inputs."""
    a, b = operands
    if isinstance(a, Tensor) and isinstance(b, Constant) and b.array.ndim == 2:
        if a.batch == a.n_axes - 1:
            raise DataError("expected features on the last axis, got the batch")
        layer = Dense(b.array.shape[1], bias=False)
        layer = layer if b.trained else frozen(layer)
        return reader.each(layer, a, params={"w": b.array.copy()})
    a = held(reader, a, b) if isinstance(a, Constant) else a
    b = held(reader, b, a) if isinstance(b, Constant) else b
    if max(a.batch - a.n_axes, b.batch - b.n_axes) >= -2:
        raise DataError("expected matrices of each example, got the batch on one of their axes")
    return reader.together(Product(), [a, b])


@operator("Gemm")
def gemm(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read an affine map; its factors become part of the weights."""
    x, w = tensor(operands[0]), array(operands[1], "its matrix")
    if node.attributes.get("transA") or x.batch:
        raise DataError("expected examples as rows, got transA")
    w = w.T if node.attributes.get("transB") else w
    w = np.ascontiguousarray(w * w.dtype.type(node.attributes.get("alpha", 1.0)))
    params = {"w": w}
    if (c := optional(operands, 2)) is not None:
        given = array(c, "its bias")
        if given.ndim > 2 or (given.ndim == 2 and given.shape[0] != 1):
            raise DataError(f"expected a bias that all examples share, got the shape {given.shape}")
        row = given * w.dtype.type(node.attributes.get("beta", 1.0))
        params["b"] = np.broadcast_to(row.reshape(-1), w.shape[1:]).copy()
    y: Tensor = reader.add(Dense(w.shape[1], bias=c is not None), x, params=params)
    return y


@operator("TopK")
def top_k(reader: Reader, node: Node, operands: list[Any]) -> Any:
    """Read an order of all; where each of them was is not known."""
    x = tensor(operands[0])
    axis = from_the_end(x, node.attributes.get("axis", -1))
    k = int(array(operands[1], "k").reshape(-1)[0])
    if k != x.shape[axis if axis < 0 else axis - 1]:
        raise DataError(f"expected all to be ordered, got the first {k}")
    layer = Sorted(axis=axis, largest=bool(node.attributes.get("largest", 1)))
    return reader.each(layer, x), Nothing


@operator("CumSum")
def cumulated(reader: Reader, node: Node, operands: list[Any]) -> Tensor:
    """Read sums up to each place."""
    if node.attributes.get("exclusive") or node.attributes.get("reverse"):
        raise DataError("expected sums from the first place, itself included")
    x = tensor(operands[0])
    axis = from_the_end(x, int(array(operands[1], "the axis").reshape(-1)[0]))
    return reader.each(RunningSum(axis=axis), x)
