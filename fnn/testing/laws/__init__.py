"""Laws: properties that every layer, loss, transform, schedule, codec, step and augmentation must have.

A law is a function that yields what breaks it. To add one of layers, write it beside its like, with
the equation in its docstring, and list it by name in `LAWS` of `of_layers.py`, with a `check_NAME`;
`check_layer` then runs it in both modes and shrinks what breaks it.

    of_layers                the list, and `check_layer`
    contract, layouts        contract, shapes, dtype, finite, apply_is_vjp, pure
    derivatives, adjoint     adjoint, ⟨dy, J v⟩ = ⟨J* dy, v⟩; pullback_linear, entries, complex_safe
    kinks                    where a derivative jumps
    behaviour                batch_independent, state, stochastic, insertion_stable
    functions                `check_vjp`, for any function with a pullback
    of_losses                `check_loss`, with loss_gradients and loss_weights
    of_transforms            `check_transform`
    of_train_steps           `check_train_step`
    of_codecs_and_schedules  `check_codec`, `check_schedule`
    of_augmentations         `check_augmentation`
"""
