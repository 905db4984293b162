"""A kit that proves gradients, and all else that the contract promises, of anybody's layers.

    from fnn.testing import check_layer

    def test_my_layer():
        check_layer(MyLayer(), in_shape=(8,))

One call checks every law in both modes, and one error lists every broken one: the layer's path, the
leaf and the index, what came and what should have, and the smallest shape that shows it. Derivatives
come from oracles (`fnn.testing.oracles`), never from the code on trial. `mutants` tries the checks on
wrong versions. Strategies for Hypothesis are in `fnn.testing.strategies`, which needs the extra
`test` (`pip install fnn[test]`); nothing else here does.
"""

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
from fnn.testing.loss_laws import check_loss
from fnn.testing.mutants import Mutant, MutationScore, differs, mutants, mutation_score
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
