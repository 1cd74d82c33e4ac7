"""Everything that is run on this repository, by name: `nox -l` lists it, `nox -s tests` runs one.

Facts are read, not repeated: Pythons come from the classifiers, the oldest versions from the floors in `dependencies`,
exact versions from `constraints.txt`. A job of CI is a session here, so a red one is repeated by its name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nox

nox.needs_version = ">=2026.10"
nox.options.default_venv_backend = "virtualenv"  # pip's own configuration holds, which uv does not read
nox.options.download_python = "never"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["tests", "lint", "types", "docs"]

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
FLOORS = [requirement.replace(">=", "==") for requirement in PROJECT["project"]["dependencies"]]
CORE_TESTS = [f"tests/{name}" for name in ("base", "flow", "host", "testing") if (ROOT / "tests" / name).is_dir()]
IN_CI = os.environ.get("CI") == "true"
HERE = "not server and not browser and not chaos"  # the tests that need nothing but Python
EVERY_EXTRA = ".[{}]".format(",".join(PROJECT["project"]["optional-dependencies"]))


def group(name: str) -> list[str]:
    """The requirements of a dependency group."""
    return nox.project.dependency_groups(PROJECT, name)


def exact(session: nox.Session, *, but: Sequence[str] = ()) -> list[str]:
    """Pip's arguments for the exact versions, `but` those of packages that the session chooses itself."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    kept = [line for line in lines if line.partition("==")[0] not in but]
    path = Path(session.create_tmp()).absolute() / "constraints.txt"
    path.write_text("\n".join(kept) + "\n")
    return ["-c", str(path)]


# ---------------------------------------------------------------------------------------------- the README's commands


