"""Requests for jobs: the forms that exist, disconnections, terminals, and the members that travel in OPEN."""

from __future__ import annotations

import termios
from typing import Any

import pytest
from hypothesis import given, settings

from tests.core.strategies import REQUESTS, TERMINALS
from twisted_rsh.core.fields import FieldError
from twisted_rsh.core.limits import MAX_TIMEOUT_MS, MAX_TYPED_AHEAD_BYTES
from twisted_rsh.core.requests import (
    COMMAND_GRACE_SECONDS,
    CONTROL_CHARACTERS,
    KILL,
    MODE_NAMES,
    REQUEST,
    SHELL_GRACE_SECONDS,
    TERMINAL,
    Disconnection,
    Grace,
    JobRequest,
    Keep,
    Terminal,
    parse_disconnection,
)

YOUNGER_THAN_SOME_PYTHON = {"IUTF8"}
"""Names that the module ``termios`` lacks in some version of Python that this package runs on."""


def members_of(request: JobRequest) -> dict[str, Any]:
    """Return the members that a request is written as."""
    present: dict[str, Any] = {}
    REQUEST.write(request, present)
    return present


# The forms of a request.


def test_kinds() -> None:
    """A log names which of the four forms a request has."""
    assert JobRequest(command="true").kind == "command"
    assert JobRequest(command="true", in_shell=1).kind == "command"
    assert JobRequest(argv=("true",)).kind == "argv"
    assert JobRequest(shell="").kind == "shell"
    assert JobRequest(subsystem="sftp").kind == "subsystem"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"command": "true", "argv": ("true",)},
        {"argv": ()},
        {"command": "", "argv": ()},
        {"shell": "", "command": ""},
        {"shell": "", "argv": ("true",)},
        {"subsystem": "sftp", "command": "true"},
        {"subsystem": "sftp", "shell": ""},
    ],
    ids=str,
)
def test_impossible_requests(fields: dict[str, Any]) -> None:
    """A request has exactly one of the four forms, and an argument vector names a program."""
    with pytest.raises(ValueError, match="argument vector"):
        JobRequest(**fields)


def test_keys_typed_ahead() -> None:
    """Keys travel with a command in a persistent shell, as many as there is room for and not one more."""
    keys = bytes(range(256)) * (MAX_TYPED_AHEAD_BYTES // 256)
    request = JobRequest(command="x", in_shell=1, typed_ahead=keys)
    assert REQUEST.read(members_of(request)) == request
    with pytest.raises(FieldError, match="bytes"):
        members_of(JobRequest(command="x", in_shell=1, typed_ahead=keys + b"x"))
    with pytest.raises(ValueError, match="in a persistent shell"):
        JobRequest(command="x", typed_ahead=b"")


@pytest.mark.parametrize("fields", [{"argv": ("true",)}, {"shell": ""}, {"subsystem": "sftp"}], ids=str)
def test_a_persistent_shell_runs_commands_only(fields: dict[str, Any]) -> None:
    """A persistent shell is given no argument vector, no other shell and no subsystem."""
    with pytest.raises(ValueError, match="runs a command"):
        JobRequest(in_shell=1, **fields)


@pytest.mark.parametrize(
    "fields",
    [{"cwd": ""}, {"environment": (("A", "1"),)}, {"terminal": Terminal()}, {"max_cpu": 1.0}, {"max_memory": 0}],
    ids=str,
)
def test_what_belongs_to_the_shell(fields: dict[str, Any]) -> None:
    """A command in a persistent shell may give none of these; a shell and any other command may."""
    with pytest.raises(ValueError, match="that shell's"):
        JobRequest(command="true", in_shell=1, **fields)
    JobRequest(command="true", **fields)
    JobRequest(shell="", **fields)


def test_what_belongs_to_the_command() -> None:
    """A command in a persistent shell has its own limits of time and output."""
    assert JobRequest(command="true", in_shell=1, timeout=1.0, max_output=0).max_output == 0


# Disconnections.


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
    """A user writes one of three words, one of them with seconds."""
    assert parse_disconnection(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        *("", "Kill", "kill:", "keep:60", "grace", "grace:", "grace:x", "grace:-1", "grace:1:2", "60", "grace:inf"),
        *("grace:nan", f"grace:{MAX_TIMEOUT_MS // 1000 + 1}"),
    ],
)
def test_what_a_user_should_not_write(text: str) -> None:
    """The error names the wrong text and the three right ones."""
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
    """A command has a minute, a shell and a job on a terminal an hour, unless the request says otherwise."""
    assert request_.disconnection == meant


