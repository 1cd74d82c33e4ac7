"""For every test: what is left to another session is counted, and in CI a skip is a failure."""

import gc
import os
from collections.abc import Generator

import pytest

LEFT_TO_SERVERS = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LEFT_TO_SERVERS] = 0


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("server") is not None:
            item.config.stash[LEFT_TO_SERVERS] += 1


# Under pytest-xdist the workers deselect, all of them the same tests, and the controller reports.
def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left_to_servers"] = session.config.stash[LEFT_TO_SERVERS]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    left = getattr(node, "workeroutput", {}).get("left_to_servers", 0)
    node.config.stash[LEFT_TO_SERVERS] = left  # type: ignore[attr-defined]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    config = terminalreporter.config
    if config.getoption("markexpr") == "not server":
        terminalreporter.write_line(f"{config.stash[LEFT_TO_SERVERS]} tests that need a server: `nox -s servers`")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where everything must run: {report.longrepr}"
    return report


def pytest_collection_finish() -> None:
    """Thousands of tests collect garbage to see what is left; what was there before them need not be looked through."""
    gc.collect()
    gc.freeze()


class _Freezer:
    """The same for what reports and caches leave behind, every so many tests."""

    count = 0


def pytest_runtest_logfinish() -> None:
    _Freezer.count += 1
    if _Freezer.count % 100 == 0:
        gc.collect()
        gc.freeze()
