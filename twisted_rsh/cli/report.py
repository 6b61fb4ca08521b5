"""The ending of a command for programs: one JSON object, on stdout (``--json``) or a descriptor (``--status-fd``).

The object has the fields of :class:`~twisted_rsh.client.result.Result`, with the ending as members of their own.  What
cannot be written as text in JSON has a member ``NAME_base64`` in place of ``NAME``.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import enum
import errno
import json
import os
import select
from typing import Any

from twisted.internet.interfaces import IReactorTime

from twisted_rsh.cli.options import ClientOptions
from twisted_rsh.cli.outputs import LocalOutputs
from twisted_rsh.client.job import Job
from twisted_rsh.client.result import Result
from twisted_rsh.client.shell import Shell
from twisted_rsh.client.status import describe_ending
from twisted_rsh.client.streams import RemoteOutput
from twisted_rsh.core.endings import (
    Ending,
    Exited,
    JobEnd,
    LimitReached,
    OutcomeUnknown,
    Refused,
    Signalled,
    Stopped,
    TimedOut,
)

__all__ = ["STATUS_SECONDS", "CollectingOutputs", "Report"]

STATUS_SECONDS = 10.0
"""Seconds for which the reader of ``--status-fd`` may take nothing: the command is over, and the client has to end."""


class CollectingOutputs(LocalOutputs):
    """The client's outputs when a command's output is kept for one object, and not written as it comes."""

    collected: tuple[bytearray, bytearray] | tuple[bytes, bytes] = (b"", b"")

    def show(self, job: Job | Shell, *, is_lent: bool = False) -> None:
        """Keep all that comes on both streams of a job, from now to their ends."""
        collected = self.collected = (bytearray(), bytearray())
        for stream, kept in zip((job.stdout, job.stderr), collected, strict=True):
            _keep(stream, kept)


def _keep(stream: RemoteOutput, kept: bytearray) -> None:
    def keep(data: bytes) -> None:
        kept.extend(data)
        stream.consumed(len(data))

    stream.forward(keep)


class Report:
    """What is known of one run of the client, for the object that tells it.

    :param clock: the reactor.
    :param options: the command line.
    """

    def __init__(self, clock: IReactorTime, options: ClientOptions) -> None:
        self._clock = clock
        self._options = options
        self._began_at = clock.seconds()
        self._job: Job | None = None
        self._end: JobEnd | None = None
        self._encoding: str | None = None
        self._gathered = (b"", b"")
        self._totals = (0, 0)
        self._members: dict[str, Any] = {}

    def job_opened(self, job: Job) -> None:
        """Take note of the command."""
        self._job = job

    async def job_ended(self) -> None:
        """Take note that the command has ended."""
        if self._job is not None:
            self._end = await self._job.wait()

    def take_end(
        self, end: JobEnd, encoding: str | None, outputs: tuple[bytes, bytes], totals: tuple[int, int]
    ) -> None:
        """Take note of a command whose output was gathered elsewhere.

        :param end: how it ended.
        :param encoding: the code page of its text, as the server named it; ``None`` if it never ran.
        :param outputs: its standard output and standard error.
        :param totals: how many bytes of each arrived.
        """
        self._end, self._encoding = end, encoding
        self._gathered, self._totals = outputs, totals

    def status_known(
        self, status: int, error: str | None, outputs: LocalOutputs | None = None, *, seconds: float | None = None
    ) -> None:
        """Take note of the end of the client.

        :param status: its exit status.
        :param error: the line that says why it failed; ``None`` if the client did not fail by itself.
        :param outputs: those that showed the command; ``None`` after :meth:`take_end`.
        :param seconds: the time that it took; ``None`` for the time since this object was made.
        """
        job, end, options = self._job, self._end, self._options
        if job is not None:
            self._encoding, self._totals = job.encoding, (job.stdout.total, job.stderr.total)
        if isinstance(outputs, CollectingOutputs):
            self._gathered = bytes(outputs.collected[0]), bytes(outputs.collected[1])
        ending = OutcomeUnknown("") if end is None else end.ending
        held_open, usage = (False, None) if end is None else (end.held_open, end.usage)
        encoding = options.encoding or self._encoding or "utf-8"
        command = options.command if options.argv else " ".join(options.command)
        self._members = _result_members(Result(command, *self._gathered, ending, encoding, held_open, usage))
        if error is not None or end is None:
            self._members |= {"ending": "failed", **_NO_ENDING, "error": error}
        self._members |= {
            "stdout_bytes": self._totals[0],
            "stderr_bytes": self._totals[1],
            "status": status,
            "host": self._options.host,
            "port": self._options.port,
            "seconds": round(self._clock.seconds() - self._began_at if seconds is None else seconds, 6),
        }

    def name_host(self, name: str, state: str) -> None:
        """Take note of one host of many; these members come first in the object.

        :param name: what the user calls it.
        :param state: the state in which it ended.
        """
        self._members = {"name": name, "state": state} | self._members

    def text(self) -> str:
        """Return the whole object, in one line without its end."""
        return json.dumps(self._members)

    def write_status(self, fd: int) -> None:
        """Write the object, without the command and its output, to a descriptor, and a line end.

        :raises OSError: it cannot be written, or its reader takes nothing for :data:`STATUS_SECONDS`.
        """
        left_out = {name + form for name in ("command", "stdout", "stderr") for form in ("", "_base64")}
        members = {name: value for name, value in self._members.items() if name not in left_out}
        data = memoryview((json.dumps(members) + "\n").encode())
        room = select.poll()
        room.register(fd, select.POLLOUT)
        while data:
            if not room.poll(STATUS_SECONDS * 1000):
                raise TimeoutError(errno.ETIMEDOUT, "its reader takes nothing")
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(fd, data[: select.PIPE_BUF]) :]  # as much as a pipe with room takes at once


_NO_ENDING = {
    "exit": None,
    "signal": None,
    "core_dumped": False,
    "timed_out": None,
    "limit": None,
    "limit_amount": None,
    "refusal": None,
}
"""The members that say how a command ended, and their values where they say nothing."""


def _ending_members(ending: Ending) -> dict[str, Any]:
    members: dict[str, Any] = {"ending": ending.kind, **_NO_ENDING, "error": None}
    match ending:
        case Exited(code):
            members["exit"] = code
        case Signalled(name, core_dumped):
            members |= {"signal": name, "core_dumped": core_dumped}
        case Stopped(name):
            members["signal"] = name
        case TimedOut(seconds):
            members["timed_out"] = seconds
        case LimitReached(limit, amount):
            members |= {"limit": limit.value, "limit_amount": amount}
        case Refused(reason):
            members |= {"refusal": reason.value, "error": describe_ending(ending)}
        case OutcomeUnknown():
            members["error"] = describe_ending(ending)
    return members


def _result_members(result: Result) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for field in dataclasses.fields(result):
        value = getattr(result, field.name)
        if field.name == "ending":
            members |= _ending_members(value)
        else:
            members |= _member(field.name, value, result.encoding)
    return members


def _member(name: str, value: Any, encoding: str) -> dict[str, Any]:
    """Return the member of the object for a field: text where bytes are text, and base64 otherwise."""
    if isinstance(value, bytes):
        try:
            return {name: value.decode(encoding)}
        except (LookupError, ValueError):
            return {f"{name}_base64": _base64(value)}
    if name == "command":
        return _command_member(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: dataclasses.asdict(value)}
    return {name: value.value if isinstance(value, enum.Enum) else value}


def _command_member(command: str | tuple[str, ...]) -> dict[str, Any]:
    """Return the member for a command line or the words of a program; bytes that are no text make all of it base64."""
    words = [command] if isinstance(command, str) else list(command)
    try:
        "".join(words).encode("utf-8")
    except UnicodeEncodeError:
        coded = [_base64(os.fsencode(word)) for word in words]
        return {"command_base64": coded[0] if isinstance(command, str) else coded}
    return {"command": (command or None) if isinstance(command, str) else words}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