@nox.session
def demo(session: nox.Session) -> None:
    """Talk to the voice assistant: `nox -s demo`, or `nox -s demo -- --pace real my.wav`."""
    session.install(*exact(session), ".[voice,espeak,cli]")
    session.run("python", "docs/examples/voice_assistant.py", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests that need no server and no browser, on this Python with the newest trio."""
    session.install("--upgrade", *exact(session, but=["trio"]), "trio", "-e", EVERY_EXTRA, *group("tests"))
    if "--coverage" in session.posargs:
        session.posargs.remove("--coverage")
        # Coverage starts before pytest, because pytest loads our plugin, and with it the package, before pytest-cov.
        session.run("coverage", "erase")
        session.run("coverage", "run", "-m", "pytest", "-m", HERE, *session.posargs)
        session.run("coverage", "combine", "-q")
        session.run("coverage", "report")
    else:
        session.run("python", "-m", "pytest", "-n", "2", "-m", HERE, *session.posargs)


# ------------------------------------------------------------------------------------------------- for long, at random


@nox.session
def soak(session: nox.Session) -> None:
    """Random sessions, an hour on the autojump clock and ten minutes on the real one: nothing is lost, nothing is left."""
    session.install(*exact(session), "-e", ".[otel]")
    session.run("python", "-m", "soak", *session.posargs, env={"PYTHONPATH": "tests"})


@nox.session
def fuzz(session: nox.Session) -> None:
    """Wrong values into everything public, and the models with many new examples: `nox -s fuzz -- 20` tries 20 times as many.

    In CI a minute of it, of what comes from outside: damaged messages. `python tests/fuzz/codec_for_long.py` goes on for an hour.
    """
    session.install(*exact(session), "-e", EVERY_EXTRA, *group("tests"))
    session.run("python", "tests/fuzz/codec_for_long.py", "--minutes", "1")
    if IN_CI:
        return
    times = session.posargs[0] if session.posargs else "10"
    models = ["tests/flow/test_model.py", "tests/host/test_random_lives.py"]
    session.run(
        *("python", "-m", "pytest", "-q", "-n", "2", "tests/fuzz", *models, *session.posargs[1:]),
        env={"TRIO_PIPES_EXAMPLES": times},
    )


@nox.session
def chaos(session: nox.Session) -> None:
    """Real faults between real processes on machines that are network namespaces; needs root, and says what else it lacks."""
    session.install(*exact(session), "-e", EVERY_EXTRA, *group("tests"))
    if not session.posargs:
        session.run("python", "-m", "pytest", "-q", "-m", "chaos", "tests/test_chaos.py")
    cannot = 3  # the machine lacks something, which it has said
    session.run("python", "-m", "chaos", *session.posargs, env={"PYTHONPATH": "tests"}, success_codes=[0, cannot])


# --------------------------------------------------------------------------------------------- other Pythons and trios


def find_python(version: str) -> str | None:
    """The path of a Python that really runs, also where pyenv's shim for it is on the path but switched off."""
    roots = [Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"]
    roots += [Path(os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local/share/uv/python"))]
    candidates = [shutil.which(f"python{version}")]
    candidates += [str(path) for root in roots for path in sorted(root.glob(f"*{version}.*/bin/python{version}"))]
    for candidate in filter(None, candidates):
        code = "import sys, venv; print('{}.{}'.format(*sys.version_info))"
        answer = subprocess.run([candidate, "-c", code], capture_output=True, text=True, check=False)
        if answer.returncode == 0 and answer.stdout.strip() == version:
            return candidate
    return None


@nox.session(python=False)
def matrix(session: nox.Session) -> None:
    """The core's tests on the other Pythons, and with the oldest supported dependencies on the oldest and the newest Python."""
    running = "{}.{}".format(*sys.version_info)
    pythons = {version: sys.executable if version == running else find_python(version) for version in PYTHONS}
    missing = [version for version, path in pythons.items() if path is None]
    if missing:
        session.warn(f"no Python {', '.join(missing)} on this machine: not tested on it")
    if IN_CI and not set(pythons) - set(missing) - {running}:
        session.error("CI tests more than one Python, and found no other one")
    floored = [requirement.partition("==")[0] for requirement in FLOORS]
    for version, path in pythons.items():
        if path is not None:
            if version in (PYTHONS[0], PYTHONS[-1]):  # what an old version lacks, or what it meets too early
                cell(session, path, f"{version}-oldest", *exact(session, but=floored), *FLOORS)
            if version != running:  # this one with the newest is the `tests` session
                cell(session, path, f"{version}-newest", *exact(session, but=["trio"]), "trio")


def cell(session: nox.Session, python: str, name: str, *requirements: str) -> None:
    """One cell of the matrix: a virtual environment of its own, with the core and its test kit only."""
    session.log(f"matrix: Python {name}")
    place = ROOT / ".nox" / f"matrix-{name}"
    own_python = str(place / ("Scripts" if os.name == "nt" else "bin") / "python")
    if not Path(own_python).exists():
        session.run(python, "-m", "venv", str(place), external=True)
    pip = [own_python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--upgrade"]
    session.run(*pip, *requirements, ".[testing]", *group("tests"), external=True)
    session.run(own_python, "-m", "pytest", "-q", "-n", "2", "-m", HERE, *CORE_TESTS, *session.posargs, external=True)


@nox.session
def servers(session: nox.Session) -> None:
    """The tests that need Redis or PostgreSQL; starts each at its usual port where none is listening there."""
    session.install(*exact(session), "-e", EVERY_EXTRA, *group("tests"))
    pytest = ["python", "-m", "pytest", "-m", "server"]
    nothing_collected = 5
    found = subprocess.run(
        [session.bin + "/python", *pytest[1:], "--collect-only", "-q"], capture_output=True, text=True, check=False
    )
    if found.returncode == nothing_collected:
        session.log("there are no server tests yet: nothing was run, no server was started")
        return
    session.run("python", "tests/with_servers.py", *pytest, *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """The tests that look at our pages in Chromium."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if missing:
        text = f"not installed: {', '.join(missing)}; `apt-get install chromium chromium-driver` installs both"
        (session.error if IN_CI else session.skip)(text)
    session.install(*exact(session), "-e", EVERY_EXTRA, *group("tests"))
    session.run("python", "-m", "pytest", "-m", "browser", "tests/pictures", *session.posargs)


# ------------------------------------------------------------------------------------------------------ static checks


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff's rules and formatting, and flake8-async for what ruff's copy of it cannot see."""
    session.install(*exact(session), *group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    # Off: 109 (a `timeout` parameter is our API where the design gives it), 114 (a list to keep by hand), 124 (a method is
    # async because its protocol is), 9xx (optional). Tests may also do on purpose what a library may not: cancel, catch
    # and wait in odd places.
    off = "ASYNC109,ASYNC114,ASYNC124,ASYNC9"
    odd = "ASYNC100,ASYNC102,ASYNC103,ASYNC104,ASYNC110,ASYNC111,ASYNC112,ASYNC128,ASYNC401"
    tests = sources("tests")
    at_once(
        session,
        ["flake8-async", f"--disable={off}", "noxfile.py", *sources("trio_pipes", "docs", "benchmarks")],
        *(["flake8-async", f"--disable={off},{odd}", *tests[part::2]] for part in range(2)),
    )


def at_once(session: nox.Session, *commands: Sequence[str]) -> None:
    """Run commands beside one another: each works in one process, and takes a minute or two. All are waited for."""
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(session.run, *command) for command in commands]
    for each in running:
        each.result()


def sources(*places: str) -> list[str]:
    """The Python files in these folders."""
    return [str(path.relative_to(ROOT)) for place in places for path in sorted((ROOT / place).rglob("*.py"))]


@nox.session
def types(session: nox.Session) -> None:
    """Mypy strict and pyright over the library and the typing tests; every public name has a known type."""
    session.install(*exact(session), "-e", EVERY_EXTRA, *group("types"), "pytest", "pytest-trio")
    session.run("mypy", *session.posargs)
    session.run("pyright")
    session.run("pyright", "--verifytypes", "trio_pipes", "--ignoreexternal")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, warnings as errors, and the next release notes as a draft."""
    session.install(*exact(session), "-e", ".[cli,testing,websocket]", *group("docs"))
    session.run("sphinx-build", "-W", "--keep-going", "-q", "-b", "html", "docs", "docs/_build/html")
    session.run("towncrier", "build", "--draft", "--version", "next", silent=True)


# ------------------------------------------------------------------------------------------------ what users will get


@nox.session
def wheel(session: nox.Session) -> None:
    """Build, look inside, install into an empty environment, and use what was installed."""
    constraints = exact(session)
    session.install(*constraints, *group("build"))
    place = Path(session.create_tmp()).absolute()
    made = place / "dist"
    shutil.rmtree(made, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(made), silent=True)
    (built,) = made.glob("*.whl")
    session.run("python", "tests/check_wheel.py", "contents", str(built), *map(str, made.glob("*.tar.gz")))

    empty = place / "empty"
    shutil.rmtree(empty, ignore_errors=True)
    session.run("python", "-m", "venv", str(empty))
    python = str(empty / ("Scripts" if os.name == "nt" else "bin") / "python")
    checks = str(ROOT / "tests" / "check_wheel.py")
    costs = str(ROOT / "tests" / "import_cost.py")
    with session.chdir(place):  # away from the checkout, so that only the wheel can be imported
        pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *constraints]
        session.run(*pip, str(built), external=True)
        session.run(python, checks, "bare", external=True)
        session.run(python, costs, external=True)
        session.run(*pip, f"{built}[cli]", external=True)
        session.run(python, checks, "cli", external=True)


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks; `--` arguments are passed on."""
    session.install(*exact(session), ".")
    session.run("python", "benchmarks/frames.py", *session.posargs)
