"""Persistent shells as jobs of a session, and the commands in them."""

from __future__ import annotations

import pytest
from twisted.logger import LogEvent

from tests.link.wire import failures
from tests.server.rig import Rig, ended, shell_of
from twisted_rsh.core.endings import Exited, JobEnd, RefusalReason, Refused
from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.core.messages import Close, Data, Inspect, Inspected, Open, Opened
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import Stream
from twisted_rsh.core.shell_state import BackgroundJob, JobState, ShellState


@pytest.fixture
def rig() -> Rig:
    """A server with shells that take commands when the test wants."""
    rig = Rig(SessionLimits(max_channels=8))
    rig.user.shells_are_ready = False
    return rig


def test_a_shell_is_open_when_it_is_ready(rig: Rig) -> None:
    """The server answers a request for a shell when the shell takes commands."""
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(shell="")))
    assert client.heard() == []
    (call,) = shell_of(rig).ready
    call()
    client.exchange()
    assert client.heard() == [Opened(channel=1, encoding="utf-8")]


def test_a_shell_that_does_not_get_ready(rig: Rig) -> None:
    """A shell that fails is refused; if it gets ready afterwards, that changes nothing."""
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(shell="fish")))  # noqa: S604 - a field of the message, nothing is run
    refusal = Refused(RefusalReason.SHELL_FAILED, "no such dialect")
    shell = shell_of(rig)
    shell.owner.job_ended(JobEnd(refusal))
    client.exchange()
    assert client.heard() == [ended(1, refusal)]
    shell.ready[0]()
    client.exchange()
    assert client.heard() == []


def test_a_command_in_a_shell(rig: Rig) -> None:
    """The shell starts the command, with streams and an ending of its own, and refuses a second one."""
    client = rig.log_in()
    client.say(
        Open(channel=1, request=JobRequest(shell="")),
        Open(channel=2, request=JobRequest(command="cd /", in_shell=1, max_output=1)),
    )
    shell = shell_of(rig)
    (command,) = shell.commands
    assert (command.request.command, len(rig.user.jobs)) == ("cd /", 1)
    command.owner.output_received(Stream.STDOUT, b"/")
    client.say(Open(channel=3, request=JobRequest(command="pwd", in_shell=1)))
    command.end(Exited(3))
    client.exchange()
    assert client.heard() == [
        Opened(channel=2, encoding="utf-8"),
        Data(2, Stream.STDOUT, 0, b"/"),
        ended(3, Refused(RefusalReason.SHELL_BUSY, "one at a time")),
        ended(2, Exited(3), 1),
    ]


@pytest.mark.parametrize("host", [1, 2, 7])
def test_a_command_for_no_shell(rig: Rig, host: int) -> None:
    """The server refuses a command for a channel without a shell, with one that has ended, or that does not exist."""
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="x")), Open(channel=2, request=JobRequest(shell="")))
    shell_of(rig, 1).end()
    client.heard()
    client.say(Open(channel=3, request=JobRequest(command="pwd", in_shell=host)))
    text = f"there is no persistent shell on channel {host}, or not any more"
    client.exchange()
    assert client.heard()[-1] == ended(3, Refused(RefusalReason.SHELL_GONE, text))
    assert not client.wire.is_over


# Questions


STATE = ShellState(folder="/", waits_for_input=True, jobs=(BackgroundJob(4711, JobState.RUNNING, "sleep 100"),))


def test_a_question(rig: Rig) -> None:
    """The server looks at the shell and answers, also while a command runs."""
    rig.user.shells_are_ready = True
    client = rig.log_in()
    client.say(
        Open(channel=1, request=JobRequest(shell="")), Open(channel=2, request=JobRequest(command="cat", in_shell=1))
    )
    shell_of(rig).state = STATE
    client.heard()
    client.say(Inspect(1))
    assert client.heard() == [Inspected(channel=1, state=STATE)]


def test_a_question_about_a_command(rig: Rig) -> None:
    """Of a job that is no shell nothing is known."""
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="true")))
    rig.clock.advance(1)
    client.exchange()
    client.heard()
    client.say(Inspect(1))
    assert client.heard() == [Inspected(channel=1, state=ShellState())]


@pytest.mark.parametrize(
    "state", [None, ShellState(folder="x" * 5000), ShellState(jobs=(BackgroundJob(0, JobState.RUNNING, "x"),))]
)
def test_an_application_that_cannot_answer(rig: Rig, state: ShellState | None, logged: list[LogEvent]) -> None:
    """A shell of an application that breaks, or says what cannot travel, is answered for, and the log says so."""
    rig.user.shells_are_ready = True
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(shell="")))
    client.heard()
    shell_of(rig).state = state  # type: ignore[assignment]  # a broken one
    client.say(Inspect(1))
    assert client.heard() == [Inspected(channel=1, state=ShellState())]
    assert len(failures(logged)) == 1


def test_a_question_that_the_close_follows(rig: Rig) -> None:
    """A client that asks and closes in one breath hears of the end alone."""
    rig.user.shells_are_ready = True
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(shell="")))
    client.heard()
    client.say(Inspect(1), Close(1))
    shell_of(rig).end(Exited(0))
    client.exchange()
    assert client.heard() == [ended(1, Exited(0))]
