"""The bounds on what the jobs of logged-in clients may make a server hold."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.serving import Serving, asynchronous
from twisted_rsh.core.endings import Exited, RefusalReason, Refused
from twisted_rsh.core.limits import DEFAULT_WINDOW, MIN_WINDOW, SessionLimits
from twisted_rsh.server.capacity import MAX_KEPT_JOBS, Capacity
from twisted_rsh.trust.home import ConfigFolders


def test_jobs() -> None:
    """R-10: as many jobs may run as have room for their input, and one more only when one has ended."""
    capacity = Capacity(MIN_WINDOW, max_unread_input=2 * MIN_WINDOW)
    assert [capacity.enter_job(), capacity.enter_job()] == [None, None]
    bound = "the server has 2 jobs, as many as its --max-unread-input has room for; try again later"
    assert capacity.enter_job() == bound
    capacity.leave_job()
    assert capacity.enter_job() is None


def test_output() -> None:
    """R-10: a job needs room for two windows; what it leaves unread counts until it is dropped, to the byte."""
    capacity = Capacity(MIN_WINDOW, max_unread_output=4 * MIN_WINDOW)
    assert [capacity.enter_job(), capacity.enter_job()] == [None, None]
    capacity.leave_job(1)
    refused = capacity.enter_job()
    assert refused is not None
    assert "--max-unread-output" in refused
    capacity.drop_output(1)
    assert capacity.enter_job() is None
    capacity.leave_job()
    capacity.leave_job(2 * MIN_WINDOW)
    assert capacity.enter_job() is None
    assert capacity.enter_job() == refused


def test_kept_jobs() -> None:
    """R-10: a kept job beyond the bound is refused, and others are not; the end of a kept one makes room."""
    capacity = Capacity(MIN_WINDOW, max_kept_jobs=1)
    assert capacity.enter_job(is_kept=True) is None
    refused = capacity.enter_job(is_kept=True)
    assert refused == "the server keeps 1 jobs, as many as its --max-kept-jobs allows; try again later"
    assert capacity.enter_job() is None
    capacity.leave_job()
    assert capacity.enter_job(is_kept=True) == refused
    capacity.leave_job(is_kept=True)
    assert capacity.enter_job(is_kept=True) is None
    assert Capacity(MIN_WINDOW, max_kept_jobs=0).enter_job(is_kept=True) is not None


def test_a_refused_job_takes_nothing() -> None:
    """R-10: a job that was refused, for whatever bound, leaves no count behind."""
    capacity = Capacity(MIN_WINDOW, max_kept_jobs=0)
    idle: list[None] = []
    waiting: Deferred[None] = capacity.when_idle()
    waiting.addCallback(idle.append)
    for _ in range(1025):
        assert capacity.enter_job(is_kept=True) is not None
    assert idle == [None]
    assert capacity.enter_job() is None


def test_the_default_bounds() -> None:
    """1024 jobs of the default window, of which 256 may be kept; one more of either is refused."""
    capacity = Capacity(DEFAULT_WINDOW)
    assert [capacity.enter_job(is_kept=True) is None for _ in range(MAX_KEPT_JOBS + 1)] == [True] * 256 + [False]
    assert [capacity.enter_job() is None for _ in range(1024 - 256 + 1)] == [True] * 768 + [False]


@asynchronous
@pytest.mark.parametrize(("option", "windows"), [("max_unread_input", 1), ("max_unread_output", 2)])
async def test_job_over_the_bound(config: ConfigFolders, option: str, windows: int) -> None:
    """R-10: a job beyond a bound is refused with the reason, and one that follows an ended job is not."""
    limits = SessionLimits(window=MIN_WINDOW)
    options: dict[str, Any] = {option: windows * MIN_WINDOW}
    serving = Serving(config, limits=limits, **options)
    await serving.start()
    try:
        connection = await serving.connect()
        running = connection.start("cat")
        refused = await connection.run("true")
        assert isinstance(refused.ending, Refused)
        assert refused.ending.reason is RefusalReason.RESOURCES
        assert f"its --{option.replace('_', '-')} " in refused.ending.text
        running.stdin.end()
        assert (await running.wait()).ending == Exited(0)
        assert (await connection.run("true")).ending == Exited(0)
    finally:
        await serving.stop()
