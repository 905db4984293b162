"""What type checkers see: every public name in its room. A test holds it to `__init__.py`."""

from fnn.testing.function_laws import check_vjp
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
from fnn.testing.loss_laws import check_loss
from fnn.testing.mutation import Mutant, MutationScore, differs, mutants, mutation_score
from fnn.testing.report import LawError, Report, Violation
from fnn.testing.small_laws import check_codec, check_schedule
from fnn.testing.training_laws import check_train_step
from fnn.testing.transform_laws import check_transform

__all__ = [
    "ALL",
    "LawError",
    "Mutant",
    "MutationScore",
    "Report",
    "Violation",
    "check_adjoint",
    "check_apply_is_vjp",
    "check_batch_independent",
    "check_codec",
    "check_complex_safe",
    "check_dtype",
    "check_entries",
    "check_finite",
    "check_insertion_stable",
    "check_kinks",
    "check_layer",
    "check_loss",
    "check_pullback_linear",
    "check_pure",
    "check_schedule",
    "check_shapes",
    "check_state",
    "check_stochastic",
    "check_train_step",
    "check_transform",
    "check_vjp",
    "differs",
    "mutants",
    "mutation_score",
]
