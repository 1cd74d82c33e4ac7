"""From `FILE[:NAME]` to the object that it means, for `run` and for `graph`."""

from __future__ import annotations

import importlib.util
import inspect
import symtable
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final, TypeAlias

import attrs

from trio_pipes import FrameProcessor, Pipeline, PipelineRunner, PipelineTask

__all__ = ["DRAW", "RUN", "Purpose", "Runnable", "UsageError", "load"]

Runnable: TypeAlias = Pipeline | PipelineTask | PipelineRunner | Callable[..., Awaitable[object]]


class UsageError(Exception):
    """The command line asks for something that cannot be done; the text names the value, what was expected and the fix."""


@attrs.frozen
class Purpose:
    """What a command wants an object for."""

    command: str
    done: str
    """What is done with it: `"run"`."""
    expected: str
    suits: Callable[[object], bool]


def is_runnable(value: object) -> bool:
    """Whether `run` knows how to run this."""
    return isinstance(value, Pipeline | PipelineTask | PipelineRunner) or inspect.iscoroutinefunction(value)


def is_drawable(value: object) -> bool:
    """Whether `graph` knows how to draw this: a shape, or what runs one."""
    return isinstance(value, PipelineTask | PipelineRunner) or (
        isinstance(value, FrameProcessor) and hasattr(value, "mermaid")
    )


RUN: Final = Purpose("run", "run", "a Pipeline, PipelineTask, PipelineRunner or async function", is_runnable)
DRAW: Final = Purpose("graph", "drawn", "a Pipeline, PipelineTask or PipelineRunner", is_drawable)


def load(target: str, args: Sequence[str], purpose: Purpose = RUN) -> Any:
    """What `FILE` or `FILE:NAME` means, once the file has been run as a module.

    Without a name it is the one object for this purpose that the file itself defines: assigned or defined at its top level
    under a public name, not imported; an async function counts when it can be called with `args`.
    """
    path, name = split(target)
    if not target or target.startswith(":"):
        raise UsageError(f"{target!r} names no file: expected FILE or FILE:NAME")
    code, own_names = compile_file(path)
    module = run_module(path, code, args)
    if name is not None:
        return named(path, module, name, own_names, args, purpose)
    found = candidates(module, own_names, purpose)
    fitting = [it for it in found if fits(found[it], args)]
    if len(fitting) == 1:
        return found[fitting[0]]
    if fitting:
        raise UsageError(
            f"{path} defines {len(fitting)} things that can be {purpose.done}: {listed(found, fitting)}. "
            f"Say which: trio-pipes {purpose.command} {path}:{fitting[0]}"
        )
    if found:
        raise UsageError(
            f"{path} defines nothing that can be {purpose.done} with {counted(args)}; it has: {listed(found, found)}. "
            "Give the arguments that it takes"
        )
    raise UsageError(
        f"{path} defines nothing that can be {purpose.done}: expected {purpose.expected} at the top level, under a name without "
        f"a leading underscore and not imported. Add one, or name an imported one: trio-pipes {purpose.command} {path}:NAME"
    )


def split(target: str) -> tuple[Path, str | None]:
    """`FILE[:NAME]` in its parts; a colon may also be part of the file's own name."""
    before, colon, after = target.rpartition(":")
    if not colon or Path(target).is_file():
        return Path(target), None
    return Path(before), after


def compile_file(path: Path) -> tuple[CodeType, list[str]]:
    """The file's code, and the names that it binds at its top level other than by import, in their order."""
    if not path.exists():
        raise UsageError(f"{str(path)!r} does not exist: expected a Python file. Mind the folder: this is {Path.cwd()}")
    if path.is_dir():
        raise UsageError(f"{str(path)!r} is a folder: expected a Python file. Name one inside it")
    try:
        source = importlib.util.decode_source(path.read_bytes())
        code = compile(source, str(path.absolute()), "exec", dont_inherit=True)
        table = symtable.symtable(source, str(path), "exec")
    except (SyntaxError, ValueError) as exc:  # ValueError: bytes that are no text, or a zero byte in it
        where = f", line {exc.lineno}" if isinstance(exc, SyntaxError) and exc.lineno else ""
        what = exc.msg if isinstance(exc, SyntaxError) else "it is not text"
        raise UsageError(
            f"{str(path)!r} is not Python{where}: {what}. Expected a Python file; mend that line or name another file"
        ) from exc
    except OSError as exc:
        raise UsageError(f"{str(path)!r} cannot be read: {exc.strerror}. Expected a Python file") from exc
    return code, [it.get_name() for it in table.get_symbols() if it.is_assigned() and not it.is_imported()]


