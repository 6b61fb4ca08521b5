"""A server that is a program of its own: how it starts, what it does with signals, and how it ends."""

from __future__ import annotations

import errno
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ReactorNotRunning
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, LogLevel, formatEvent

from tests.command_lines import WAY_OUT, service_of
from tests.link.wire import collecting_log
from tests.serving import asynchronous, reactor
from twisted_rsh.server import ServiceOptions, stand_alone
from twisted_rsh.server.exposure import show_address
from twisted_rsh.server.launcher import Launcher
from twisted_rsh.server.stand_alone import describe
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.records import read_record


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """The folder for --config-dir."""
    return str(tmp_path / "home")


@asynchronous
@pytest.mark.parametrize(
    ("endpoint", "line"),
    [
        (
            "unix:{folder}/no/socket",
            "cannot listen on '{folder}/no/socket': No such file or directory; " + WAY_OUT,
        ),
        ("tcp:65536", "--listen 'tcp:65536': bind(): port must be 0-65535."),
        ("unix:{folder}", "cannot listen on '{folder}': a file that is no socket has that name; " + WAY_OUT),
    ],
)
async def test_an_endpoint_that_cannot_listen(
    endpoint: str, line: str, folder: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """O-07: an endpoint that makes sense, and cannot listen, is named when the server starts."""
    endpoint, line = (text.format(folder=tmp_path) for text in (endpoint, line))
    service = service_of("--config-dir", folder, "--listen", endpoint)
    capfd.readouterr()
    with pytest.raises(SystemExit) as exit_:
        service.startService()
    assert exit_.value.code == 2
    assert capfd.readouterr().err == f"twisted-rsh: {line}\n"
    await service.stopService()


@asynchronous
async def test_it_starts_and_stops(folder: str) -> None:
    """The service listens and writes its record when it starts, and removes the record when it stops."""
    service = service_of("--config-dir", folder, "--port", "0", "-i", "127.0.0.1")
    service.startService()
    port = service.tcp_port
    assert read_record(ConfigFolders.at(folder), port) is not None
    await service.stopService()
    assert read_record(ConfigFolders.at(folder), port) is None


@asynchronous
async def test_a_hang_up(folder: str) -> None:
    """A-12: SIGHUP makes a running server check the keys again; before and after, its handler is not installed."""
    before = signal.getsignal(signal.SIGHUP)
    service = service_of("--config-dir", folder, "--port", "0", "-i", "127.0.0.1")
    service.startService()
    with collecting_log() as logged:
        os.kill(os.getpid(), signal.SIGHUP)
        for _ in range(100):
            await deferLater(reactor, 0.01)
            if logged:
                break
    assert [formatEvent(event) for event in logged] == ["the keys of all sessions were checked; 0 sessions were ended"]
    await service.stopService()
    assert signal.getsignal(signal.SIGHUP) == before


@asynchronous
async def test_a_terminal_that_is_gone(folder: str) -> None:
    """O-09: a server in the foreground ends tidily when its terminal is gone."""
    service = service_of("--config-dir", folder, "--port", "0", "-i", "127.0.0.1")
    only = Reactor()
    service._reactor = only  # type: ignore[assignment]  # it is one in all but its class
    service.startService()
    service.terminal_gone()  # type: ignore[attr-defined]  # the signal leads to it
    assert only.stops == 1
    await service.stopService()


@asynchronous
async def test_a_port_taken_meanwhile(folder: str, taken: int, capfd: pytest.CaptureFixture[str]) -> None:
    """O-08: a port that is taken between the check and the start ends the program, with the same line."""
    service = service_of("--config-dir", folder, "--port", "0", "--listen", f"tcp:{taken}:interface=127.0.0.1")
    capfd.readouterr()
    with pytest.raises(SystemExit) as exit_:
        service.startService()
    assert exit_.value.code == 2
    line = f"cannot listen on 127.0.0.1, port {taken}: Address already in use; {WAY_OUT}\n"
    assert line in capfd.readouterr().err
    await service.stopService()


class Reactor:
    """The real reactor, except that it does not stop when it is told to."""

    def __init__(self) -> None:
        self.stops = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def stop(self) -> None:
        """Count; like the real one, it cannot be stopped twice."""
        self.stops += 1
        if self.stops > 1:
            raise ReactorNotRunning


class Twistd(Launcher):
    """A ``twistd`` in the foreground that notes the exit status, and does not keep it."""

    def __init__(self) -> None:
        super().__init__({"nodaemon": True, "debug": False, "pidfile": ""})
        self.status: int | None = None

    def end_with(self, status: int) -> None:
        """Note it."""
        self.status = status


def set_launcher(service: Any) -> Twistd:
    """Let a service run in another program than these tests."""
    service._launcher = launcher = Twistd()
    return launcher


@asynchronous
@pytest.mark.parametrize("cancelled", [False, True])
async def test_an_endpoint_that_fails_late(folder: str, cancelled: bool, capfd: pytest.CaptureFixture[str]) -> None:
    """O-08: a server that fails to listen later ends the program; one that is stopped first does not."""
    service = service_of("--config-dir", folder, "--port", "0", "--listen", "tcp:0:interface=127.0.0.1")
    launcher = set_launcher(service)
    late: Deferred[Any] = Deferred()

    class Late:
        def listen(self, _factory: object) -> Deferred[Any]:
            return late

    service._options = ServiceOptions(endpoints=[Late()])  # type: ignore[list-item]  # all that is asked of it
    only = Reactor()
    service._reactor = only  # type: ignore[assignment]  # it is one in all but its class
    with collecting_log() as logged:
        service.startService()
        if not cancelled:
            late.errback(CannotListenError("192.0.2.1", 1, OSError("late")))
        await service.stopService()
    assert only.stops == (not cancelled)
    critical = [formatEvent(event) for event in logged if event["log_level"] is LogLevel.critical]
    line = f"cannot listen on 192.0.2.1, port 1: late; {WAY_OUT}"
    assert critical == ([] if cancelled else [f"the server ends: {line}"])
    # Twisted adds the log's line, because no log has begun here.
    assert capfd.readouterr().err.partition("\n")[0] == ("" if cancelled else f"twisted-rsh: {line}")
    assert launcher.status == (None if cancelled else 2)


def record_that_cannot_be_written(folder: str) -> int:
    """Let a folder be where the record of a free port belongs; return the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    for path in (folder, os.path.join(folder, "run"), ConfigFolders.at(folder).record_path(port)):
        os.mkdir(path, 0o700)
    return port


@asynchronous
@pytest.mark.parametrize("in_twistd", [False, True])
async def test_a_record_that_cannot_be_written(folder: str, in_twistd: bool, capfd: pytest.CaptureFixture[str]) -> None:
    """R-12: a server that listens and cannot write its record ends at once with status 1, and names the file."""
    port = record_that_cannot_be_written(folder)
    service = service_of("--config-dir", folder, "--port", str(port), "-i", "127.0.0.1")
    if in_twistd:
        set_launcher(service)
    capfd.readouterr()
    with collecting_log() as logged, pytest.raises(SystemExit) as exit_:
        service.startService()
    assert exit_.value.code == 1
    line = f"{ConfigFolders.at(folder).record_path(port)}: Is a directory"
    # Twisted adds the log's line, because no log has begun here.
    assert capfd.readouterr().err.partition("\n")[0] == f"twisted-rsh: {line}"
    critical = [formatEvent(event) for event in logged if event["log_level"] is LogLevel.critical]
    assert critical == [f"the server ends: {line}"] * in_twistd
    await service.stopService()


@asynchronous
async def test_jobs_that_cannot_be_kept(folder: str, capfd: pytest.CaptureFixture[str]) -> None:
    """R-12: a server that cannot get ready for jobs does not listen."""
    service: Any = service_of("--config-dir", folder, "--port", "0", "-i", "127.0.0.1")

    def start() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    service._trees.start = start
    capfd.readouterr()
    with pytest.raises(SystemExit) as exit_:
        service.startService()
    assert exit_.value.code == 1
    assert capfd.readouterr().err == "twisted-rsh: [Errno 24] Too many open files\n"
    assert os.listdir(os.path.join(folder, "run")) == []


@asynchronous
async def test_an_open_address(folder: str, capfd: pytest.CaptureFixture[str]) -> None:
    """O-11: the operator of a server that other machines can reach reads it once, in the log and on the terminal."""
    any_address = ("--interface", "0.0.0.0", "--listen", "tcp:0")  # noqa: S104 - what is warned about
    loopback = ("--listen", "tcp:0:interface=127.0.0.2")
    for launcher in (None, Twistd()):
        service: Any = service_of("--config-dir", folder, "--port", "0", "--socket", "off", *any_address, *loopback)
        if launcher is not None:
            service._launcher = launcher
        capfd.readouterr()
        with collecting_log() as logged:
            service.startService()
        hosts = [show_address(port.getHost()) for port in await service.when_listening()]
        await service.stopService()
        assert hosts.pop().startswith("127.0.0.2:")
        warnings = [formatEvent(event) for event in logged if is_warning(event) and "root" not in formatEvent(event)]
        assert [warning.partition(";")[0] for warning in warnings] == [
            f"other machines can reach this server at {host}" for host in hosts
        ]
        lines = [] if launcher is None else [f"twisted-rsh: {warning}\n" for warning in warnings]
        assert capfd.readouterr().err == "".join(lines)


@asynchronous
async def test_the_end_at_once(folder: str) -> None:
    """O-09: at the second signal, the jobs are killed and the log says so."""
    service: Any = service_of("--config-dir", folder, "--port", "0", "-i", "127.0.0.1")
    service.startService()
    killed = []
    service._trees.kill_jobs = lambda: killed.append(True)
    with collecting_log() as logged:
        service.end_at_once()
    assert killed == [True]
    assert [formatEvent(event) for event in logged] == [
        "a second signal: the server ends at once, and its jobs are killed"
    ]
    await service.stopService()


@asynchronous
async def test_the_signals_are_given_back(folder: str) -> None:
    """O-09: the service has the signals from its start to the end of its stop; a hang-up meanwhile changes nothing."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    service: Any = service_of("--config-dir", folder, "--port", "0", "-i", "127.0.0.1")
    service._reactor = only = Reactor()
    service.startService()
    own = [signal.getsignal(number) for number in numbers]
    assert not set(map(str, own)) & set(map(str, before))
    service.terminal_gone()
    stopping = service.stopService()
    assert [signal.getsignal(number) for number in numbers] == own
    service.terminal_gone()
    assert only.stops == 2
    await stopping
    assert [signal.getsignal(number) for number in numbers] == before


@asynchronous
async def test_the_umask_is_what_it_was(folder: str) -> None:
    """X-13: the service restores the umask that twistd changes, before any job starts."""
    before = os.umask(0o027)
    try:
        service = service_of("--config-dir", folder, "--port", "0", "-i", "127.0.0.1")
        assert os.umask(0o077) == 0o027
        service.startService()
        assert os.umask(0o077) == 0o027
        await service.stopService()
    finally:
        os.umask(before)


class System:
    """The module os of a process with another uid."""

    def __init__(self, uid: int) -> None:
        self._uid = uid

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def geteuid(self) -> int:
        """Return the uid that the test wants."""
        return self._uid


@asynchronous
@pytest.mark.parametrize("uid", [0, 1000])
async def test_root_is_warned(uid: int, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """O-04: a server that runs as root logs a warning, and no other does."""
    service = service_of("--config-dir", folder, "--port", "0", "-i", "127.0.0.1")
    monkeypatch.setattr(stand_alone, "os", System(uid))
    with collecting_log() as logged:
        service.startService()
    await service.stopService()
    assert [formatEvent(event) for event in logged if is_warning(event)] == [
        "this server runs as root: every client that logs in is root"
    ] * (uid == 0)


def is_warning(event: LogEvent) -> bool:
    """Tell whether an event is a warning of ours."""
    return event["log_level"] is LogLevel.warn and str(event["log_namespace"]).startswith("twisted_rsh")


def test_the_description_of_other_errors() -> None:
    """An error without a number is described in its own words."""
    line = describe(CannotListenError("", 80, OSError("why")))
    assert line == f"cannot listen on any address, port 80: why; {WAY_OUT}"
    assert describe(ValueError("why\n\x1b[1m")) == r"why\n\x1b[1m"
    assert describe(FileNotFoundError(2, "why", b"/a\xff\n")) == r"/a\udcff\n: why"
