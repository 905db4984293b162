"""`--check`: our time per step as a fraction of straightforward NumPy's must stay within bounds."""

from __future__ import annotations

from collections.abc import Callable

from bench.lockstep import measure
from bench.summary import ratio

BOUNDS = {
    "mlp_bn_1000": 0.85,  # measured 0.57 to 0.63
    "cnn_100": 0.10,  # 0.06
    "sigmoid_100": 0.80,  # 0.52
    "parity_32": 0.60,  # 0.36 to 0.43
    "keras_100": 0.65,  # 0.42
    "lenet_128": 0.40,  # 0.25
    "predict_1": 0.45,  # 0.25
    "predict_128": 0.12,  # 0.07
    "input_pipeline": 1.50,  # 1.14
}
"""At most these fractions, about 1.35 times the largest measured on two cores: a ratio holds on a noisy
machine where a time would not."""


_TRIES = 3
"""How often a workload is measured that seems too slow: another process may have been in the way."""


def failures(only: tuple[str, ...], say: Callable[[str], None]) -> list[str]:
    """Time fnn against numpy; return a line for each workload that is too slow or went wrong."""
    found = []
    for name in only or tuple(BOUNDS):
        for _ in range(_TRIES):
            entries = measure(name, ["fnn", "numpy"], rounds=5, seconds=0.06)
            troubles = [f"{peer}: {e['trouble']}" for peer, e in entries.items() if "trouble" in e]
            if troubles:
                break
            middle = ratio(*(entries[peer]["seconds"] for peer in ("fnn", "numpy")))["median"]
            if middle <= BOUNDS[name]:
                break
        if troubles:
            found.append(f"{name}: {'; '.join(troubles)}")
            continue
        say(f"{name:<16} {middle:.2f} of numpy's time, at most {BOUNDS[name]:.2f}")
        if middle > BOUNDS[name]:
            found.append(
                f"{name}: expected at most {BOUNDS[name]:.2f} of numpy's time, got {middle:.2f}"
            )
    return found
