"""An extra that is not installed says which line installs it."""

import math
import sys

import pytest

from trio_pipes import MissingExtra
from trio_pipes._base import import_extra


def test_what_is_installed_is_imported() -> None:
    assert import_extra("math", "voice", "counting") is math
    assert import_extra("os.path", "voice", "paths").join


@pytest.mark.parametrize("module", ["no_such_package_of_ours", "no_such_package_of_ours.inner"])
def test_what_is_missing_names_the_line_to_install_it(module) -> None:
    with pytest.raises(MissingExtra) as caught:
        import_extra(module, "voice", "the speech recogniser")
    assert "pip install 'trio-pipes[voice]'" in str(caught.value)
    assert "the speech recogniser" in str(caught.value)
    assert "'no_such_package_of_ours'" in str(caught.value)
    assert caught.value.name == "no_such_package_of_ours"
    assert isinstance(caught.value, ImportError)


def test_a_package_that_is_there_and_misses_another_one_is_not_called_missing(tmp_path, monkeypatch) -> None:
    # "Install the extra" would be the wrong advice.
    (tmp_path / "there_but_broken.py").write_text("import no_such_package_of_theirs\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError) as caught:
        import_extra("there_but_broken", "voice", "it")
    assert not isinstance(caught.value, MissingExtra)
    assert caught.value.name == "no_such_package_of_theirs"
    assert "there_but_broken" not in sys.modules


def test_an_error_inside_the_package_comes_out_as_it_is(tmp_path, monkeypatch) -> None:
    (tmp_path / "there_and_raises.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ZeroDivisionError):
        import_extra("there_and_raises", "voice", "it")


def test_a_name_that_begins_like_the_missing_one_is_another_package(tmp_path, monkeypatch) -> None:
    (tmp_path / "prefixed.py").write_text("import prefix\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError) as caught:
        import_extra("prefixed", "voice", "it")
    assert not isinstance(caught.value, MissingExtra)
