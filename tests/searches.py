"""Searches among what strategies draw."""

from __future__ import annotations

from random import Random

from hypothesis import HealthCheck, Phase, find, settings

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


def drawn(examples=50):
    """Return settings for a test that is to be the same at every run."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=SLOW,
    )


def simplest(strategy, condition=lambda value: True, *, seed=0):
    searching = settings(max_examples=5000, deadline=None, database=None, suppress_health_check=SLOW)
    return find(strategy, condition, settings=searching, random=Random(seed))


def some(strategy, condition, most=8000):
    """Return a value that fulfils the condition, however large, of so many that are drawn."""
    searching = settings(drawn(most), phases=[Phase.generate])
    return find(strategy, condition, settings=searching)
