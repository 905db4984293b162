"""Networks as modules of PyTorch that train on there, and modules of PyTorch as networks of ours.

    module = to_torch(net, params, state)          # An nn.Module over the same numbers.
    net, params, state = from_torch(module)        # Of known layers, or of what `to_torch` made.
    into_torch(module, params, state)              # Numbers of ours into a module that has them.

It needs the extra `torch`.
"""

from fnn.interop.arrays.translating import Run
from fnn.interop.torch.module import FnnModule, function_of, rules, to_torch
from fnn.interop.torch.reading import from_torch, into_torch

__all__ = ["FnnModule", "Run", "from_torch", "function_of", "into_torch", "rules", "to_torch"]
