"""Checkpoints as scripts use them; `fnn.runs.checkpoint` says what stands in the files.

from fnn.checkpoint import load_tree, save_tree
"""

from fnn.runs.checkpoint import (
    Checkpoints,
    load_checkpoint,
    load_model,
    load_tree,
    read_about,
    save_checkpoint,
    save_model,
    save_tree,
)

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