@pytest.mark.parametrize("asked", [None, KILL, Keep(), Grace(0.001), Grace(60.0), Grace(MAX_TIMEOUT_MS / 1000)])
def test_what_travels(asked: Disconnection | None) -> None:
    """Every disconnection is the same at the other end."""
    request = JobRequest(command="x", on_disconnect=asked)
    assert REQUEST.read(members_of(request)) == request


def test_a_grace_of_no_time_is_not_one_of_a_millisecond() -> None:
    """Unlike a time-out, a grace may be 0; one longer than the longest is written as the longest."""
    assert members_of(JobRequest(command="x", on_disconnect=Grace(0.0001)))["grace_ms"] == 0
    assert members_of(JobRequest(command="x", on_disconnect=Grace(1e30)))["grace_ms"] == MAX_TIMEOUT_MS


@pytest.mark.parametrize("seconds", [-1.0, -1e300, float("nan")])
def test_a_grace_below_no_time(seconds: float) -> None:
    """A grace below 0 is refused, not written as 0, which would end the job at once."""
    with pytest.raises(FieldError):
        members_of(JobRequest(command="x", on_disconnect=Grace(seconds)))


def test_not_both() -> None:
    """A job that is kept has no grace, and a command in a shell has the shell's disconnection."""
    with pytest.raises(FieldError, match="has no grace"):
        REQUEST.read({"command": "x", "keep": True, "grace_ms": 0})
    assert REQUEST.read({"command": "x", "keep": False, "grace_ms": 0}) == JobRequest(command="x", on_disconnect=KILL)
    for asked in (KILL, Keep(), Grace(60)):
        with pytest.raises(ValueError, match="that shell's"):
            JobRequest(command="x", in_shell=1, on_disconnect=asked)


# Terminals.


def test_names_are_those_of_the_system() -> None:
    """Each is a name of termios(3); those of control characters begin with V, and no flag does."""
    assert {name for name in MODE_NAMES if not hasattr(termios, name)} <= YOUNGER_THAN_SOME_PYTHON
    assert {name for name in MODE_NAMES if name.startswith("V")} == CONTROL_CHARACTERS


@settings(derandomize=True, deadline=None)
@given(TERMINALS)
def test_any_terminal_travels(terminal: Terminal) -> None:
    """F-11: encoding and decoding are inverse for every terminal."""
    assert TERMINAL.decode(TERMINAL.encode(terminal)) == terminal


# The members of a request.


def test_seconds_and_milliseconds() -> None:
    """A request has seconds, and its members whole milliseconds."""
    request = JobRequest(shell="", timeout=1.5, max_cpu=0.001)
    assert members_of(request) == {"shell": "", "timeout_ms": 1500, "max_cpu_ms": 1}
    assert REQUEST.read(members_of(request)) == request


def test_a_request_that_contradicts_itself() -> None:
    """F-10: members that no request can have are a ``FieldError`` with the request's own reason."""
    with pytest.raises(FieldError, match="only one of them"):
        REQUEST.read({"command": "x", "shell": ""})


@settings(derandomize=True, deadline=None)
@given(REQUESTS)
def test_any_request_travels(request_: JobRequest) -> None:
    """F-11: writing and reading are inverse for every request."""
    assert REQUEST.read(members_of(request_)) == request_


def test_text_and_limits_of_a_request() -> None:
    """A request names what it runs, and the limits that its client gives and no others."""
    assert JobRequest(command="true", in_shell=1).text == "true"
    assert JobRequest(argv=("echo", "a b")).text == ("echo", "a b")
    assert JobRequest(shell="").text == ""
    assert JobRequest(subsystem="sftp").text == "sftp"
    assert JobRequest(command="true").limits == {}
    limits = {"timeout": 1.5, "max_output": 0, "max_cpu": 2.0, "max_memory": 4096}
    assert JobRequest(command="true", **limits).limits == limits  # type: ignore[arg-type]  # each of its own type
