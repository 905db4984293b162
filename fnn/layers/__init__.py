"""Layers: kernels bound to parameters, state and keys."""

from fnn.layers.activation import (
    ACTIVATIONS,
    Identity,
    LeakyRelu,
    LogSoftmax,
    Relu,
    Sigmoid,
    Softmax,
    Tanh,
)
from fnn.layers.convolution import Conv
from fnn.layers.dense import Dense
from fnn.layers.dropout import Dropout
from fnn.layers.making import elementwise, make_layer
from fnn.layers.norm import BatchNorm
from fnn.layers.pooling import AvgPool, GlobalAvgPool, MaxPool
from fnn.layers.shape import Flatten, Reshape

__all__ = [
    "ACTIVATIONS",
    "AvgPool",
    "BatchNorm",
    "Conv",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAvgPool",
    "Identity",
    "LeakyRelu",
    "LogSoftmax",
    "MaxPool",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "elementwise",
    "make_layer",
]
