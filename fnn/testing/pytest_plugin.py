"""The pytest plugin: the fixture `check_layer` and profiles for Hypothesis.

    def test_swish_is_right(check_layer):
        check_layer(Swish(), (5,))

Profiles: "ci" replays the same examples every time, without deadlines, and prints how to reproduce
a failure; "nightly" draws new ones, more of them; "dev" draws new ones without deadlines. Choose
one by `--fnn-profile`, or by FNN_PROFILE in the environment; where CI is set, "ci" is loaded unless
the suite has chosen a Hypothesis profile of its own.

pytest loads this file in every project that can import it: what is heavy is imported where it is
used. Hypothesis may be missing, unless a profile is asked for.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

PROFILES: dict[str, dict[str, Any]] = {
    "ci": {"deadline": None, "derandomize": True, "print_blob": True},
    "nightly": {"deadline": None, "max_examples": 500, "print_blob": True},
    "dev": {"deadline": None, "print_blob": True},
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--fnn-profile`."""
    parser.getgroup("fnn").addoption(
        "--fnn-profile",
        choices=sorted(PROFILES),
        help="how many examples Hypothesis draws, and whether anew (default: ci where CI is set)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Load the chosen profile, if one is chosen."""
    asked = config.getoption("--fnn-profile") or os.environ.get("FNN_PROFILE")
    if asked:
        _load(asked)
    elif os.environ.get("CI") and not config.getoption("--hypothesis-profile", None):
        _load("ci", is_asked=False)


def _load(name: str, *, is_asked: bool = True) -> None:
    if name not in PROFILES:
        raise pytest.UsageError(f"FNN_PROFILE: expected one of {sorted(PROFILES)}, got {name!r}")
    try:
        from hypothesis import HealthCheck, settings
    except ImportError:
        if is_asked:
            message = f"the profile {name!r} needs Hypothesis: pip install 'fnn[test]'"
            raise pytest.UsageError(message) from None
        return
    # A network may be slow to draw; that says nothing about the laws.
    slow = (HealthCheck.too_slow, HealthCheck.data_too_large)
    for each, given in PROFILES.items():
        settings.register_profile(f"fnn-{each}", suppress_health_check=slow, **given)
    # Conftest files were read before: one that has loaded a profile keeps it.
    current = getattr(settings, "get_current_profile_name", lambda: "default")  # New in 2024.
    if is_asked or current() in ("default", "ci"):
        settings.load_profile(f"fnn-{name}")


# For the session, so that it goes together with @given: it is a function and has no state.
@pytest.fixture(scope="session")
def check_layer() -> Any:
    """Return `fnn.testing.check_layer`; a failure shows its report, and your line that asked."""

    def check(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        from fnn.errors import FnnError
        from fnn.testing.laws.of_layers import check_layer

        try:
            return check_layer(*args, **kwargs)
        except FnnError as error:
            broken = error.with_traceback(None)
        # Raised anew, and from None: the frames in which a law was found broken say nothing.
        raise broken from None

    return check
