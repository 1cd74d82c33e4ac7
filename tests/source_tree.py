"""What the source says about itself: modules, who imports whom, public names. Read by ast, nothing is imported."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "trio_pipes"


@dataclass(frozen=True)
class Import:
    """One `import` statement's target, resolved to a module of the package."""

    importer: str
    target: str
    """The module that is asked, such as `trio_pipes.flow._frames`."""
    written: str
    """The module as the statement names it: for `from trio_pipes import X`, not X's home but the public package."""
    line: int

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}, imports {self.target}"


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()

# What users may import, besides the package itself; each of these decides in its `__all__` what is public in it.
PUBLIC_ROOMS = ("io", "net", "observers", "testing", "transports", "triggers", "voice")
PUBLIC_MODULES = ["trio_pipes", *(f"trio_pipes.{room}" for room in PUBLIC_ROOMS if f"trio_pipes.{room}" in MODULES)]


def imports_of(module: str) -> Iterator[Import]:
    """Every import in a module: at the top, in functions and under TYPE_CHECKING alike."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _inside(module, alias.name, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")
                above = above[: len(above) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            for alias in node.names:
                yield from _inside(module, _resolve(base, alias.name), base, node.lineno)


def _inside(importer: str, target: str, written: str, line: int) -> Iterator[Import]:
    if target.split(".", maxsplit=1)[0] == "trio_pipes":
        yield Import(importer, target, target if written not in MODULES else written, line)


def _resolve(base: str, name: str) -> str:
    """The module that `from base import name` really asks: a submodule, or where the top package has the name from."""
    if f"{base}.{name}" in MODULES:
        return f"{base}.{name}"
    if base == "trio_pipes":
        return public_homes().get(name, base)
    return base


def public_homes() -> dict[str, str]:
    """Where each name of the top package comes from, so that `from trio_pipes import X` cannot hide an arrow."""
    homes = {}
    for node in ast.walk(ast.parse(MODULES["trio_pipes"].read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            homes.update({alias.asname or alias.name: f"trio_pipes.{node.module}" for alias in node.names})
    return homes


def room_of(module: str) -> str:
    """The room a module lives in: the first name below the package; empty for the top itself."""
    return module.split(".")[1] if "." in module else ""
