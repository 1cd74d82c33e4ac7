"""What an `@each` or `@processor` function says it takes and gives, read from its annotations."""

from __future__ import annotations

import functools
import inspect
import operator
import sys
import types
import typing
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Final

from trio_pipes._base import ConfigurationError

from ._frames import Frame

__all__ = ["caller_names", "first_annotation", "frame_types", "given_types", "resolve"]

# No frame, and nothing that frames come out of. Other classes may be the base of a frame class: who knows.
NEVER_FRAMES: Final = (str, bytes, bytearray, int, float, complex, bool, dict, memoryview, range)


def caller_names(depth: int) -> Mapping[str, Any]:
    """The local names where a decorator is used: annotations as strings may mean classes defined there."""
    return sys._getframe(depth + 1).f_locals


def first_annotation(fn: Callable[..., Any], names: Mapping[str, Any], parameters: int, form: str) -> Any:
    """The annotation of `fn`'s first parameter (None where it has none), after a look at the signature."""
    try:
        signature = inspect.signature(fn)
        signature.bind(*[None] * parameters)
    except (TypeError, ValueError):
        raise ConfigurationError(f"{_name(fn)} is of another form, expected {form}") from None
    annotation = next(iter(signature.parameters.values())).annotation
    if annotation is inspect.Parameter.empty:
        return None
    return resolve(annotation, fn, names)


def resolve(annotation: Any, fn: Callable[..., Any], names: Mapping[str, Any]) -> Any:
    """What an annotation that is a string, or a forward reference, stands for; others as they are."""
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if not isinstance(annotation, str):
        return annotation
    inner = _function(fn)
    try:
        return eval(annotation, getattr(inner, "__globals__", {}), {**names, **_closure(inner)})
    except Exception as exc:
        raise ConfigurationError(
            f"the annotation {annotation!r} of {_name(fn)} cannot be resolved ({exc}); expected a frame class"
        ) from exc


def _function(fn: Any) -> Any:
    """The plain function in a partial, a method or an object that is called."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    fn = inspect.unwrap(fn)
    if not (inspect.isfunction(fn) or inspect.ismethod(fn)):
        fn = getattr(type(fn), "__call__", fn)  # noqa: B004  (not a test: the function behind it)
    return getattr(fn, "__func__", fn)


def _closure(fn: Any) -> dict[str, Any]:
    """The variables that a function closes over, those that have a value yet."""
    values = {}
    names = getattr(getattr(fn, "__code__", None), "co_freevars", ())
    for name, cell in zip(names, getattr(fn, "__closure__", None) or (), strict=True):
        try:
            values[name] = cell.cell_contents
        except ValueError:
            continue
    return values


def frame_types(annotation: Any, fn: Callable[..., Any], names: Mapping[str, Any]) -> tuple[type[Frame], ...]:
    """The frame classes of an annotation: a class, a union, or a type variable's bound."""
    annotation = resolve(annotation, fn, names)
    if isinstance(annotation, typing.TypeVar):
        bound = annotation.__bound__
        annotation = functools.reduce(operator.or_, annotation.__constraints__ or (bound or Frame,))
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [frame_types(member, fn, names) for member in typing.get_args(annotation)]
        return tuple(dict.fromkeys(t for member in members for t in member))
    if isinstance(annotation, type) and issubclass(annotation, Frame):
        return (annotation,)
    raise ConfigurationError(
        f"{_name(fn)} is annotated to take {annotation!r}, expected a frame class or a union of frame classes"
    )


def given_types(fn: Callable[..., Any], names: Mapping[str, Any]) -> tuple[type[Frame], ...] | None:
    """The frame classes that the return annotation of `fn` names; None: any, or unknown.

    Raises `ConfigurationError` for an annotation that no frame fits.
    """
    annotation = inspect.signature(fn).return_annotation
    if annotation is inspect.Signature.empty:
        return None
    return _given(annotation, fn, names, annotation)


def _given(
    annotation: Any, fn: Callable[..., Any], names: Mapping[str, Any], whole: Any
) -> tuple[type[Frame], ...] | None:
    try:
        annotation = resolve(annotation, fn, names)
    except ConfigurationError:
        return None  # a name that is imported for type checkers only
    if isinstance(annotation, typing.TypeVar):
        annotation = annotation.__bound__
        if annotation is None:
            return None
        return _given(annotation, fn, names, whole)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    kind = origin or annotation
    if annotation is None or annotation is types.NoneType:
        return ()
    if kind is typing.Annotated:
        return _given(arguments[0], fn, names, whole)
    if kind in (typing.Union, types.UnionType):
        return _all_of([_given(member, fn, names, whole) for member in arguments])
    if isinstance(kind, type) and issubclass(kind, NEVER_FRAMES):
        raise ConfigurationError(
            f"{_name(fn)} is annotated to return {whole!r}, expected a frame class, None, or an iterable of frames"
        )
    if isinstance(kind, type) and issubclass(kind, Frame):
        return (kind,)
    if not arguments or not isinstance(origin, type):
        return None
    if issubclass(origin, Coroutine):
        return _given(arguments[-1], fn, names, whole)
    if issubclass(origin, tuple):
        return _all_of([_given(item, fn, names, whole) for item in arguments if item is not ...])
    if issubclass(origin, Iterable | AsyncIterable | Awaitable):
        return _given(arguments[0], fn, names, whole)
    return None


def _all_of(members: list[tuple[type[Frame], ...] | None]) -> tuple[type[Frame], ...] | None:
    """The classes of all; None when one is unknown."""
    if any(member is None for member in members):
        return None
    return tuple(dict.fromkeys(t for member in members for t in member or ()))


def _name(fn: object) -> str:
    name = getattr(fn, "__qualname__", None)
    return name if isinstance(name, str) and name else repr(fn)
