"""How the documentation is built: `sphinx-build -W -n -b html docs OUT`, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger
from sphinx.writers.html5 import HTML5Translator

from vqazoo import __version__

logger = getLogger(__name__)

project = "vqazoo"
author = "the authors of vqazoo"
copyright = "the authors of vqazoo, MIT licence"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_reredirects",
]
exclude_patterns = ["_build"]

# Addresses of before the pages had rooms
ROOMS = {
    "learn": "tour",
    "how-to": "add-a-head own-data demo serve export explain python publishing",
    "reference": "api api-data api-parts contracts checkpoint datasets metrics training",
    "about": "systems families pretraining results traps security contributing",
}
redirects = {page: f"{room}/{page}.html" for room, pages in ROOMS.items() for page in pages.split()}
redirects |= {"distilbert": "about/systems.html", "how-to/own-images": "own-data.html"}
for file in (Path(__file__).parent / "reference" / "parts").rglob("*.md"):
    part = file.relative_to(Path(__file__).parent / "reference").with_suffix("")
    redirects[str(part)] = f"{'../' * len(part.parts[1:])}reference/{part}.html"

# Markdown
myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_fence_as_directive = ["math"]  # as GitHub writes equations
myst_heading_anchors = 4  # the anchors that GitHub gives to headings

# Docstrings: Google style; names in single backticks are code
default_role = "code"
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # "Attributes:" name fields of dataclasses, which autodoc lists as well
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!vqazoo\.).*"),  # other libraries: not looked up, that would need a network
    # inside, and not part of the reference
    (
        "py:.*",
        r"vqazoo\.(config|features\.sources|registry\.[TM]|choosing\.scoring|evaluation\.checks).*",
    ),
]

# Pages
html_theme = "furo"
html_title = f"vqazoo {__version__}"
html_static_path = ["_static"]
html_css_files = ["vqazoo.css"]
html_js_files = [("vqazoo.js", {"defer": "defer"})]
html_show_sphinx = False
html_show_sourcelink = False
html_math_renderer = "mathml"  # which browsers draw themselves; MathJax would be fetched


def inline_math(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(mathml(node, node.astext(), as_block=False))
    raise nodes.SkipNode


def block_math(translator: HTML5Translator, node: nodes.math_block) -> None:
    equation = node.astext()
    if r"\\" in equation and r"\begin" not in equation:  # several lines
        equation = rf"\begin{{align*}}{equation}\end{{align*}}"
    translator.body.append(f'<div class="math">{mathml(node, equation, as_block=True)}</div>')
    raise nodes.SkipNode


def mathml(node: nodes.Element, equation: str, as_block: bool) -> str:
    try:
        return tex2mathml(equation, as_block=as_block)
    except MathError as error:
        logger.warning("the equation %r: %s", node.astext(), error, location=node)
        return ""


def level_of_captions(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: nodes.document | None
) -> None:
    """Headings in the list of pages get the level that screen readers announce."""
    listed = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = listed.replace(
        'role="heading"', 'role="heading" aria-level="2"'
    )


def setup(app: Sphinx) -> None:
    app.connect("html-page-context", level_of_captions, priority=900)  # after the theme's own
    app.add_lexer("csv", TextLexer)
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
