"""Events as a server makes them, and places for entries."""

from __future__ import annotations

import json
from typing import Any

from twisted_rsh.core.endings import Ending, Exited, JobEnd
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.server_events import (
    JobBegan,
    JobFinished,
    Refusal,
    RefusalKind,
    ServerStarted,
    SessionInfo,
)

__all__ = ["SESSION", "STARTED", "Memory", "began", "finished", "refusal"]

SESSION = SessionInfo(id="ab" * 16, user="ada", key="SHA256:" + "x" * 43)

STARTED = ServerStarted(instance="0123456789abcdef", fingerprint="SHA256:y", addresses=("127.0.0.1:8082",), bounds=list)


def began(channel: int = 1, **request: Any) -> JobBegan:
    """Return the beginning of a job."""
    asked = JobRequest(**(request or {"command": "true"}))
    return JobBegan(session=SESSION, peer="127.0.0.1:5000", channel=channel, request=asked)


def finished(channel: int = 1, ending: Ending | None = None, **request: Any) -> JobFinished:
    """Return the end of a job."""
    return JobFinished(
        session=SESSION,
        peer="127.0.0.1:5000",
        channel=channel,
        request=JobRequest(**(request or {"command": "true"})),
        end=JobEnd(ending or Exited(0)),
        pid=4711,
        seconds=1.23456,
        stdin=1,
        stdout=2,
        stderr=3,
    )


def refusal(kind: RefusalKind = RefusalKind.KEY, detail: str = "no") -> Refusal:
    """Return a refusal."""
    return Refusal(kind=kind, peer="192.0.2.1:5000", detail=detail)


class Memory:
    """A place in memory.

    :ivar lines: the lines.
    :ivar calls: the names of the other calls.
    :ivar error: raised for each line, or ``None``.
    """

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.calls: list[str] = []
        self.error: OSError | None = None

    def write(self, entry: dict[str, Any], line: bytes) -> None:
        """Keep a line."""
        if self.error is not None:
            raise self.error
        assert json.loads(line) == entry
        self.lines.append(line)

    def reopen(self) -> None:
        """Note it."""
        self.calls.append("reopen")

    def close(self) -> None:
        """Note it."""
        self.calls.append("close")

    def entries(self) -> list[dict[str, Any]]:
        """Return the entries."""
        return [json.loads(line) for line in self.lines]
