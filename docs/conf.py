"""How Sphinx makes a site of these pages: `make docs`. A link that leads nowhere is an error there."""

from __future__ import annotations

from openusher import __version__

project = "Usher"
release = version = __version__

extensions = ["myst_parser"]
# README.md is part of index.md.
exclude_patterns = ["README.md", "__pycache__"]
# So that links to a page's headings work as they do where a forge shows the pages.
myst_heading_anchors = 4
# The shell's questions may go over several lines, which the lexer of consoles does not know.
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = f"Usher {release}"
html_copy_source = False
html_show_sphinx = False
