"""A real browser for tests: Chromium, driven by chromedriver over its HTTP protocol (W3C WebDriver), which needs no package."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromedriver")
OPTIONS = [
    *(
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
    ),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"),
]


def missing_programs() -> list[str]:
    """What is not installed of what is needed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


class Browser:
    """One window."""

    def __init__(self, address: str, folder: str, size: tuple[int, int]) -> None:
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        self._address = f"{address}/session"
        options = [*OPTIONS, f"--user-data-dir={folder}", "--window-size={},{}".format(*size)]
        wanted = {
            "goog:chromeOptions": {"binary": shutil.which("chromium"), "args": options},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        self._address += f"/{self._call('POST', '', capabilities={'alwaysMatch': wanted})['sessionId']}"

    def _call(self, method: str, path: str, **body: Any) -> Any:
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(f"{self._address}{path}", data, method=method)
        with self._open(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def show(self, page: Path, place: str = "") -> None:
        """Load a page; after its script has run, this returns."""
        self._call("POST", "/url", url="about:blank")  # else another `#place` would not load it again
        self._call("POST", "/url", url=f"{page.as_uri()}{place}")
        self.run("return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def run(self, script: str, *args: Any) -> Any:
        """What a piece of JavaScript returns."""
        return self._call("POST", "/execute/sync", script=script, args=list(args))

    def act(self, *steps: dict[str, Any], kind: str = "pointer") -> None:
        """Move the pointer, press, turn the wheel or type; then wait for the next picture."""
        device: dict[str, Any] = {"type": kind, "id": kind, "actions": list(steps)}
        if kind == "pointer":
            device["parameters"] = {"pointerType": "mouse"}
        self._call("POST", "/actions", actions=[device])
        self.run("return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def complaints(self) -> list[str]:
        """What the console has: errors, and what the page's security policy refused."""
        return [it["message"] for it in self._call("POST", "/se/log", type="browser")]

    def screenshot(self) -> str:
        """The window as PNG, in base64."""
        picture: str = self._call("GET", "/screenshot")
        return picture

    def close(self) -> None:
        self._call("DELETE", "")


@contextmanager
def open_browser(size: tuple[int, int] = (1400, 1000)) -> Iterator[Browser]:
    """A browser while the block lasts."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            assert driver.stdout is not None
            port = next(
                hit[1] for line in driver.stdout if (hit := re.search(r"started successfully on port (\d+)", line))
            )
            browser = Browser(f"http://127.0.0.1:{port}", folder, size)
            try:
                yield browser
            finally:
                browser.close()
        finally:
            driver.terminate()
            driver.communicate(timeout=30)
