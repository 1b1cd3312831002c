"""The documentation site. Sphinx builds it from this folder: `make site`."""

import sys
import warnings
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from generate import coq_pages, formulas, write_pages  # noqa: E402

import osdn_theory  # noqa: E402
from osdn_theory.crosscheck.alternatives.table import ALTERNATIVES  # noqa: E402

project = "osdn"
author = "the osdn authors"
version = release = osdn_theory.__version__
project_copyright = "2026, the osdn authors, MIT licence"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["generated/parts/*"]
root_doc = "index"

# Tests hold that the stored outputs of the notebooks are those of a fresh run.
nb_execution_mode = "off"
nb_render_markdown_format = "myst"
myst_enable_extensions = ["dollarmath", "amsmath", "substitution"]
coq = [name for names in coq_pages.theorems().values() for name in names]
refuted = sum("_needs_" in name for name in coq)
myst_substitutions = {
    "known_faults": len(ALTERNATIVES),
    "coq_theorems": len(coq) - refuted,
    "coq_refuted": refuted,
}
myst_heading_anchors = 3

autodoc_typehints = "none"
napoleon_use_rtype = False
# Trajectory and State are names of both packages; a type in a docstring means that of its own.
suppress_warnings = ["ref.python"]

# Other machines cannot be reached from where this is built: only links within the site and to files are checked.
linkcheck_ignore = [r"https?://"]

html_theme = "furo"
html_title = "osdn"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}

warnings.filterwarnings("ignore", category=DeprecationWarning)


def setup(app):
    """Pages that are made of the code and of measurements, and formulas that need no script."""
    app.connect("config-inited", lambda app, _: write_pages(Path(app.srcdir) / "generated"))
    # Before Napoleon, which adds markup of its own.
    app.connect("autodoc-process-docstring", formulas.keep_marks, priority=400)
    app.add_html_math_renderer("mathml", (formulas.visit_inline, None), (formulas.visit_block, None))


html_math_renderer = "mathml"
