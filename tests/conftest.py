"""The suite draws the same examples at every run; `--fnn-profile nightly` draws new ones, and more."""

from hypothesis import settings

settings.register_profile("replayed", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("replayed")
