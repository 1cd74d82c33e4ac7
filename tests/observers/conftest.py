"""No test here can hang on the test clock."""

from pathlib import Path

import pytest

from hosting import bound_tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    bound_tests(items, Path(__file__).parent)


@pytest.fixture(params=[False, True], ids=["fused", "debug"])
def debug(request: pytest.FixtureRequest) -> bool:
    return request.param
