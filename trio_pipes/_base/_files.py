"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: str | os.PathLike[str], text: str) -> None:
    """Write a file in UTF-8; until all of it is on disk, what was there stays as it was. Blocks.

    What is no regular file, such as `/dev/stdout`, is written to as it is. Raises `OSError`.
    """
    data = text.encode(errors="backslashreplace")
    given = Path(path)
    if given.exists() and not given.is_file():
        try:
            given.write_bytes(data)
        except OSError as exc:
            exc.filename = os.fspath(path)  # a full disk does not name it
            raise
        return
    target = given.resolve()
    beside = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror or str(exc), os.fspath(path)) from exc  # the name that the caller knows
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)  # what is whole has another name by now
