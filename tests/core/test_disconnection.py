"""What becomes of a job without a link: what a user writes, what a request means, what travels."""

from __future__ import annotations

import pytest

from twisted_rsh.core.fields import FieldError
from twisted_rsh.core.limits import MAX_TIMEOUT_MS
from twisted_rsh.core.messages import Open
from twisted_rsh.core.requests import (
    COMMAND_GRACE_SECONDS,
    KILL,
    SHELL_GRACE_SECONDS,
    Disconnection,
    Grace,
    JobRequest,
    Keep,
    Terminal,
    parse_disconnection,
)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("kill", KILL),
        ("kill", Grace(0.0)),
        ("keep", Keep()),
        ("grace:0", KILL),
        ("grace:60", Grace(60.0)),
        ("grace:0.5", Grace(0.5)),
        (f"grace:{MAX_TIMEOUT_MS // 1000}", Grace(MAX_TIMEOUT_MS // 1000)),
    ],
)
def test_what_a_user_writes(text: str, meant: Disconnection) -> None:
    """Three words, one of them with seconds."""
    assert parse_disconnection(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        *("", "Kill", "kill:", "keep:60", "grace", "grace:", "grace:x", "grace:-1", "grace:1:2", "60", "grace:inf"),
        *("grace:nan", f"grace:{MAX_TIMEOUT_MS // 1000 + 1}"),
    ],
)
def test_what_a_user_should_not_write(text: str) -> None:
    """The answer names what is wrong and what would be right."""
    with pytest.raises(ValueError, match="is none of kill, keep and grace:SECONDS"):
        parse_disconnection(text)


@pytest.mark.parametrize(
    ("request_", "meant"),
    [
        (JobRequest(command="x"), Grace(COMMAND_GRACE_SECONDS)),
        (JobRequest(argv=("x",)), Grace(COMMAND_GRACE_SECONDS)),
        (JobRequest(shell=""), Grace(SHELL_GRACE_SECONDS)),
        (JobRequest(command="x", terminal=Terminal()), Grace(SHELL_GRACE_SECONDS)),
        (JobRequest(shell="", on_disconnect=KILL), KILL),
        (JobRequest(command="x", on_disconnect=Keep()), Keep()),
        (JobRequest(command="x", on_disconnect=Grace(5)), Grace(5)),
    ],
)
def test_what_is_usual(request_: JobRequest, meant: Disconnection) -> None:
    """A minute for a command, an hour for what a person sits at, and whatever is asked for."""
    assert request_.disconnection == meant


@pytest.mark.parametrize("asked", [None, KILL, Keep(), Grace(0.001), Grace(60.0), Grace(MAX_TIMEOUT_MS / 1000)])
def test_what_travels(asked: Disconnection | None) -> None:
    """A request is the same at the other end."""
    message = Open.of(1, JobRequest(command="x", on_disconnect=asked))
    assert Open.parse(message.body()) == message
    assert message.request().on_disconnect == asked


def test_a_grace_of_no_time_is_not_one_of_a_millisecond() -> None:
    """Unlike a time-out; and one longer than can be said is the longest."""
    assert Open.of(1, JobRequest(command="x", on_disconnect=Grace(0.0001))).grace_ms == 0
    assert Open.of(1, JobRequest(command="x", on_disconnect=Grace(1e30))).grace_ms == MAX_TIMEOUT_MS


def test_not_both() -> None:
    """A job that is kept has no grace, and a command in a shell has the shell's."""
    with pytest.raises(FieldError):
        Open(channel=1, command="x", keep=True, grace_ms=0)
    for asked in (KILL, Keep(), Grace(60)):
        with pytest.raises(ValueError, match="that shell's"):
            JobRequest(command="x", in_shell=1, on_disconnect=asked)
