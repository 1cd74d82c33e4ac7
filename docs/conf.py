"""Sphinx configuration. `nox -s docs` builds with warnings as errors."""

import re
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]

project = "trio_pipes"
release = version = PROJECT["version"]
author = "The trio_pipes authors"
copyright = "2026, The trio_pipes authors"  # noqa: A001 # the name that Sphinx reads

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.graphviz",
    "sphinx.ext.napoleon",
    "sphinxcontrib_trio",
]
exclude_patterns = ["_build", "examples"]
source_suffix = {".md": "markdown"}

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"show-inheritance": True}
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"trio_pipes {release}"
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "monokai"


def code_in_docstrings(_app, _what, _name, _obj, _options, lines) -> None:
    """Docstrings are written to be read in an editor: `name` is code, also in the plural as in `Frame`s.

    In reStructuredText that is two backticks, and a letter right behind them is an error.
    """
    literal = re.compile(r"(?<![`:])`([^`<>]+)`(?!`)(?=(\w)?)")
    lines[:] = [literal.sub(lambda it: f"``{it[1]}``" + ("\\ " if it[2] else ""), line) for line in lines]


def setup(app) -> None:
    app.connect("autodoc-process-docstring", code_in_docstrings)
