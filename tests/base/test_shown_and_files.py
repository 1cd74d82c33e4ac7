"""Anything as a short text; files that are written whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from trio_pipes._base import shown, write_whole


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("not today")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("with 'quotes' & <tags>", "with 'quotes' & <tags>"),
        ("two\nlines\t", "two\\nlines\\t"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("\x00", "\\x00"),
        ("😀", "😀"),
        (3, "3"),
        (b"x", "b'x'"),
        (None, "None"),
        (Rude(), "<Rude>"),
    ],
)
def test_shown(value: object, text: str) -> None:
    assert shown(value) == text
    shown(value).encode()


def test_shown_is_short() -> None:
    assert shown("x" * 1000) == "x" * 79 + "…"
    assert shown("abc", 3) == "abc"
    assert shown("abcd", 3) == "ab…"


# Without the check of the surrogate above this would be an error of the file, long after.
def test_a_file_takes_what_no_encoding_knows(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "\ud800ü")
    assert (tmp_path / "a").read_bytes() == b"\\ud800\xc3\xbc"


def test_a_file_is_replaced_and_nothing_stands_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    write_whole(path, "new")
    assert path.read_text() == "new"
    assert [it.name for it in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert [it.name for it in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_has_the_usual_permissions(tmp_path: Path) -> None:
    write_whole(tmp_path / "ours", "")
    (tmp_path / "theirs").write_text("")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours", "theirs")}
    assert len(modes) == 1


@pytest.mark.skipif(os.name != "posix", reason="links and pipes")
def test_links_and_pipes_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    read, write = os.pipe()
    write_whole(f"/dev/fd/{write}", "through")
    os.close(write)
    assert os.read(read, 100) == b"through"
    os.close(read)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "no" / "a.txt", "x")


@pytest.mark.parametrize("name", ["no/a.txt", "a" * 300])
def test_the_error_names_the_file_that_was_asked_for(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(OSError) as caught:  # noqa: PT011  (which one is the system's affair)
        write_whole(path, "x")
    assert (caught.value.filename, caught.value.filename2) == (str(path), None)
    assert str(caught.value).endswith(f": {str(path)!r}")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux")
def test_a_full_device_is_named() -> None:
    with pytest.raises(OSError, match="'/dev/full'"):
        write_whole("/dev/full", "x")