def run_module(path: Path, code: CodeType, args: Sequence[str]) -> ModuleType:
    """Run the file as an imported module: its folder first on the path, its arguments in `sys.argv`.

    Its name is the file's, not `__main__`, so that what stands below `if __name__ == "__main__":` does not run, and so that
    child processes can import what it defines.
    """
    name = path.stem if path.stem not in sys.modules else f"_{path.stem}_of_trio_pipes_run"
    module = importlib.util.module_from_spec(ModuleSpec(name, loader=None, origin=str(path)))
    module.__file__ = str(path.absolute())
    sys.modules[name] = module
    sys.path.insert(0, str(path.absolute().parent))
    sys.argv = [str(path), *args]
    try:
        exec(code, module.__dict__)  # running a file is what this program is for
    except (Exception, SystemExit) as exc:
        trace = "".join(traceback.format_exception(exc.with_traceback(exc.__traceback__ and exc.__traceback__.tb_next)))
        raise UsageError(
            f"{str(path)!r} could not be imported: it raised {type(exc).__name__}. "
            f"Expected a file that only defines things when it is imported; mend this:\n{trace.rstrip()}"
        ) from exc
    return module


def named(
    path: Path, module: ModuleType, name: str, own_names: Sequence[str], args: Sequence[str], purpose: Purpose
) -> object:
    """The object that was asked for by name, imported or not, if it is one for this purpose."""
    expected = purpose.expected
    found = candidates(module, own_names, purpose)
    instead = f"It has: {listed(found, found)}" if found else f"Define {expected} of that name"
    try:
        value = getattr(module, name)
    except AttributeError:
        raise UsageError(f"{path} has no {name!r}: expected {expected}. {instead}") from None
    if not purpose.suits(value):
        hint = ". Write it as `async def`" if inspect.isroutine(value) and purpose is RUN else f". {instead}"
        raise UsageError(f"{name!r} in {path} is {value!r}: expected {expected}{hint}")
    if not fits(value, args):
        raise UsageError(
            f"{name!r} in {path} cannot be called with {counted(args)}: it is {kind(name, value)}. "
            "Give the arguments that it takes"
        )
    return value


def candidates(module: ModuleType, own_names: Sequence[str], purpose: Purpose) -> dict[str, object]:
    """What of a file's own public names is for this purpose; an object with two names counts once, under its first."""
    found: dict[str, object] = {}
    for name in own_names:
        value = getattr(module, name, None)
        if not name.startswith("_") and purpose.suits(value) and not any(value is other for other in found.values()):
            found[name] = value
    return found


def fits(value: object, args: Sequence[str]) -> bool:
    """Whether it goes with these arguments; only a function takes any by itself, the others may read `sys.argv`."""
    if not inspect.iscoroutinefunction(value):
        return True
    try:
        inspect.signature(value).bind(*args)
    except TypeError:
        return False
    return True


def counted(args: Sequence[str]) -> str:
    """The arguments, for a message."""
    return " ".join(map(repr, args)) if args else "no arguments"


def listed(found: dict[str, object], names: Iterable[str]) -> str:
    """Names with what they are, for a message."""
    return ", ".join(f"{name} ({kind(name, found[name])})" for name in names)


def kind(name: str, value: object) -> str:
    """What something is: a class, or an async function with its parameters."""
    return f"async def {name}{inspect.signature(value)}" if callable(value) else type(value).__name__
