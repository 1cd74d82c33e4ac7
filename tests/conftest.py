"""For every test: what is left to another session is counted, and in CI a skip is a failure."""

import gc
import os
import re
from collections.abc import Generator

import pytest

import examples  # noqa: F401  (its profile of hypothesis is loaded before any test's module)

# Tests that another session runs, by marker.
SESSIONS = {"server": "servers", "browser": "browser", "chaos": "chaos"}
NEED = {
    "server": "tests that need a server",
    "browser": "tests that need a browser",
    "chaos": "tests that need machines of their own",
}
LEFT = pytest.StashKey[dict[str, int]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LEFT] = dict.fromkeys(SESSIONS, 0)


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        for marker in SESSIONS:
            if item.get_closest_marker(marker) is not None:
                item.config.stash[LEFT][marker] += 1


# Under pytest-xdist the workers deselect, all of them the same tests, and the controller reports.
def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left"] = session.config.stash[LEFT]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    left = getattr(node, "workeroutput", {}).get("left")
    if left is not None:
        node.config.stash[LEFT] = left  # type: ignore[attr-defined]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    config = terminalreporter.config
    for marker, session in SESSIONS.items():
        if f"not {marker}" in config.getoption("markexpr"):
            terminalreporter.write_line(f"{config.stash[LEFT][marker]} {NEED[marker]}: `nox -s {session}`")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where everything must run: {report.longrepr}"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """An address in a test's name is another one in each process: then pytest-xdist, and with it CI, runs nothing at all."""
    passing = [item.nodeid for item in items if re.search(r"\bat 0x[0-9a-f]{6}|\bid='\d{6}", item.nodeid)]
    if passing:
        raise pytest.UsageError(f"these names are not the same in every process, give ids: {', '.join(passing)}")


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
