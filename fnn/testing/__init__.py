"""Laws that prove layers, and the oracles they ask."""

from fnn.testing.adjoint import check_vjp
from fnn.testing.layer_laws import (
    ALL,
    check_adjoint,
    check_apply_is_vjp,
    check_batch_independent,
    check_complex_safe,
    check_dtype,
    check_entries,
    check_finite,
    check_insertion_stable,
    check_kinks,
    check_layer,
    check_pullback_linear,
    check_pure,
    check_shapes,
    check_state,
    check_stochastic,
)
from fnn.testing.report import LawError, Report, Violation

__all__ = [
    "ALL",
    "LawError",
    "Report",
    "Violation",
    "check_adjoint",
    "check_apply_is_vjp",
    "check_batch_independent",
    "check_complex_safe",
    "check_dtype",
    "check_entries",
    "check_finite",
    "check_insertion_stable",
    "check_kinks",
    "check_layer",
    "check_pullback_linear",
    "check_pure",
    "check_shapes",
    "check_state",
    "check_stochastic",
    "check_vjp",
]
