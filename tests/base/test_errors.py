"""The errors of the library: one tree, and Trio's and Python's own where code expects them."""

import inspect

import pytest
import trio

import trio_pipes
from trio_pipes import _base


def all_errors() -> list[type[Exception]]:
    return [value for value in vars(trio_pipes).values() if inspect.isclass(value) and issubclass(value, Exception)]


def test_every_error_is_a_pipes_error() -> None:
    assert len(all_errors()) >= 9
    assert all(issubclass(error, trio_pipes.PipesError) for error in all_errors())


@pytest.mark.parametrize(
    ("error", "also"),
    [
        ("ConfigurationError", ValueError),
        ("TransitionError", RuntimeError),
        ("SetupTimeout", trio.TooSlowError),
        ("StartTimeout", trio.TooSlowError),
        ("EndTimeout", trio.TooSlowError),
        ("FrameTimeout", trio.TooSlowError),
        ("FloodError", Exception),
        ("DuplicateName", ValueError),
        ("MissingExtra", ImportError),
        ("JobError", Exception),
        ("JobTimeout", trio.TooSlowError),
    ],
)
def test_errors_are_what_the_design_says(error, also) -> None:
    assert issubclass(getattr(trio_pipes, error), also)
    assert issubclass(getattr(trio_pipes, error), trio_pipes.PipesError)
    assert getattr(trio_pipes, error).__doc__


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    # A picture that is not compared with the code is wrong after the second change.
    drawn = {}
    for line in (_base._errors.__doc__ or "").splitlines():
        words = line.lstrip("│ ").removeprefix("├── ").removeprefix("└── ").split()
        if words and hasattr(_base, words[0]):
            also = words[1].strip("()") if len(words) > 1 and words[1].startswith("(") else None
            drawn[words[0]] = also
    real = {}
    for error in all_errors():
        others = [
            base for base in error.__bases__ if base is not Exception and not issubclass(base, trio_pipes.PipesError)
        ]
        module = "trio." if others and others[0].__module__.startswith("trio") else ""
        real[error.__name__] = f"{module}{others[0].__name__}" if others else None
    assert drawn == real
