"""Flow control and signals of a running job: no output is held or lost, and signals reach the whole group."""

from __future__ import annotations

import os
import signal
from functools import partial

import pytest

from tests.execution.owners import RecordingOwner, asynchronous, check_output, reactor, start_job, until
from twisted_rsh.core.endings import Exited, Signalled
from twisted_rsh.core.roles import Stream

PIPE_BYTES = 64 * 1024
"""Bytes that a Linux pipe holds."""


def is_gone(pid: int) -> bool:
    """Return whether a process is gone, or is a zombie that init has not reaped yet."""
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(") ")[2].startswith("Z")
    except ProcessLookupError:
        return True
    except FileNotFoundError:  # it is gone by now, or the system has no /proc
        return os.path.exists("/proc/self")


@asynchronous
async def test_endless_output_without_room() -> None:
    """H-02: `yes` without a reader blocks in its pipe; room in odd amounts delivers exactly its bytes."""
    owner = RecordingOwner(room=0)
    job = start_job(owner, "yes", "0123456")
    job.end_input()
    process = job._process
    sizes: set[int] = set()

    def is_stable() -> bool:
        size = process.buffered_output(1)
        stable = size in sizes and size > 0
        sizes.add(size)
        return stable

    await until(is_stable)
    assert owner.stdout == b""
    total = 0
    for size in (1, 2, 7, 8191, 3, 70001, 1, 65537):
        total += size
        owner.give_room(job, size)
        while len(owner.stdout) < total:
            await owner.more_output(len(owner.stdout))
    assert owner.stdout == (b"0123456\n" * (total // 8 + 1))[:total]
    job.terminate()
    job.close_output(Stream.STDOUT)
    await owner.finished()
    assert owner.ending in (Signalled("HUP"), Signalled("PIPE"))


@asynchronous
async def test_outputs_are_paused_apart() -> None:
    """A full standard output does not hold up standard error."""
    owner = RecordingOwner(room=0)
    owner.room[Stream.STDERR] = 1 << 30
    job = start_job(owner, command="echo out; head -c 300000 /dev/zero >&2; echo done >&2")
    job.end_input()
    await owner.when(lambda: owner.stderr.endswith(b"done\n"))
    assert owner.stdout == b""
    owner.give_room(job, 100)
    await owner.finished()
    assert (owner.stdout, len(owner.stderr)) == (b"out\n", 300005)


@asynchronous
async def test_large_input_and_output() -> None:
    """8 MiB through `cat`, within a window on the way in, arrive complete and in order, and all of it was counted."""
    data = b"".join(number.to_bytes(4, "big") for number in range(2 << 20))
    window, sent = 256 * 1024, 0
    owner = RecordingOwner()
    job = start_job(owner, "cat")

    def more_than(size: int) -> bool:
        return owner.consumed > size

    while owner.consumed < len(data):
        piece = data[sent : owner.consumed + window]
        sent += len(piece)
        before = owner.consumed  # the pipe may take all of it within the call
        job.write_input(piece)
        await owner.when(partial(more_than, before))
    job.end_input()
    await owner.finished()
    assert owner.stdout == data
    assert (owner.consumed, owner.inputs_closed, owner.ending) == (len(data), 0, Exited(0))


@asynchronous
async def test_input_without_a_reader() -> None:
    """H-07: of the input of a job that never reads, only what its pipe took counts; the rest is reported once."""
    owner = RecordingOwner()
    job = start_job(owner, "sleep", "60")
    job.write_input(bytes(8 << 20))
    job.end_input()
    await owner.when(lambda: owner.consumed > 0)
    taken = owner.consumed
    assert taken <= PIPE_BYTES
    job.terminate()
    await owner.finished()
    assert (owner.consumed, owner.ending) == (taken, Signalled("HUP"))


@asynchronous
async def test_job_that_closes_its_input() -> None:
    """A job that closes its input while it runs tells its owner once; later input is dropped."""
    owner = RecordingOwner()
    job = start_job(owner, command="exec <&-; echo closed; exec sleep 60")
    await owner.when(lambda: owner.inputs_closed == 1)
    job.write_input(b"too late")
    job.end_input()
    job.terminate()
    await owner.finished()
    assert (owner.consumed, owner.inputs_closed) == (0, 1)


@asynchronous
async def test_job_that_closes_its_input_on_queued_bytes() -> None:
    """The owner is told that queued input will not be taken, also after the end of the input."""
    owner = RecordingOwner()
    job = start_job(owner, command="head -c 1 >/dev/null; exec <&-; exec sleep 60")
    job.write_input(bytes(1 << 20))
    job.end_input()
    await owner.when(lambda: owner.inputs_closed == 1)
    assert 0 < owner.consumed < 1 << 20
    job.terminate()
    await owner.finished()


@asynchronous
async def test_empty_input() -> None:
    """An empty input ends at once."""
    owner = RecordingOwner()
    job = start_job(owner, "wc", "-c")
    job.write_input(b"")
    job.end_input()
    await owner.finished()
    assert owner.stdout.strip() == b"0"
    assert owner.inputs_closed == 0


@asynchronous
async def test_closed_output_is_a_broken_pipe() -> None:
    """X-14: a job whose output is closed dies of SIGPIPE, whose action is the default; the output has ended."""
    owner = RecordingOwner()
    job = start_job(owner, "yes")
    await owner.when(lambda: len(owner.stdout) > 0)
    job.close_output(Stream.STDOUT)
    await owner.finished()
    assert owner.ending == Signalled("PIPE")
    assert Stream.STDOUT in owner.ended  # the two may be told in any order


@asynchronous
async def test_signal_reaches_the_group() -> None:
    """A signal goes to the whole group of the job, not only to its shell."""
    owner = RecordingOwner()
    job = start_job(owner, command="sleep 60 & echo $!; wait")
    await owner.when(lambda: owner.stdout.endswith(b"\n"))
    job.send_signal("TERM")
    await owner.finished()
    assert owner.ending == Signalled("TERM")
    await until(lambda: is_gone(int(owner.stdout)))


@asynchronous
async def test_signal_that_this_system_lacks() -> None:
    """A signal that this system lacks is not sent, and the job goes on."""
    owner = RecordingOwner()
    job = start_job(owner, "cat")
    job.send_signal("NOSUCH")
    job.write_input(b"x")
    job.end_input()
    await owner.finished()
    assert (owner.stdout, owner.ending) == (b"x", Exited(0))


@asynchronous
async def test_terminate_reaches_the_rest_of_the_group() -> None:
    """X-07: the ladder goes on when the leader has ended and another process of the group ignores HUP.

    The end is reported when that process has ended too, so that a server that stops does not leave it behind.
    """
    owner = RecordingOwner()
    job = start_job(owner, command="trap '' HUP; sleep 60 >/dev/null 2>&1 & trap - HUP; echo $!; exec sleep 60")
    await owner.when(lambda: owner.stdout.endswith(b"\n"))
    child = int(owner.stdout)
    job.terminate()
    job.terminate()
    await owner.finished()
    assert owner.ending == Signalled("HUP")
    assert is_gone(child)


@asynchronous
async def test_group_isolation() -> None:
    """X-11: a job leads its own session and group, and `kill 0` in it does not hit the server."""
    owner = RecordingOwner()
    job = start_job(owner, command="read line; kill -TERM 0")
    pid = job._process.pid
    assert pid is not None
    assert os.getpgid(pid) == os.getsid(pid) == pid != os.getpgrp()
    hits: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, frame: hits.append(number))
    try:
        job.write_input(b"\n")
        await owner.finished()
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert owner.ending == Signalled("TERM")
    assert not hits


@asynchronous
async def test_signals_are_at_their_defaults() -> None:
    """X-14: a job ignores and blocks nothing, whatever this process does."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        status = await check_output("cat", "/proc/self/status")
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        signal.signal(signal.SIGHUP, previous)
    masks = dict(line.split(":\t", 1) for line in status.decode().splitlines() if line.startswith("Sig"))
    # Numbers 32 and 33 belong to the C library, which does not let a program set them.
    assert int(masks["SigIgn"], 16) & ~(3 << 31) == int(masks["SigBlk"], 16) == 0


@asynchronous
async def test_umask_is_untouched() -> None:
    """X-13: a job has the server's umask, and the server keeps it."""
    previous = os.umask(0o027)
    try:
        assert await check_output(command="umask") == b"0027\n"
    finally:
        assert os.umask(previous) == 0o027


@pytest.mark.parametrize("step", [1, 4096])
@asynchronous
async def test_reading_in_small_steps(step: int) -> None:
    """H-03: room of any size delivers the exact bytes, and then the end."""
    owner = RecordingOwner(room=step)
    job = start_job(owner, command="seq 1 5000 | head -c 300" if step == 1 else "seq 1 5000")
    job.end_input()
    while not owner.endings:
        seen = len(owner.stdout)
        await owner.more_output(seen)
        owner.give_room(job, step)
    expected = b"".join(b"%d\n" % number for number in range(1, 5001))
    assert owner.stdout == (expected[:300] if step == 1 else expected)
    assert reactor.seconds() >= owner.ended_at
