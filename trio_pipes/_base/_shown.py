"""Anything as a short text on one line."""

from __future__ import annotations

__all__ = ["shown"]


def shown(value: object, limit: int = 80) -> str:
    """A text as it is, anything else by its repr: on one line, at most `limit` characters, never an error.

    What cannot be printed (line ends, control and direction characters, lone surrogates) is escaped as in Python.
    """
    if isinstance(value, str) and issubclass(type(value), str):  # a Mock(spec=str) says that it is an instance
        text = value
    else:
        try:
            text = repr(value)
        except Exception:  # noqa: BLE001  (a picture of something does not fail by its repr)
            text = f"<{type(value).__name__}>"
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isprintable():
        return text
    return "".join(it if it.isprintable() else it.encode("unicode_escape").decode() for it in text)
