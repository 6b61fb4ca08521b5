"""A job that hangs because a signal has suspended it is a line in the log."""

from __future__ import annotations

from twisted.logger import LogEvent, LogLevel, formatEvent
from zope.interface.verify import verifyObject

from tests.server.rig import Rig
from twisted_rsh.core.messages import Open
from twisted_rsh.interfaces import ISuspensionListener


def test_the_log_says_so(rig: Rig, logged: list[LogEvent]) -> None:
    """The line says whose job it is, and what makes it go on; the job has not ended."""
    rig.log_in().say(Open(channel=1, command="true"))
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
