"""What this machine lacks for real faults: rights, programs, abilities of its kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# Each program, and the package of Debian that brings it.
PROGRAMS = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "redis-server": "redis-server",
}
PROBE = ["unshare", "--net", "--uts", "--time", "--monotonic", "1000", "true"]


def lacking() -> list[str]:
    """What is missing, each in a few words; nothing when the faults can be made."""
    if sys.platform != "linux":
        return ["Linux"]
    if os.geteuid() != 0:
        return ["the rights of root"]
    packages = {package: name for name, package in PROGRAMS.items() if shutil.which(name) is None}
    missing = [f"{name} (apt-get install {package})" for package, name in packages.items()]
    if postgres("postgres") is None:
        missing.append("PostgreSQL (apt-get install postgresql)")
    if faketime() is None:
        missing.append("libfaketime (apt-get install faketime)")
    if not missing:
        probe = subprocess.run(PROBE, capture_output=True, text=True, check=False)
        if probe.returncode:
            missing.append(f"network and time namespaces ({probe.stderr.strip()})")
    return missing


def postgres(name: str) -> str | None:
    """One of PostgreSQL's programs; Debian keeps them off the path."""
    found = [shutil.which(name), *map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True))]
    return next(filter(None, found), None)


def faketime() -> str | None:
    """The library that shifts a process's wall clock: the one for programs with threads."""
    found = sorted(Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1"))
    return str(found[0]) if found else None
