"""What holds for the whole suite: the same examples at every run, and longer profiles only on request.

`--fnn-profile nightly` draws new examples, and more; `-m slow` runs the longer profiles. With
pytest-xdist (`-n 3 --dist worksteal`) the tests share the cores, but for those marked `alone`, which
measure time or memory, or send signals at moments that count: while one of them runs, the other
workers wait.
"""

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

try:
    import fcntl
except ImportError:  # Not on Windows, where workers do not wait for each other.
    fcntl = None

settings.register_profile("replayed", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("replayed")


def pytest_collection_modifyitems(config, items):
    """Leave out what is marked slow unless the marks asked for name it."""
    if "slow" in config.option.markexpr:
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="a longer profile: pytest -m slow"))


# --- tests that run alone


def lock_files(run_id):
    """Return the files that the workers of one run lock: the door, and the room behind it."""
    return [Path(tempfile.gettempdir()) / f"fnn-tests-{run_id}-{name}" for name in ("door", "room")]


@contextlib.contextmanager
def locked(file, how):
    """Hold a lock on an open file."""
    fcntl.flock(file, how)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    """Let a test that is marked `alone` wait for those of other workers to end, and keep them out.

    The room is shared by ordinary tests. Whoever wants to have it alone holds the door until then, so
    that no other test slips in before.
    """
    # Asked of the configuration, not of the environment: a pytest that a test starts is no worker, and
    # would wait for the test that waits for it.
    worker = getattr(item.config, "workerinput", None)
    if worker is None or fcntl is None:
        return (yield)
    run_id = worker["testrunuid"]
    is_alone = item.get_closest_marker("alone") is not None
    door, room = lock_files(run_id)
    with open(door, "w") as door_file, open(room, "w") as room_file:
        with locked(door_file, fcntl.LOCK_EX):
            fcntl.flock(room_file, fcntl.LOCK_EX if is_alone else fcntl.LOCK_SH)
        try:
            return (yield)
        finally:
            fcntl.flock(room_file, fcntl.LOCK_UN)


def pytest_sessionfinish(session):
    """Remove the locks when the last worker has ended."""
    run_id = getattr(session.config.option, "testrunuid", None)
    if run_id is not None and not hasattr(session.config, "workerinput"):
        for path in lock_files(run_id):
            path.unlink(missing_ok=True)
