"""What a client asks for."""

from __future__ import annotations

from typing import Any

import pytest

from twisted_rsh.core.requests import JobRequest, Terminal


def test_kinds() -> None:
    """A log names which of the three forms it is."""
    assert JobRequest(command="true").kind == "command"
    assert JobRequest(command="true", in_shell=1).kind == "command"
    assert JobRequest(argv=("true",)).kind == "argv"
    assert JobRequest(shell="").kind == "shell"


@pytest.mark.parametrize(
    "what",
    [
        {},
        {"command": "true", "argv": ("true",)},
        {"argv": ()},
        {"command": "", "argv": ()},
        {"shell": "", "command": ""},
        {"shell": "", "argv": ("true",)},
    ],
    ids=str,
)
def test_impossible_requests(what: dict[str, Any]) -> None:
    """Exactly one of the three forms, and an argument vector that names a program."""
    with pytest.raises(ValueError, match="argument vector"):
        JobRequest(**what)


@pytest.mark.parametrize("what", [{"argv": ("true",)}, {"shell": ""}], ids=str)
def test_a_persistent_shell_runs_commands_only(what: dict[str, Any]) -> None:
    """Nothing else can be given to it."""
    with pytest.raises(ValueError, match="is a command"):
        JobRequest(in_shell=1, **what)


@pytest.mark.parametrize(
    "what",
    [{"cwd": ""}, {"environment": (("A", "1"),)}, {"terminal": Terminal()}, {"max_cpu": 1.0}, {"max_memory": 0}],
    ids=str,
)
def test_what_belongs_to_the_shell(what: dict[str, Any]) -> None:
    """A command in a persistent shell has none of it, a shell and any other command have."""
    with pytest.raises(ValueError, match="that shell's"):
        JobRequest(command="true", in_shell=1, **what)
    JobRequest(command="true", **what)
    JobRequest(shell="", **what)


def test_what_belongs_to_the_command() -> None:
    """Its time and its output have limits of their own."""
    assert JobRequest(command="true", in_shell=1, timeout=1.0, max_output=0).max_output == 0
