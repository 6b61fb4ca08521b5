"""What a client asks for."""

from __future__ import annotations

import pytest

from twisted_rsh.core.requests import JobRequest


def test_kinds() -> None:
    """A log names which of the two forms it is."""
    assert JobRequest(command="true").kind == "command"
    assert JobRequest(argv=("true",)).kind == "argv"


@pytest.mark.parametrize(
    ("command", "argv"),
    [(None, None), ("true", ("true",)), (None, ()), ("", ())],
    ids=["none", "both", "empty", "mixed"],
)
def test_impossible_requests(command: str | None, argv: tuple[str, ...] | None) -> None:
    """Exactly one of the two forms, and an argument vector that names a program."""
    with pytest.raises(ValueError, match="argument vector"):
        JobRequest(command=command, argv=argv)
