"""Promises of the repository as a whole: its commands, what its files may not contain, what every public name has."""

import ast
import importlib
import inspect
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs_code import shell_lines_of
from source_tree import MODULES, PUBLIC_MODULES, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TEXT = {".py", ".pyi", ".md", ".toml", ".txt", ".cfg", ".ini", ".yml", ".yaml", ".json", ".sh", ""}
LOCAL = {".git", ".nox", ".venv", "_build", "__pycache__", "build", "dist", "out"}


def texts() -> Iterator[tuple[Path, str]]:
    """Every text file of the repository: what git knows or would add, or all of it in an unpacked sdist."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
        paths = [ROOT / name for name in listed if name]
    else:
        paths = [path for path in ROOT.rglob("*") if not LOCAL & set(path.relative_to(ROOT).parts)]
    for path in paths:
        if path.suffix in TEXT and path.is_file():
            yield path, path.read_text()


# ------------------------------------------------------------------------------------------------------- the commands

SET_UP = "python3 -m venv .venv && .venv/bin/pip install -q nox && .venv/bin/nox -s "


def test_the_readme_has_its_two_commands() -> None:
    commands = [line for line in shell_lines_of(ROOT / "README.md") if "nox" in line]
    assert commands == [SET_UP + "demo", SET_UP + "tests"]


def test_ci_runs_the_readmes_test_command() -> None:
    assert SET_UP + "tests" in (ROOT / ".ci" / "run").read_text().splitlines()


def test_ci_runs_every_other_session() -> None:
    sessions = {
        node.name
        for node in ast.parse((ROOT / "noxfile.py").read_text()).body
        if isinstance(node, ast.FunctionDef) and any("session" in ast.unparse(it) for it in node.decorator_list)
    }
    runs = re.findall(r"^ *\.venv/bin/nox -s (.*)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert sessions - set(" ".join(runs).split()) == {
        "tests",
        "demo",
        "bench",
        "soak",
        "chaos",
    }  # the first, two that judge nothing, two for long


# ------------------------------------------------------------------------------------------ what no file may contain


# An address of a package index would work on one network only; so would a path of one machine.
def test_no_file_names_an_index_or_a_path_of_this_machine() -> None:
    hosts = "|".join(
        ["pypi" + r"\.org", "pythonhosted" + r"\.org", "registry" + r"\.npmjs", r"index-url\s*[=\s]\s*http"]
    )
    folders = "|".join(re.escape(str(path)) for path in {ROOT.parent, Path.home()} if len(path.parts) > 1)
    refused = re.compile(f"({hosts})|({folders})/")
    found = [f"{path.relative_to(ROOT)}: {hit.group()}" for path, text in texts() for hit in refused.finditer(text)]
    assert found == []


def test_constraints_are_names_and_versions_only() -> None:
    line = re.compile(r"[a-z0-9-]+==[0-9][\w.]*( ; .+)?")
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [it for it in lines if not it.startswith("#") and not line.fullmatch(it)] == []


def test_pictures_are_small() -> None:
    pictures = [*(ROOT / "docs" / "images").iterdir()]
    assert [it.name for it in pictures if it.stat().st_size >= 300_000] == []
    assert pictures


# ------------------------------------------------------------------------------------------------------- public names


def public_objects() -> list[tuple[str, object]]:
    """Every public name and what it is, each object once, by the first module that has it in `__all__`."""
    found: dict[str, object] = {}
    for module in PUBLIC_MODULES:
        for name in importlib.import_module(module).__all__:
            found[f"{module}.{name}"] = getattr(importlib.import_module(module), name)
    return list(found.items())


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_every_public_name_has_a_docstring(module: str) -> None:
    missing = []
    for address, value in public_objects():
        if not address.startswith(f"{module}.") or not (inspect.isclass(value) or inspect.isroutine(value)):
            continue
        if not value.__doc__:
            missing.append(address)
        if inspect.isclass(value):
            own = [(name, it) for name, it in vars(value).items() if not name.startswith("_")]
            missing += [
                f"{address}.{name}"
                for name, it in own
                if (inspect.isroutine(it) or isinstance(it, property | classmethod | staticmethod))
                and not inspect.getdoc(getattr(value, name))
            ]
    assert missing == []


def test_every_public_name_is_in_the_reference() -> None:
    pages = sorted((ROOT / "docs").glob("reference*.md")) + sorted((ROOT / "docs" / "reference").rglob("*.md"))
    documented = set()
    for page in pages:
        module = "trio_pipes"
        for kind, name in re.findall(r"\.\. (?:py:)?(currentmodule|auto\w+|data)::\s*([\w.]+)", page.read_text()):
            if kind == "currentmodule":
                module = name
            else:
                documented.add(name if name.startswith("trio_pipes") else f"{module}.{name}")
    assert sorted({address for address, _ in public_objects()} - documented) == []


# ------------------------------------------------------------------------------------------------------------ extras


# An extra without code behind it would install something that nothing imports.
def test_every_extra_has_code_behind_it() -> None:
    source = "\n".join(path.read_text() for path in MODULES.values())
    for extra, requirements in PROJECT["project"]["optional-dependencies"].items():
        for requirement in requirements:
            name = re.split(r"[<>=\[; ]", requirement)[0]
            module = name.replace("-", "_")
            assert re.search(rf"\b({name}|{module})\b", source), f"[{extra}] installs {requirement}, which nothing uses"
