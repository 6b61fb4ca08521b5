"""A whole command as one result: write its input, keep its output, wait for its end."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from twisted_rsh.client.remote_job import RemoteJob
from twisted_rsh.client.result import Result

__all__ = ["collect"]


def collect(job: RemoteJob, command: str | tuple[str, ...], stdin: bytes) -> Deferred[Result]:
    """Read everything that a job writes.

    :param job: the job; nobody reads or writes it yet.
    :param command: what the result is to call it.
    :param stdin: what the job reads; after it, the end of input.
    :returns: fires with the result, whatever the ending.  Cancelling it ends the job, and it fires all the same.
    """
    outputs: list[list[bytes]] = []
    for stream in (job.stdout, job.stderr):
        chunks: list[bytes] = []
        outputs.append(chunks)

        def keep(data: bytes, chunks: list[bytes] = chunks, consumed: object = stream.consumed) -> None:
            chunks.append(data)
            assert callable(consumed)
            consumed(len(data))

        stream.forward(keep)
    # A command that does not read all of its input is none the worse for it.
    job.stdin.write(stdin).addErrback(lambda failure: failure.trap(BrokenPipeError))
    job.stdin.end()

    async def wait() -> Result:
        end = await job.wait()
        stdout, stderr = (b"".join(chunks) for chunks in outputs)
        return Result(command, stdout, stderr, end.ending, job.encoding or "utf-8", end.held_open, end.usage)

    return Deferred.fromCoroutine(wait())
