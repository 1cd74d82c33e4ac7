"""docs/licences.md lists what each extra installs and under which licence; here it is compared with the facts."""

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata

import pytest

from source_tree import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
OURSELVES = "What these need themselves"
FAMILIES = ("MIT-0", "MIT", "Apache", "LGPL", "GPL", "BSD", "PSF", "OSI")


def name_of(requirement: str) -> str:
    return re.split(r"[<>=!~\[;( ]", requirement)[0].lower().replace("_", "-")


def rows() -> dict[str, dict[str, str]]:
    """The page's tables: by extra (empty: always; or the last section's heading), package and licence."""
    told: dict[str, dict[str, str]] = {}
    section = ""
    for line in (ROOT / "docs" / "licences.md").read_text().splitlines():
        if heading := re.match(r"## (?:.*`\[(\w+)\]`|Always.*|(What.*))", line):
            section = heading[1] or heading[2] or ""
        elif row := re.match(r"\| `([\w-]+)` \| ([^|]+) \|", line):
            told.setdefault(section, {})[row[1]] = row[2]
    return told


def installed_needs(name: str, seen: set[str]) -> Iterator[str]:
    """What a package needs in turn, as far as it is installed here."""
    for requirement in metadata.requires(name) or []:
        needed = name_of(requirement)
        if "extra ==" in requirement or needed in seen:
            continue
        try:
            metadata.distribution(needed)
        except metadata.PackageNotFoundError:
            continue  # for another Python or another system
        seen.add(needed)
        yield needed
        yield from installed_needs(needed, seen)


def families(text: str) -> set[str]:
    """The licence families that a text names."""
    found = {
        family for family in FAMILIES if re.search(rf"(?<![A-Z]){family}(?![\w-]*-0)", text.replace("MIT-0", "MIT0"))
    }
    return found | ({"MIT-0"} if "MIT-0" in text else set())


def said_by(name: str) -> str:
    """What a package says of its own licence; empty when it says nothing."""
    said = metadata.metadata(name)
    expression = said.get("License-Expression") or (said.get("License") or "").partition("\n")[0]
    classifiers = [it for it in said.get_all("Classifier") or [] if it.startswith("License ::")]
    return str(expression or " ".join(it.rpartition("::")[2] for it in classifiers)).replace("any-OSI", "OSI")


def test_the_page_lists_what_each_extra_declares() -> None:
    told = {extra: set(packages) for extra, packages in rows().items() if extra != OURSELVES}
    assert told == {extra: {name_of(it) for it in wanted} for extra, wanted in DECLARED.items()}


def test_the_page_lists_what_those_need_in_turn() -> None:
    told = {name for packages in rows().values() for name in packages}
    direct = [name_of(it) for wanted in DECLARED.values() for it in wanted]
    needed = {it for name in direct for it in installed_needs(name, set())}
    assert needed - told == set()


# On Windows and on older Pythons more or fewer are installed; what is here is compared.
@pytest.mark.parametrize(("name", "licence"), [row for packages in rows().values() for row in packages.items()])
def test_the_page_says_what_the_package_says(name: str, licence: str) -> None:
    try:
        said = said_by(name)
    except metadata.PackageNotFoundError:
        said = ""
    if not said:
        assert families(licence), "the page names a licence also where the package's metadata has none"
    else:
        assert families(licence) == families(said), f"the page: {licence}; {name}: {said}"
