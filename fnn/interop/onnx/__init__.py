"""ONNX: networks as models that other runtimes take, and models as networks. Extra "onnx".

from fnn.interop.onnx import from_onnx, to_onnx

model = to_onnx(net, params, state, (784,))
net, params, state = from_onnx(model)
"""

from fnn.interop.onnx.exporting import to_onnx
from fnn.interop.onnx.graph import LAYERS, Graph, Part, Value
from fnn.interop.onnx.networks import from_onnx

__all__ = ["LAYERS", "Graph", "Part", "Value", "from_onnx", "to_onnx"]
