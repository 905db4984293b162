"""Numerics: arrays in, arrays out, each `f` beside its `f_vjp`; nothing here knows a layer."""

from fnn.registry import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
