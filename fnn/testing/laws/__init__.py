"""Laws: properties that every layer, loss, transform, schedule, codec and train step must have.

A law is a function that yields what breaks it. To add one of layers, write it beside its like, with the
equation in its docstring, and list it by name in `LAWS` of `of_layers.py`; `check_layer` then runs it in
both modes, shrinks what breaks it, and gives it a function of its own (`check_NAME`).

    of_layers                the list, and `check_layer`
    contract                 contract, shapes, dtype, finite, apply_is_vjp, pure (with layouts)
    derivatives, adjoint     pullback_linear, adjoint ⟨dy, J v⟩ = ⟨J* dy, v⟩, entries, complex_safe
    kinks                    where a derivative jumps
    behaviour                batch_independent, state, stochastic, insertion_stable
    functions                `check_vjp`, for any function with a pullback
    of_losses                `check_loss`, with loss_gradients and loss_weights
    of_transforms            `check_transform`
    of_train_steps           `check_train_step`
    of_codecs_and_schedules  `check_codec`, `check_schedule`
"""
