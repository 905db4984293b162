"""A functional, stateless neural-network toolkit on NumPy.

Layers are pure init/apply/vjp triples over immutable trees of parameters; `fnn.layers.contract`
states the contract. Every public name is here and in the room that it comes from; a room is loaded
when one of its names is first used, so that a script pays for what it needs.
"""

from fnn.rooms import open_on_use

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = open_on_use(
    __name__,
    {
        "kernels.blas": "threads",
        "runs.checkpoint": "load_model save_model",
        "layers.combinators": "frozen named residual serial",
        "datasets": (
            "Batches Dataset OneHot batches blobs circles class_weights digits find_mnist handwriting "
            "image_folder mnist parity read_idx read_image spirals two_moons write_idx"
        ),
        "training.derivatives": "hvp jacobian jvp per_example_grads",
        "ensemble": "Keys over_members stacked",
        "errors": "DataError DivergedError DTypeError FnnError OptionError ShapeError TreeError",
        "layers.initializers": (
            "INITIALIZERS constant glorot_normal glorot_uniform he_normal he_uniform lecun_normal "
            "lecun_uniform normal ones uniform zeros"
        ),
        "keys": "Key",
        "layers.contract": "Layer Traits",
        "layers": (
            "ACTIVATIONS AvgPool BatchNorm Conv Dense Dropout Flatten GlobalAvgPool Identity "
            "LeakyRelu LogSoftmax MaxPool Relu Reshape Sigmoid Softmax Tanh elementwise make_layer"
        ),
        "training.loop": "Fit History early_stopping fit",
        "losses": (
            "LOSSES absolute_error cross_entropy half_squared_error make_loss nll "
            "sigmoid_cross_entropy softmax_cross_entropy softmax_cross_entropy_dense "
            "squared_error summed"
        ),
        "metrics": (
            "METRICS ClassReport accuracy binary_accuracy categorical_accuracy "
            "classification_report confusion_matrix top_k"
        ),
        "optimizers": (
            "OPTIMIZERS Transform adagrad adam adamw add_decayed_weights apply_updates chain "
            "clip_by_global_norm freeze global_norm momentum rmsprop scale_by_adam "
            "scale_by_learning_rate scale_by_rms sgd trace"
        ),
        "recipe": "constructor",
        "registry": "Registry",
        "layers.summaries": "summary",
        "training.step": (
            "TrainState evaluate init_train_state jit predict scan train_step value_and_grad"
        ),
        "runs": "config pictures",
        "tree": "Tree",
    },
    extra=("__version__", "tree"),
)
