"""Nobody pays for a broker that is not used, and who lacks its package is told what to install."""

import subprocess
import sys

import pytest

import trio_pipes.net
from trio_pipes import MissingExtra, RedisBus


def test_a_bus_is_imported_when_it_is_first_asked_for() -> None:
    code = """
import sys, trio_pipes, trio_pipes.net
ours = {name for name in sys.modules if name.startswith("trio_pipes.net.")}
assert ours == set(), ours
bus = trio_pipes.RedisBus
assert "trio_pipes.net._redis_bus" in sys.modules
assert "trio_pipes.net._redis_connection" not in sys.modules and "hiredis" not in sys.modules
assert bus is trio_pipes.net.RedisBus
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="NatsBus"):
        trio_pipes.net.NatsBus  # type: ignore[attr-defined]  # noqa: B018


def test_without_hiredis_the_line_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hiredis", None)
    with pytest.raises(MissingExtra, match=r"pip install 'trio-pipes\[redis\]'"):
        RedisBus("redis://localhost")


def test_postgres_bus_is_imported_when_it_is_asked_for_and_its_client_when_it_is_made() -> None:
    code = """
import sys, trio_pipes
bus = trio_pipes.PostgresBus
assert "trio_pipes.net._postgres_bus" in sys.modules
assert "trio_pipes.net._redis_bus" not in sys.modules and "psycopg" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
