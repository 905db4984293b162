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

from fnn.rooms import open_on_use

__getattr__, __dir__, __all__ = open_on_use(
    __name__,
    {
        "function_laws": "check_vjp",
        "layer_laws": (
            "ALL check_adjoint check_apply_is_vjp check_batch_independent check_complex_safe "
            "check_dtype check_entries check_finite check_insertion_stable check_kinks "
            "check_layer check_pullback_linear check_pure check_shapes check_state "
            "check_stochastic"
        ),
        "loss_laws": "check_loss",
        "mutation": "Mutant MutationScore differs mutants mutation_score",
        "report": "LawError Report Violation",
        "small_laws": "check_codec check_schedule",
        "training_laws": "check_train_step",
        "transform_laws": "check_transform",
    },
)
