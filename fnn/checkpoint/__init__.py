"""Trees and training runs in files that a crash cannot destroy and a stranger cannot misuse."""

from fnn.checkpoint.folder import Checkpoints
from fnn.checkpoint.models import load_model, save_model
from fnn.checkpoint.runs import load_checkpoint, read_about, save_checkpoint
from fnn.checkpoint.trees import load_tree, save_tree

__all__ = [
    "Checkpoints",
    "load_checkpoint",
    "load_model",
    "load_tree",
    "read_about",
    "save_checkpoint",
    "save_model",
    "save_tree",
]
