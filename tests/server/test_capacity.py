"""The bounds on what logged-in clients may take of a server."""

from __future__ import annotations

import pytest
from twisted.logger import LogEvent, formatEvent

from tests.serving import Serving, asynchronous
from twisted_rsh.client.errors import LoginRefused
from twisted_rsh.core.endings import Exited, RefusalReason, Refused
from twisted_rsh.core.limits import DEFAULT_WINDOW, MIN_WINDOW, SessionLimits
from twisted_rsh.server.capacity import MAX_SESSIONS_PER_KEY, MAX_UNREAD_INPUT_BYTES, Capacity
from twisted_rsh.trust.home import ConfigFolders


def test_sessions_of_a_key() -> None:
    """A key may have so many sessions, and one more only when one has ended; other keys do not count."""
    capacity = Capacity(MIN_WINDOW, max_sessions_per_key=2)
    assert capacity.enter_session("a")
    assert capacity.enter_session("a")
    assert not capacity.enter_session("a")
    assert capacity.enter_session("b")
    capacity.leave_session("a")
    assert capacity.enter_session("a")


def test_jobs() -> None:
    """R-10: as many jobs may run as have room for their windows, and one more only when one has ended."""
    capacity = Capacity(MIN_WINDOW, max_unread_input=2 * MIN_WINDOW)
    assert capacity.enter_job()
    assert capacity.enter_job()
    assert not capacity.enter_job()
    capacity.leave_job()
    assert capacity.enter_job()


@asynchronous
async def test_session_over_the_bound(config: ConfigFolders, logged: list[LogEvent]) -> None:
    """A login beyond the bound is refused like any other, the log names the option, and a later one is let in."""
    serving = Serving(config, max_sessions_per_key=1)
    await serving.start()
    try:
        first = await serving.connect()
        with pytest.raises(LoginRefused):
            await serving.connect()
        assert any("1 sessions, as many as --max-sessions-per-key" in formatEvent(event) for event in logged)
        await first.close()
        second = await serving.connect()
        assert (await second.run("true")).ending == Exited(0)
    finally:
        await serving.stop()


@asynchronous
async def test_job_over_the_bound(config: ConfigFolders) -> None:
    """R-10: a job beyond the bound is refused with the reason, and one that follows an ended job is not."""
    limits = SessionLimits(window=MIN_WINDOW)
    serving = Serving(config, limits=limits, max_unread_input=MIN_WINDOW)
    await serving.start()
    try:
        connection = await serving.connect()
        running = connection.start("cat")
        refused = await connection.run("true")
        assert isinstance(refused.ending, Refused)
        assert refused.ending.reason is RefusalReason.RESOURCES
        assert "the server has 1 jobs" in refused.ending.text
        assert "--max-unread-input" in refused.ending.text
        running.stdin.end()
        assert (await running.wait()).ending == Exited(0)
        assert (await connection.run("true")).ending == Exited(0)
    finally:
        await serving.stop()


def test_the_default_bounds() -> None:
    """32 sessions of a key, and 1024 jobs of the default window; one more of either is refused."""
    capacity = Capacity(DEFAULT_WINDOW)
    assert [capacity.enter_session("a") for _ in range(MAX_SESSIONS_PER_KEY + 1)] == [True] * 32 + [False]
    jobs = MAX_UNREAD_INPUT_BYTES // DEFAULT_WINDOW
    assert [capacity.enter_job() for _ in range(jobs + 1)] == [True] * 1024 + [False]
