"""The command line, `trio-pipes ...`.

The script is always installed, its packages are not: without the extra `[cli]` it prints the line that installs them.
"""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["main"]

USAGE_ERROR: Final = 2


def main() -> int:
    """Run the command line with the arguments of this process, and return the exit code."""
    try:
        from ._app import run_app
    except ModuleNotFoundError as exc:
        if exc.name not in ("cyclopts", "rich"):
            raise
        print(
            f"trio-pipes: the command line needs the package {exc.name!r}, which is not installed. "
            "Install it with: pip install 'trio-pipes[cli]'",
            file=sys.stderr,
        )
        return USAGE_ERROR
    return run_app(sys.argv[1:])
