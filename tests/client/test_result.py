"""The result of a command."""

from __future__ import annotations

import pytest

from twisted_rsh.client.result import CommandFailed, Result
from twisted_rsh.core.endings import Ending, Exited, OutcomeUnknown, RefusalReason, Refused, Signalled, TimedOut
from twisted_rsh.core.errors import Error


def result(ending: Ending, command: str | tuple[str, ...] = "ls", encoding: str = "utf-8") -> Result:
    """A result with some bytes that are no UTF-8."""
    return Result(command, "汉字".encode(encoding) + b"\xff", b"\xfe", ending, encoding, held_open=False)


@pytest.mark.parametrize("encoding", ["utf-8", "gbk"])
def test_text_loses_nothing(encoding: str) -> None:
    """The outputs as text, in the server's code page, go back to the same bytes."""
    done = result(Exited(0), encoding=encoding)
    assert done.text == "汉字\udcff"
    assert done.text.encode(encoding, "surrogateescape") == done.stdout
    assert done.error_text == "\udcfe"


def test_success_passes_the_check() -> None:
    """Status 0 is a success, and ``check`` gives the result on."""
    done = result(Exited(0))
    assert done.check() is done
    assert done.status == 0


@pytest.mark.parametrize(
    ("ending", "status", "how"),
    [
        (Exited(3), 3, "exited with status 3"),
        (Exited(255), 254, "exited with status 255"),
        (Signalled("KILL"), 137, "killed by SIGKILL"),
        (TimedOut(2), 124, "timed out after 2 s"),
        (Refused(RefusalReason.NOT_FOUND, "no such command: x"), 127, "no such command: x"),
        (OutcomeUnknown("gone"), 255, "outcome unknown: gone"),
    ],
)
def test_anything_else_fails_the_check(ending: Ending, status: int, how: str) -> None:
    """Each other ending raises, in one printable line that names the command, and the result comes along."""
    done = result(ending, "rm x\n\x1b")
    assert done.status == status
    with pytest.raises(CommandFailed) as caught:
        done.check()
    assert isinstance(caught.value, Error)
    assert caught.value.result is done
    assert str(caught.value) == rf"'rm x\n\x1b': {how}"


def test_check_names_an_argument_vector() -> None:
    """An argument vector is shown as one."""
    with pytest.raises(CommandFailed, match=r"\('ls', '-l'\): exited with status 1"):
        result(Exited(1), ("ls", "-l")).check()
