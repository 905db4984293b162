"""Interrupts that Python would lose: one that is raised within a finaliser is printed and forgotten."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

SIGTERM = "SIGTERM"
"""What a KeyboardInterrupt says that stands for SIGTERM."""
_AGAIN_SECONDS = 0.01


@contextlib.contextmanager
def kept_interrupts() -> Iterator[None]:
    """Send a signal once more if the KeyboardInterrupt that it became came up within `__del__`.

    Signals are handled between any two operations of the main thread, those of a finaliser or a weak
    reference's callback included, and what these raise goes nowhere: a run would go on to its end.
    """
    before = sys.unraisablehook

    def hook(lost: Any) -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            before(lost)
            return
        is_end = getattr(lost.exc_value, "args", ()) == (SIGTERM,)
        number = signal.SIGTERM if is_end else signal.SIGINT
        # Not from here, where it would be lost again.
        timer = threading.Timer(_AGAIN_SECONDS, signal.raise_signal, (number,))
        timer.daemon = True
        timer.start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
