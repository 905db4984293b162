"""Trees and training runs in files that a crash cannot destroy and a stranger cannot misuse."""

from fnn.runs.checkpoint.folder import Checkpoints
from fnn.runs.checkpoint.models import load_model, save_model
from fnn.runs.checkpoint.runs import load_checkpoint, read_about, save_checkpoint
from fnn.runs.checkpoint.trees import load_tree, save_tree

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
