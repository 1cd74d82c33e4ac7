"""Deadlocks in tests of ready-made processors are bounded."""

from pathlib import Path

from hosting import bound_tests


def pytest_collection_modifyitems(items):
    bound_tests(items, Path(__file__).parent)
