"""A command without input over a real connection: a frame each way, and everything else as for any command."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from twisted.internet.defer import CancelledError

from tests.server_process import PATIENCE
from tests.serving import asynchronous
from twisted_rsh import CommandFailed, Connection
from twisted_rsh.core.endings import Exited, LimitReached, Signalled, TimedOut
from twisted_rsh.core.limits import MAX_REPLY_OUTPUT_BYTES
from twisted_rsh.core.messages import End, Open, Run
from twisted_rsh.link.framed_link import FramedLink


@asynchronous
async def test_one_frame_of_the_client(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command is one frame of the client's, which closes the channel of the one before."""
    kinds: list[int] = []
    write = FramedLink.write_frames

    def note(self: FramedLink, payloads: Iterable[bytes]) -> None:
        payloads = list(payloads)
        kinds.extend(payload[0] for payload in payloads)
        write(self, payloads)

    async with await connection.open_shell("sh") as shell:
        await shell.run("true")
        monkeypatch.setattr(FramedLink, "write_frames", note)
        answered = [await shell.run("echo out; echo err >&2; cd /") for _ in range(3)]
        monkeypatch.undo()
    assert [(result.text, result.error_text, result.folder) for result in answered] == [("out\n", "err\n", "/")] * 3
    # Both ends write here.  A machine that is slow answers before the end, and a link that is cut repeats frames.
    assert kinds.count(Run.declaration.number) >= 3
    assert Open.declaration.number not in kinds
    assert End.declaration.number not in kinds


@asynchronous
async def test_output_is_live(connection: Connection, tmp_path: Path) -> None:
    """What a command without input writes first arrives while it goes on: it waits until that has arrived."""
    arrived = tmp_path / "arrived"
    command = f"echo one; until [ -e {arrived} ]; do sleep 0.01; done; echo two"
    result = await connection.run(command, timeout=PATIENCE, on_stdout=lambda _: arrived.touch())
    assert (result.text, result.ending) == ("one\ntwo\n", Exited(0))


@asynchronous
async def test_an_error_of_a_watcher(connection: Connection) -> None:
    """What a watcher raises fails the command, whose other output is kept, and the connection goes on."""

    def fail(_data: bytes) -> None:
        raise LookupError("a bug of the caller")

    with pytest.raises(LookupError) as error:
        await connection.run("echo err >&2; echo out", on_stdout=fail)
    cause = error.value.__cause__
    assert isinstance(cause, CommandFailed)
    assert cause.result.text == "out\n"
    assert (await connection.run("echo alive")).text == "alive\n"


@asynchronous
async def test_sizes_around_the_answer(connection: Connection) -> None:
    """Outputs of all sizes around what an answer holds arrive whole."""
    for size in (0, 1, MAX_REPLY_OUTPUT_BYTES - 1, MAX_REPLY_OUTPUT_BYTES, MAX_REPLY_OUTPUT_BYTES + 1, 300_000):
        result = await connection.run(f"head -c {size} /dev/zero; head -c {size} /dev/zero >&2")
        assert (len(result.stdout), len(result.stderr), result.ending) == (size, size, Exited(0))


@asynchronous
async def test_limits_and_signals(connection: Connection) -> None:
    """Time-outs, limits, signals and cancelling hold for a command without input."""
    late = await connection.run("echo out; sleep 1000", timeout=0.3)
    assert (late.text, late.ending) == ("out\n", TimedOut(0.3))
    loud = await connection.run("echo output; sleep 1000", max_output=3)
    assert loud.stdout == b"out"
    assert isinstance(loud.ending, LimitReached)
    assert (await connection.run("kill -9 $$")).ending == Signalled("KILL")
    waiting = connection.run("sleep 1000")
    waiting.cancel()
    with pytest.raises(CancelledError):
        await waiting
    assert (await connection.run("exit 3")).ending == Exited(3)
