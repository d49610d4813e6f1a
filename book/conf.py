"""Sphinx's settings for the book. `book/build.py` puts the chapters and the computed pages beside this file, and calls it."""

import os

import minimistral

project = "minimistral"
author = "The minimistral authors"
copyright = "the minimistral authors, Apache License 2.0"
release = version = minimistral.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton", "sphinx-mathjax-offline"]
root_doc = "index"
nb_execution_mode = "off"  # the outputs are the committed ones, which a test holds to what the cells give
nb_ipywidgets_js = {}  # nothing from another host; live tools are drawn by _static/live.js
nb_mime_priority_overrides = [("html", "text/html", 1), ("html", "image/png", 2)]
nb_number_source_lines = False
nb_render_markdown_format = "myst"  # else a table that a cell writes is a row of bars
nb_code_prompt_hide = "▾ Hide the code"
myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence", "attrs_inline", "attrs_block"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header"]

default_role = "code"  # docstrings mark code with one backtick
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # torch says of every module that forward should be overridden

html_theme = "furo"
html_title = "Mistral and Mixtral from their parts"
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_js_files = [("live.js", {"type": "module"}), "page.js"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_last_updated_fmt = None
repository = os.environ.get("BOOK_REPOSITORY", "")
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#00558a",
        "color-brand-content": "#00558a",
        "color-background-secondary": "#f6f6f4",
        "font-stack": "Charter, 'Bitstream Charter', 'Sitka Text', Cambria, Georgia, serif",
        "font-stack--headings": "system-ui, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif",
        "font-stack--monospace": "ui-monospace, 'Cascadia Code', 'DejaVu Sans Mono', Menlo, Consolas, monospace",
    },
    "dark_css_variables": {"color-brand-primary": "#7cc4f0", "color-brand-content": "#7cc4f0"},
    **({"source_repository": repository, "source_branch": "main", "source_directory": "chapters/"} if repository else {}),
}  # fmt: skip
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"
copybutton_selector = "div.cell_input pre, div.highlight pre"


def setup(app) -> None:
    app.connect("autodoc-process-docstring", _escape)


def _escape(app, what, name, value, options, lines: list[str]) -> None:
    """Docstrings are written for people: |w| is an amount in them, not a substitution."""
    lines[:] = [line.replace("|", r"\|") for line in lines]
