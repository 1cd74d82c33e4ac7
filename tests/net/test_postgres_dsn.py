"""DSNs: what is understood, what is refused, and that no secret is ever shown."""

from urllib.parse import quote

import pytest
from hypothesis import given, strategies as st

from trio_pipes import ConfigurationError
from trio_pipes._base._postgres import parse_dsn

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("postgresql://me:s3cr3t@db.example:5433/data", "postgresql://me@db.example:5433/data"),
        ("postgres://db.example", "postgresql://db.example/"),
        ("host=db.example user=me password=s3cr3t", "postgresql://me@db.example/"),
        ("host=a,b port=1,2 dbname=d", "postgresql://a,b:1,2/d"),
        ("", "postgresql:///"),
    ],
)
def test_shows_who_and_where_and_no_password(dsn: str, shown: str) -> None:
    assert repr(parse_dsn("f(dsn", dsn)) == shown
    assert str(parse_dsn("f(dsn", dsn)) == shown


@pytest.mark.parametrize(
    "dsn",
    [
        None,
        b"host=x",
        "postgresql://me:s3cr3t@x@db.example/data",
        "postgresql://me:x/s3cr3t@db.example/data",
        "postgresql://me:12/s3cr3t@db.example/data",
        "postgresql://me:s3cr3t%zz@db.example/data",
        "s3cr3t",
        "password='s3cr3t",
        "host=x nonsense=s3cr3t",
        "host=x port=s3cr3t",
        "host=x connect_timeout=s3cr3t",
        "host=x\0password=s3cr3t",
        "mysql://me:s3cr3t@x/y",
    ],
)
def test_refused_without_being_quoted(dsn: object) -> None:
    with pytest.raises(ConfigurationError, match="PostgreSQL URL") as raised:
        parse_dsn("PostgresBus(dsn", dsn)
    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@given(st.text(min_size=8, alphabet=st.characters(codec="utf-8", exclude_characters="\0")))
def test_any_password_can_be_encoded_and_is_hidden(password: str) -> None:
    dsn = parse_dsn("f(dsn", f"postgresql://me:{quote(password, safe='')}@host/data")
    assert dsn.hide(f"x {password} y") == "x *** y"
    assert repr(dsn) == "postgresql://me@host/data"


async def test_names_become_addresses() -> None:
    dsn = parse_dsn("f(dsn", "host=localhost,/run/x port=5432,6000 password=a\\'b")
    conninfo = await dsn.resolve(application_name="mine")
    assert b"hostaddr=" in conninfo
    assert b"127.0.0.1" in conninfo or b"::1" in conninfo
    assert b"/run/x" in conninfo
    assert b"application_name=mine" in conninfo
    assert b"password=a\\'b" in conninfo


async def test_an_unknown_name_is_told() -> None:
    with pytest.raises(OSError, match="'no-such-host.invalid' is not known"):
        await parse_dsn("f(dsn", "host=no-such-host.invalid").resolve()
