"""Programs: what a step does to its arrays, recorded once and replayed with the same bits."""

import os

EXECUTOR = "FNN_EXECUTOR"
"""Variable of the environment: "plain" makes every call as it is written, none by a program; "list"
makes no machine code; "machine" makes it at once, and waits for it."""


def replays() -> bool:
    """Return whether programs are wanted."""
    return os.environ.get(EXECUTOR) != "plain"
