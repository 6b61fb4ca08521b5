"""A short command in one frame each way: RUN asks for it, and REPLY tells all about it.

Each stands for several other messages, in their order, and means what those mean (docs/protocol.rst).  So sequence,
credit, resume and the states of channels know nothing of them.
"""

from __future__ import annotations

import struct
from typing import ClassVar

from twisted_rsh.core.bodies import CLIENT, SERVER, Message, declare
from twisted_rsh.core.command_text import decode_command, encode_command
from twisted_rsh.core.endings import MICROSECONDS, Exited, JobEnd, ResourceUsage
from twisted_rsh.core.fields import FieldError
from twisted_rsh.core.limits import (
    MAX_CHANNEL_ID,
    MAX_CWD_BYTES,
    MAX_ENCODING_BYTES,
    MAX_JSON_COMMAND,
    MAX_OFFSET,
    MAX_REPLY_OUTPUT_BYTES,
    MAX_TIMEOUT_MS,
)
from twisted_rsh.core.requests import MILLISECONDS, JobRequest
from twisted_rsh.core.roles import Phase
from twisted_rsh.core.values import dataclass

__all__ = ["Reply", "Run"]

_NONE_GIVEN = (None,) * 6
_MAX_CODE = 2**32 - 1
_NO_END = (0, 0, 0, 0, 0, b"")
_PER_SECOND = MICROSECONDS.per_second
_LONGEST = MAX_TIMEOUT_MS / _PER_SECOND  # seconds


