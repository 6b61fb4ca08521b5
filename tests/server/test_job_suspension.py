"""Suspended jobs: a line in the log, and a report to the client."""

from __future__ import annotations

from twisted.logger import LogEvent, LogLevel, formatEvent
from zope.interface.verify import verifyObject

from tests.server.rig import Rig
from twisted_rsh.core.messages import Close, Exit, Open, Opened, Suspended
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.interfaces import ISuspensionListener


def test_the_log_says_so(rig: Rig, logged: list[LogEvent]) -> None:
    """The line names the account, the signal, and the way to let the job go on; the job has not ended."""
    rig.log_in().say(Open(channel=1, request=JobRequest(command="true")))
    [job] = rig.user.jobs
    verifyObject(ISuspensionListener, job.owner)
    logged.clear()
    listener = ISuspensionListener(job.owner)
    listener.job_stopped("STOP")
    listener.job_continued()
    stopped, continued = logged
    assert stopped["log_level"] is LogLevel.warn
    assert formatEvent(stopped).startswith("a job of alice from ")
    assert formatEvent(stopped).endswith(" is stopped by SIGSTOP; it goes on when it gets SIGCONT")
    assert formatEvent(continued).endswith(" that was stopped goes on")


def test_the_client_is_told(rig: Rig) -> None:
    """The client learns each change once, after OPENED."""
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="true")))
    [job] = rig.user.jobs
    listener = ISuspensionListener(job.owner)
    listener.job_stopped("TTIN")
    client.exchange()
    assert client.heard() == [Opened(channel=1, encoding="utf-8"), Suspended(channel=1, signal="TTIN")]
    listener.job_continued()
    client.exchange()
    assert client.heard() == [Suspended(channel=1)]


def test_nobody_is_told_any_more(rig: Rig, logged: list[LogEvent]) -> None:
    """After CLOSE only the log has the change, and after the end no error follows."""
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="true")), Close(1))
    [job] = rig.user.jobs
    listener = ISuspensionListener(job.owner)
    listener.job_stopped("STOP")
    job.end()
    listener.job_continued()
    client.exchange()
    assert [type(message) for message in client.heard()] == [Opened, Exit]
    assert sum("stopped" in formatEvent(event) for event in logged) == 2
