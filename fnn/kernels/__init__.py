"""Numerics: arrays in, arrays out, each `f` beside its `f_vjp`; nothing here knows a layer."""