@declare(0x2D, CLIENT, Phase.SESSION, sequenced=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Message):
    """CLOSE, OPEN and END in one: run a command without input on a new channel.

    :ivar channel: the new channel's number, as in OPEN.
    :ivar request: a request that :meth:`fits`.
    :ivar closes: the channel that is closed before, or 0.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("!IIIQQ")

    channel: int
    request: JobRequest
    closes: int = 0

    @staticmethod
    def fits(request: JobRequest) -> bool:
        """Tell whether RUN has a field for all that a request asks for, and the command is a short one."""
        command = request.command
        if not command or len(command) > MAX_JSON_COMMAND:
            return False
        in_shell, max_output = request.in_shell, request.max_output
        if request.environment or request.aside or not (in_shell is None or 1 <= in_shell <= MAX_CHANNEL_ID):
            return False
        if not (max_output is None or 1 <= max_output <= MAX_OFFSET):
            return False
        limits = request.max_cpu, request.max_memory, request.on_disconnect
        if (request.typed_ahead, request.cwd, request.terminal, *limits) != _NONE_GIVEN:
            return False
        return command.isascii() or encode_command(command) is not None

    def body(self) -> bytes:
        request = self.request
        text = encode_command(request.command) if request.command and self.fits(request) else None
        if text is None or not 1 <= self.channel <= MAX_CHANNEL_ID or not 0 <= self.closes <= MAX_CHANNEL_ID:
            raise FieldError("a channel or a command out of its bounds")
        timeout = 0 if request.timeout is None else MILLISECONDS.encode(request.timeout)
        return (
            self.layout.pack(self.channel, self.closes, request.in_shell or 0, timeout, request.max_output or 0) + text
        )

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Message:
        size = cls.layout.size
        if len(body) <= size:
            raise FieldError("no command")
        channel, closes, in_shell, timeout, max_output = cls.layout.unpack_from(body)
        if not channel or timeout > MAX_TIMEOUT_MS or max_output > MAX_OFFSET:
            raise FieldError("a channel or a limit out of its bounds")
        request = JobRequest(
            command=decode_command(bytes(body[size:])),
            in_shell=in_shell or None,
            timeout=timeout / MILLISECONDS.per_second if timeout else None,
            max_output=max_output or None,
        )
        return cls(channel=channel, request=request, closes=closes)


@declare(0x2E, SERVER, Phase.SESSION, sequenced=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class Reply(Message):
    """OPENED, DATA and, for a job that has ended, EXIT in one: the answer to RUN.

    :ivar channel: the job's channel.
    :ivar encoding: the code page of the job's text, as Python names it.
    :ivar stdout: the first bytes of its standard output.
    :ivar stderr: the first bytes of its standard error; with `stdout`, at most
        :data:`~twisted_rsh.core.limits.MAX_REPLY_OUTPUT_BYTES`.
    :ivar end: an end that it :meth:`can_tell`; ``None`` for a job that goes on.
    """

    layout: ClassVar[struct.Struct] = struct.Struct("!IBIQQQQBHH")

    channel: int
    encoding: str
    stdout: bytes = b""
    stderr: bytes = b""
    end: JobEnd | None = None

    @staticmethod
    def can_tell(end: JobEnd) -> bool:
        """Tell whether REPLY has a field for all that is known of an end."""
        usage, folder = end.usage, end.folder
        if type(end.ending) is not Exited or usage is None:
            return False
        if end.held_open or end.typed is not None or end.unread or usage.peak_memory == 0 or folder == "":
            return False
        return folder is None or folder.isascii() or encode_command(folder) is not None

    def body(self) -> bytes:
        encoding = self.encoding.encode()
        code, wall, user, system, peak, folder = _NO_END if self.end is None else _numbers_of(self.end)
        if len(encoding) > MAX_ENCODING_BYTES or not 1 <= self.channel <= MAX_CHANNEL_ID:
            raise FieldError("a channel or the name of a code page out of its bounds")
        if len(self.stdout) + len(self.stderr) > MAX_REPLY_OUTPUT_BYTES:
            raise FieldError(f"more than {MAX_REPLY_OUTPUT_BYTES} bytes of output")
        sizes = len(encoding), len(folder), len(self.stdout)
        head = self.layout.pack(self.channel, self.end is not None, code, wall, user, system, peak, *sizes)
        return b"".join((head, encoding, folder, self.stdout, self.stderr))

    @classmethod
    def parse(cls, body: bytes | memoryview) -> Message:
        layout = cls.layout
        if len(body) < layout.size:
            raise FieldError(f"less than {layout.size} bytes")
        channel, has_ended, code, wall, user, system, peak, *sizes = layout.unpack_from(body)
        start = layout.size + sizes[0]
        middle = start + sizes[1]
        last = middle + sizes[2]
        if sizes[0] > MAX_ENCODING_BYTES or sizes[1] > MAX_CWD_BYTES or not 1 <= channel <= MAX_CHANNEL_ID:
            raise FieldError("a channel or a text out of its bounds")
        if last > len(body) or len(body) - middle > MAX_REPLY_OUTPUT_BYTES:
            raise FieldError("texts or output of an impossible size")
        try:
            encoding = str(body[layout.size : start], "utf-8")
        except UnicodeDecodeError as error:
            raise FieldError("a code page without a name") from error
        end = None
        if has_ended:
            if has_ended > 1 or max(wall, user, system) > MAX_TIMEOUT_MS or peak > MAX_OFFSET:
                raise FieldError("an end or a usage out of its bounds")
            usage = ResourceUsage(
                wall=wall / _PER_SECOND, user=user / _PER_SECOND, system=system / _PER_SECOND, peak_memory=peak or None
            )
            folder = decode_command(bytes(body[start:middle])) if sizes[1] else None
            end = JobEnd(Exited(code), usage=usage, folder=folder)
        elif code or wall or user or system or peak or sizes[1]:
            raise FieldError("the end of a job that goes on")
        stdout, stderr = bytes(body[middle:last]), bytes(body[last:])
        return cls(channel=channel, encoding=encoding, stdout=stdout, stderr=stderr, end=end)


def _numbers_of(end: JobEnd) -> tuple[int, int, int, int, int, bytes]:
    """Return the code, the four numbers of the usage, and the folder.

    :raises FieldError: one of them is out of its bounds, or REPLY has no field for what the end tells.
    """
    usage, folder = end.usage, encode_command(end.folder or "")
    if usage is None or folder is None or not Reply.can_tell(end):
        raise FieldError("an end that REPLY cannot tell")
    assert isinstance(end.ending, Exited)
    code, peak = end.ending.code, usage.peak_memory or 0
    if not 0 <= code <= _MAX_CODE or not 0 <= peak <= MAX_OFFSET or len(folder) > MAX_CWD_BYTES:
        raise FieldError("an exit code, a size or a folder out of its bounds")
    wall, user, system = usage.wall, usage.user, usage.system
    if 0 <= wall < _LONGEST and 0 <= user < _LONGEST and 0 <= system < _LONGEST:
        # What the kind of these numbers does, in fewer calls.
        times = int(wall * _PER_SECOND + 0.5), int(user * _PER_SECOND + 0.5), int(system * _PER_SECOND + 0.5)
    else:
        times = MICROSECONDS.encode(wall), MICROSECONDS.encode(user), MICROSECONDS.encode(system)
    return code, *times, peak, folder
