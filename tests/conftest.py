"""What holds for the whole suite: the same examples at every run, and longer profiles only on request.

`--fnn-profile nightly` draws new examples, and more; `-m slow` runs the longer profiles.
"""

import pytest
from hypothesis import settings

settings.register_profile("replayed", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("replayed")


def pytest_collection_modifyitems(config, items):
    """Leave out what is marked slow unless the marks asked for name it."""
    if "slow" in config.option.markexpr:
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="a longer profile: pytest -m slow"))
