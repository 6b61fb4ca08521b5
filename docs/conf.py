"""Sphinx configuration."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from sphinx.application import Sphinx

from twisted_rsh.core import values

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import draw_states  # noqa: E402 - it is beside this file
import inventories  # noqa: E402
import list_interfaces  # noqa: E402
import public_names  # noqa: E402

values.dataclass = dataclasses.dataclass  # its own shows the parameters of a class only after the first object

project = "twisted-rsh"
author = "The twisted-rsh developers"
copyright = "2026, the twisted-rsh developers"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.intersphinx", "sphinx_copybutton"]
exclude_patterns = ["_build"]
highlight_language = "text"  # of blocks that name no language: drawings, mostly

html_theme = "furo"
html_title = "twisted-rsh"
html_static_path = ["static"]
html_css_files = ["columns.css"]
html_copy_source = False
html_show_sphinx = False
copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True

GENERATED = HERE / "_build" / "generated"
"""What is made before each build: pictures of the tables of states, inventories, and the reference of interfaces."""

# References to Python, Twisted and zope.interface are checked and become links, and the build needs no network.  Sphinx
# would fetch the inventory of each project, which lists its names.  Instead, references.txt lists the few names that
# these pages refer to; inventories.py makes an inventory of each project from it.  A name that is not on the list is
# an error of the build: look it up in the project's documentation, and add it.
intersphinx_mapping = inventories.write_inventories(HERE / "references.txt", GENERATED)
intersphinx_disabled_reftypes = ["std:doc"]

# Each reference must lead somewhere.  public_names.py resolves those to this package's own names, and lets pass what
# exists in the code and has no page.
nitpicky = True

draw_states.write_pictures(GENERATED)
for name in ("interfaces", "trust.cred"):
    source = HERE.parent / "twisted_rsh" / f"{name.replace('.', '/')}.py"
    list_interfaces.write_interfaces(source, "twisted_rsh.server", GENERATED / f"{name}.inc")


def setup(app: Sphinx) -> None:
    """Resolve references to the package's own names by what is in the code; Sphinx calls this."""
    app.connect("missing-reference", public_names.resolve)
    app.connect("autodoc-process-signature", public_names.write_names)
    app.connect("autodoc-process-docstring", public_names.leave_out_constructor)
