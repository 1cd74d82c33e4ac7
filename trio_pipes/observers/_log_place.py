"""Where an observer writes its log lines."""

from __future__ import annotations

import logging

from trio_pipes._base import check_count, check_name

__all__ = ["log_place"]


def log_place(who: str, logger: str, level: int) -> tuple[logging.Logger, int]:
    """The logger of this name, and the level."""
    check_name(f"{who}(logger", logger, "the name of a logger")
    check_count(f"{who}(level", level, "a level of logging, such as logging.DEBUG", least=0)
    return logging.getLogger(logger), level
