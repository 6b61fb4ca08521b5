"""What many hosts write, on the client's own outputs: gathered, line by line as it comes, or as JSON."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from twisted_rsh.cli.line_merger import LineMerger
from twisted_rsh.cli.options import ClientOptions
from twisted_rsh.cli.output import LocalOutput
from twisted_rsh.cli.outputs import LocalOutputs
from twisted_rsh.cli.report import Report
from twisted_rsh.client.job import Job
from twisted_rsh.client.status import FAILURE_STATUS, describe_ending, exit_status
from twisted_rsh.client.streams import RemoteOutput
from twisted_rsh.core.endings import Exited, TimedOut
from twisted_rsh.fleet.host_lists import fold_hosts
from twisted_rsh.fleet.run import HostRun, HostState, IFleetWatcher
from twisted_rsh.fleet.spool import Capture, Spool

__all__ = ["GatheredOutputs", "HostOutputs", "JsonOutputs", "PrefixedOutputs", "host_status", "host_text"]

_RULE = "-" * 15

_TIMED_OUT_STATUS = exit_status(TimedOut(0.0))
"""That of a host whose server did not say that the time was up, too."""


def host_status(host: HostRun) -> int:
    """Return the exit status that stands for one host; 255 for one that was not run."""
    if host.state is HostState.TIMED_OUT:
        return _TIMED_OUT_STATUS
    return FAILURE_STATUS if host.ending is None or host.error else exit_status(host.ending)


def host_text(host: HostRun) -> str | None:
    """Return one line that says how a host ended; ``None`` if it did what it should."""
    if host.error is not None:
        return f"{host.state.value}: {host.error}"
    if host.state is HostState.OK or host.ending is None:
        return None
    text = describe_ending(host.ending)
    if text is None:
        assert isinstance(host.ending, Exited)
        text = f"exited with status {host.ending.code}"
    return text


@implementer(IFleetWatcher)
class HostOutputs(ABC):
    """Takes what the hosts write; each subclass shows it in another way.

    :param outputs: the client's own outputs.
    :param options: the options of each host, by its name.
    :param changed: called when a host is in another state.
    """

    def __init__(
        self, outputs: LocalOutputs, options: Mapping[str, ClientOptions], changed: Callable[[HostRun], object]
    ) -> None:
        self.outputs = outputs
        self.options = options
        self._changed = changed

    @abstractmethod
    def job_started(self, host: HostRun, job: Job) -> None:
        """See IFleetWatcher."""

    def state_changed(self, host: HostRun) -> None:
        """See IFleetWatcher."""
        self._changed(host)

    async def finish(self, hosts: Sequence[HostRun]) -> None:
        """Write what is left to write when all hosts are over.

        :param hosts: all hosts, in their order.
        """
        await self.outputs.flushed()


class PrefixedOutputs(HostOutputs):
    """Writes each line as soon as it is whole, after the name of its host.  The parameters are those of the base."""

    def __init__(
        self, outputs: LocalOutputs, options: Mapping[str, ClientOptions], changed: Callable[[HostRun], object]
    ) -> None:
        super().__init__(outputs, options, changed)
        self._mergers = LineMerger(outputs.stdout), LineMerger(outputs.stderr)

    def job_started(self, host: HostRun, job: Job) -> None:
        """See IFleetWatcher."""
        for merger, stream in zip(self._mergers, (job.stdout, job.stderr), strict=True):
            merger.show(stream, job, host.name, self.options[host.name].encoding)

    async def finish(self, hosts: Sequence[HostRun]) -> None:
        """See HostOutputs."""
        for merger in self._mergers:
            await merger.flushed()
        await super().finish(hosts)


class _KeptOutputs(HostOutputs):
    """Keeps everything that the hosts write.

    :param failed: called with the error if it cannot be kept.
    """

    def __init__(
        self,
        outputs: LocalOutputs,
        options: Mapping[str, ClientOptions],
        changed: Callable[[HostRun], object],
        failed: Callable[[OSError], object],
    ) -> None:
        super().__init__(outputs, options, changed)
        self._failed = failed
        self._spool = Spool()
        self._kept: dict[HostRun, tuple[Capture, Capture]] = {}

    def job_started(self, host: HostRun, job: Job) -> None:
        """See IFleetWatcher."""
        self._kept[host] = captures = Capture(self._spool), Capture(self._spool)
        for stream, capture in zip((job.stdout, job.stderr), captures, strict=True):
            self._keep(stream, capture)

    async def finish(self, hosts: Sequence[HostRun]) -> None:
        """See HostOutputs."""
        await super().finish(hosts)
        self._spool.close()

    def _keep(self, stream: RemoteOutput, capture: Capture) -> None:
        def keep(data: bytes) -> None:
            try:
                capture.append(data)
            except OSError as error:
                self._failed(error)
            stream.consumed(len(data))

        stream.forward(keep)


class GatheredOutputs(_KeptOutputs):
    """Writes at the end what the hosts have written: what is the same only once, below the names of its hosts."""

    async def finish(self, hosts: Sequence[HostRun]) -> None:
        """See HostOutputs."""
        for at, output in enumerate((self.outputs.stdout, self.outputs.stderr)):
            groups: dict[object, list[HostRun]] = {}
            for host in hosts:
                capture = self._capture(host, at)
                if capture is not None and capture.size:
                    groups.setdefault((capture.identity, self._encoding(host)), []).append(host)
            for group in groups.values():
                await self._show(output, group, at)
        await super().finish(hosts)

    def _capture(self, host: HostRun, at: int) -> Capture | None:
        captures = self._kept.get(host)
        return None if captures is None else captures[at]

    def _encoding(self, host: HostRun) -> str:
        return self.options[host.name].encoding or host.encoding or "utf-8"

    async def _show(self, output: LocalOutput, hosts: Sequence[HostRun], at: int) -> None:
        names = fold_hosts(host.name for host in hosts)
        output.put(f"{_RULE}\n{names}{f' ({len(hosts)})' if len(hosts) > 1 else ''}\n{_RULE}\n".encode())
        transcoder = output.transcoder(self._encoding(hosts[0]))
        capture = self._capture(hosts[0], at)
        assert capture is not None
        last = b""
        for piece in capture.pieces():
            last = piece
            output.put(piece if transcoder is None else transcoder.convert(piece))
            await output.flushed()
        output.put(b"" if transcoder is None else transcoder.finish())
        if not last.endswith(b"\n"):
            output.put(b"\n")


class JsonOutputs(_KeptOutputs):
    """Writes one JSON object in one line for each host, as soon as the host is over.

    :param clock: the reactor.
    """

    def __init__(self, clock: IReactorTime, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._clock = clock
        # One object at a time is in memory, however many hosts end at once.
        self._writing = DeferredLock()

    def state_changed(self, host: HostRun) -> None:
        """See IFleetWatcher."""
        super().state_changed(host)
        if host.is_over:
            self._writing.run(lambda: Deferred.fromCoroutine(self._write(host)))

    async def finish(self, hosts: Sequence[HostRun]) -> None:
        """See HostOutputs."""
        await self._writing.acquire()
        await super().finish(hosts)

    async def _write(self, host: HostRun) -> None:
        report = Report(self._clock, self.options[host.name])
        captures = self._kept.pop(host, None)
        if host.end is not None and captures is not None:
            stdout, stderr = (b"".join(capture.pieces()) for capture in captures)
            report.take_end(host.end, host.encoding, (stdout, stderr), (len(stdout), len(stderr)))
        report.status_known(host_status(host), host.error, seconds=host.seconds)
        report.name_host(host.name, host.state.value)
        self.outputs.stdout.say(report.text())
        await self.outputs.stdout.flushed()
