"""Every Python block of the README and the docs runs; what is quoted from an example stands in it."""

import textwrap
from pathlib import Path

import pytest

import docs_code
from docs_code import EXAMPLES, PAGES, ROOT, Program, programs_of, quotations_of

PROGRAMS = [program for page in PAGES for program in programs_of(page)]


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_program_runs(program: Program, tmp_path: Path) -> None:
    ended = program.run(tmp_path)
    said = f"{ended.stdout}\n{ended.stderr}"
    assert ended.returncode == 0, said
    printed = iter(ended.stdout.splitlines())
    for expected in program.expected:
        assert any(expected == line.strip() for line in printed), f"{expected!r} was not printed, or too early:\n{said}"


def test_quotations_stand_in_their_examples() -> None:
    lost = []
    for quotation in (quotation for page in PAGES for quotation in quotations_of(page)):
        example = (EXAMPLES / quotation.name).read_text()
        indents = {line[: len(line) - len(line.lstrip())] for line in example.splitlines()}
        if not any(textwrap.indent(quotation.code, indent) in example for indent in indents):
            lost.append(f"{quotation}:\n{quotation.code}")
    assert lost == []


def test_there_is_something_to_run() -> None:
    assert ROOT / "README.md" in {program.page for program in PROGRAMS}


PAGE = """
# A page

```python
a = 1
```
<!-- hidden
b = 2
-->
```{code-block} python
:caption: said
print(a + b)
```
<!-- output -->
```text
3
```

1. In a list:

   ```python
   print("more")
   ```

<!-- new program -->
```python
print(a)
```
<!-- example: x.py -->
```python
quoted()
```
```bash
$ ls
```
"""


# The reader of pages is itself worth a test: a block it does not see is a block that never runs.
def test_blocks_become_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs_code, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    first, second = programs_of(page)
    assert first.source.split() == ["a", "=", "1", "b", "=", "2", "print(a", "+", "b)", 'print("more")']
    assert first.source.splitlines()[4] == PAGE.splitlines()[4] == "a = 1"
    assert first.expected == ["3"]
    assert first.run(tmp_path).stdout == "3\nmore\n"
    failed = second.run(tmp_path)
    assert failed.returncode == 1
    assert f'page_page.py", line {PAGE.splitlines().index("print(a)") + 1}' in failed.stderr
    assert [(it.name, it.code) for it in quotations_of(page)] == [("x.py", "quoted()")]
    assert docs_code.shell_lines_of(page) == ["ls"]


def test_a_program_with_tests_is_run_by_pytest(tmp_path: Path) -> None:
    program = Program(tmp_path / "page.md", {3: "async def test_it():", 4: "    assert 1 == 2"})
    ended = program.run(tmp_path)
    assert ended.returncode == 1
    assert "FAILED page_page.py::test_it" in ended.stdout
