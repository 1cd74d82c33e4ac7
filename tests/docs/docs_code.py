"""The code blocks of a Markdown page, as the programs a reader would make of them.

How a page becomes programs. All Python blocks of a page together are one program, in their order, written to a file in
which every other line is blank: so a traceback names the line of the page. Comments, which readers do not see, steer:

`<!-- new program -->`        the next block begins a program of its own
`<!-- hidden`, code, `-->`    code that runs and is not shown: set-up that would distract
`<!-- example: NAME -->`      the next block is a part of docs/examples/NAME, word for word, and runs there
`<!-- output -->`             the next block is what the program above prints, these lines in this order

A program with `def test_` in it is run by pytest, as its reader would, any other one by Python; both take warnings for errors.
There is no way to show Python that is not run.
"""

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "docs" / "examples"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,}|~{3,})\s*(?:\{code-block\}\s*)?(?P<language>[\w-]*)")
COMMENT = re.compile(r"^<!--\s*(?P<verb>new program|hidden|output|example:\s*(?P<name>\S+))\s*(?P<closed>-->)?\s*$")
PYTHON = ("python", "py", "python3", "pycon")


@dataclass
class Program:
    """One program of a page."""

    page: Path
    lines: dict[int, str] = field(default_factory=dict)
    """Its code, by line number of the page, counted from 1."""
    expected: list[str] = field(default_factory=list)
    """Lines that it must print, in this order."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{min(self.lines)}"

    @property
    def source(self) -> str:
        """The file: the program's lines where the page has them."""
        return "".join(self.lines.get(number, "") + "\n" for number in range(1, max(self.lines) + 1))

    def run(self, place: Path) -> subprocess.CompletedProcess[str]:
        """Run it in a folder of its own."""
        file = place / f"{self.page.stem}_page.py"
        file.write_text(self.source)
        command = [sys.executable, "-W", "error", file.name]
        if re.search(r"^\s*(async )?def test_", self.source, re.MULTILINE):
            (place / "pytest.ini").write_text("[pytest]\ntrio_mode = true\nfilterwarnings = error\n")
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file.name]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        return subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, check=False, timeout=60
        )


@dataclass
class Quotation:
    """A block that a page quotes from a file of docs/examples."""

    page: Path
    line: int
    name: str
    code: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line} from {self.name}"


@dataclass
class Block:
    """A fenced block, or a hidden comment."""

    language: str
    first: int
    """The number of its first line of code."""
    lines: list[str]
    verbs: dict[str, str]
    """The comments that stand before it since the block before."""


def blocks_of(page: Path) -> Iterator[Block]:
    """All blocks of a page, hidden ones as Python."""
    verbs: dict[str, str] = {}
    numbered = iter(enumerate(page.read_text().splitlines(), 1))
    for number, line in numbered:
        if comment := COMMENT.match(line):
            if comment["verb"] == "hidden":
                lines = list(_until(numbered, lambda text: text.strip() == "-->"))
                yield Block("python", number + 1, lines, verbs)
                verbs = {}
            else:
                verbs[comment["verb"].partition(":")[0]] = comment["name"] or ""
        elif fence := FENCE.match(line):
            ticks, indent = fence["ticks"], len(fence["indent"])
            lines = [text[indent:] for text in _until(numbered, lambda text: text.strip() == ticks)]  # noqa: B023
            language = fence["language"]
            options = 0
            while "{code-block}" in line and lines[options : options + 1] and lines[options].startswith(":"):
                options += 1
            yield Block(language, number + 1 + options, lines[options:], verbs)
            verbs = {}


def _until(numbered: Iterator[tuple[int, str]], is_last) -> Iterator[str]:
    for _, line in numbered:
        if is_last(line):
            return
        yield line


def programs_of(page: Path) -> list[Program]:
    """The programs of a page, in order."""
    programs = [Program(page)]
    for block in blocks_of(page):
        if block.language in PYTHON and "example" not in block.verbs:
            if "new program" in block.verbs:
                programs.append(Program(page))
            programs[-1].lines.update(enumerate(block.lines, block.first))
        elif "output" in block.verbs:
            programs[-1].expected += [line.strip() for line in block.lines if line.strip()]
    return [program for program in programs if program.lines]


def quotations_of(page: Path) -> list[Quotation]:
    """The blocks that a page quotes from docs/examples."""
    return [
        Quotation(page, block.first, block.verbs["example"], textwrap.dedent("\n".join(block.lines)))
        for block in blocks_of(page)
        if "example" in block.verbs
    ]


def shell_lines_of(page: Path) -> list[str]:
    """The commands that a page's shell blocks show."""
    shells = ("bash", "sh", "shell", "console")
    return [line.removeprefix("$ ") for block in blocks_of(page) if block.language in shells for line in block.lines]
