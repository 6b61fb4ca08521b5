"""Sphinx configuration."""

project = "twisted-rsh"
author = "The twisted-rsh developers"
copyright = "2026, the twisted-rsh developers"
extensions = ["sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
