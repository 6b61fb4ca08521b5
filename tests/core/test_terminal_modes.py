"""The settings of a terminal that can travel."""

from __future__ import annotations

import termios

from twisted_rsh.core.requests import CONTROL_CHARACTERS, MODE_NAMES

YOUNGER_THAN_SOME_PYTHON = {"IUTF8"}
"""What the module ``termios`` of some version that this package runs on lacks."""


def test_names_are_those_of_the_system() -> None:
    """Each is a name of termios(3); those of control characters begin with V, and no flag does."""
    assert {name for name in MODE_NAMES if not hasattr(termios, name)} <= YOUNGER_THAN_SOME_PYTHON
    assert {name for name in MODE_NAMES if name.startswith("V")} == CONTROL_CHARACTERS
