"""Checkpoints as scripts import them; `fnn.runs.checkpoint` says what stands in the files.

from fnn.checkpoint import load_tree, save_tree
"""

from fnn.runs.checkpoint import *  # noqa: F403
from fnn.runs.checkpoint import __all__ as __all__
