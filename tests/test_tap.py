"""The server's command line: every option, every refusal, and what a stand-alone server does when it starts."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ReactorNotRunning
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, LogLevel, formatEvent

from tests.link.wire import collecting_log
from tests.serving import asynchronous, reactor
from twisted_rsh.configuration.server_options import MAX_JOB_PROCESSES, MIN_JOB_MEMORY
from twisted_rsh.core.limits import MAX_CHANNELS, MAX_DETACH_SECONDS, MAX_WINDOW, MIN_WINDOW, SessionLimits
from twisted_rsh.execution.trees.limits import UsageLimits
from twisted_rsh.execution.trees.table import ProcessTable
from twisted_rsh.link.framed_link import LOGIN_SECONDS
from twisted_rsh.server import DEFAULT_PORT, RemoteShellService, ServiceOptions, stand_alone
from twisted_rsh.server.admission import DROP_START, MAX_UNAUTHENTICATED, MAX_UNAUTHENTICATED_PER_SOURCE
from twisted_rsh.server.capacity import (
    MAX_KEPT_JOBS,
    MAX_SESSIONS,
    MAX_SESSIONS_PER_KEY,
    MAX_UNREAD_INPUT_BYTES,
    MAX_UNREAD_OUTPUT_BYTES,
    MAX_WINDOW_GROWTH_BYTES,
)
from twisted_rsh.server.exposure import show_address
from twisted_rsh.server.launcher import Launcher
from twisted_rsh.server.stand_alone import describe
from twisted_rsh.tap import Options, _Endpoint, makeService
from twisted_rsh.trust.cred import IVerifiedKey
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.records import read_record

WAY_OUT = "choose another place with --interface, --port or --listen"
"""The end of the line about a port that cannot be had."""


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """The folder for --config-dir."""
    return str(tmp_path / "home")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of another program."""
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        yield squatter.getsockname()[1]


def parsed(*words: str) -> Options:
    """Return the options of a command line."""
    options = Options()
    options.parseOptions(list(words))
    return options


def service_of(*words: str) -> RemoteShellService:
    """Return the service that a command line makes."""
    service = makeService(parsed(*words), reactor)
    assert isinstance(service, RemoteShellService)
    return service


def refusal(capfd: pytest.CaptureFixture[str], *words: str, make: bool = False) -> str:
    """Return the one line with which a command line is refused."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as exit_:
        service_of(*words) if make else parsed(*words)
    assert exit_.value.code == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("twisted-rsh: ")
    assert err.count("\n") == 1
    assert err.strip().isprintable()
    return err


def test_nothing_said() -> None:
    """O-07: without an option everything has its documented default."""
    options = parsed()
    assert dict(options) == {
        "port": DEFAULT_PORT,
        "config-dir": None,
        "config": None,
        "check": 0,
        "show": 0,
        "log-level": "info",
        "shell": None,
        "encoding": None,
        "login-timeout": LOGIN_SECONDS,
        "max-unauthenticated": MAX_UNAUTHENTICATED,
        "max-unauthenticated-per-source": MAX_UNAUTHENTICATED_PER_SOURCE,
        "drop-start": DROP_START,
        "max-sessions": MAX_SESSIONS,
        "max-sessions-per-key": MAX_SESSIONS_PER_KEY,
        "max-unread-input": MAX_UNREAD_INPUT_BYTES,
        "max-unread-output": MAX_UNREAD_OUTPUT_BYTES,
        "max-kept-jobs": MAX_KEPT_JOBS,
        "max-jobs-per-session": SessionLimits().max_channels,
        "max-processes-per-job": None,
        "max-memory-per-job": None,
        "max-cpu-per-job": None,
        "window": SessionLimits().window,
        "max-window-growth": MAX_WINDOW_GROWTH_BYTES,
        "keepalive": SessionLimits().keepalive_interval,
        "detach-timeout": SessionLimits().detach_seconds,
        "cgroups": "auto",
        "socket": "auto",
        "sftp": "system",
        "revoked-keys": None,
        "ssh-authorized-keys": 0,
        "audit-log": None,
        "audit-text": None,
        "audit-max-bytes": None,
        "audit-keep": None,
        "metrics": None,
        "audit-required": 0,
        "debuggable": 0,
        "log-commands": 0,
        "no-penalties": 0,
        "interfaces": [],
        "listen": [],
    }


def test_everything_said(folder: str) -> None:
    """O-07: every option reaches the service."""
    service = service_of(
        *("--port", "0", "--config-dir", folder, "--shell", "/bin/sh", "--encoding", "gbk", "--login-timeout", "2.5"),
        *("--max-unauthenticated", "7", "--max-jobs-per-session", "8", "--window", "4096", "--keepalive", "9"),
        *("--max-sessions-per-key", "6", "--max-unread-input", str(MAX_WINDOW), "--detach-timeout", "86400"),
        *("--max-unauthenticated-per-source", "5", "--no-penalties", "--drop-start", "4", "--max-sessions", "3"),
        *("--max-unread-output", str(2 * MAX_WINDOW), "--max-kept-jobs", "2"),
        *("--max-window-growth", "12345"),
        *("--log-commands", "-i", "127.0.0.1", "--interface", "::1", "-l", "unix:/x", "--listen", "tcp:1"),
    )
    options = service._options
    assert (options.port, options.interfaces) == (0, ["127.0.0.1", "::1"])
    assert len(options.endpoints) == 2
    assert options.limits == SessionLimits(window=4096, max_channels=8, keepalive_interval=9, detach_seconds=86400)
    assert (options.login_timeout, options.max_unauthenticated, options.log_commands) == (2.5, 7, True)
    assert (options.max_sessions_per_key, options.max_unread_input) == (6, MAX_WINDOW)
    assert (options.max_unauthenticated_per_source, options.penalties) == (5, False)
    strangers = service._factory.strangers
    assert (strangers.admission._per_source, strangers._punishes) == (5, False)
    assert (options.drop_start, strangers.admission._strangers.start) == (4, 4)
    assert (options.max_sessions, options.max_unread_output, options.max_kept_jobs) == (3, 2 * MAX_WINDOW, 2)
    assert (options.max_window_growth, service._factory.capacity.reserve.size) == (12345, 12345)
    assert os.path.exists(ConfigFolders.at(folder).server_key_path)


def test_files_of_keys(folder: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """``--revoked-keys`` and ``--ssh-authorized-keys`` name files that decide about logins; a missing one is a line."""
    missing = str(tmp_path / "none")
    assert f"--revoked-keys '{missing}' is not a file" in refusal(capfd, "--revoked-keys", missing)
    listed = tmp_path / "revoked"
    listed.touch()
    words = ["--port", "0", "--config-dir", folder, "--revoked-keys", str(listed), "--ssh-authorized-keys"]
    service: Any = service_of(*words)
    checker = service._factory.portal.checkers[IVerifiedKey]
    assert checker.paths[-1] == str(listed)
    assert checker.paths[-2].endswith("/.ssh/authorized_keys")
    assert list(service._key_watch._paths) == list(checker.paths)


def test_sftp(folder: str, capfd: pytest.CaptureFixture[str]) -> None:
    """O-07: the operator chooses what serves files; what cannot is refused by its name."""
    for choice in ("system", "own", "off", "/bin/cat"):
        service: Any = service_of("--port", "0", "--config-dir", folder, "--sftp", choice)
        assert service._factory.portal.realm._user._choices.sftp == choice
    assert "takes system, own, off or the absolute path of a program, not 'cat'" in refusal(capfd, "--sftp", "cat")
    for path in (folder, "/bin"):
        assert f"--sftp '{path}' is not a program that can be run" in refusal(capfd, "--sftp", path)


def test_socket(folder: str, capfd: pytest.CaptureFixture[str]) -> None:
    """O-07: the operator chooses the Unix socket, or none."""
    for choice, expected in (("auto", "auto"), ("off", None), ("/run/x.sock", "/run/x.sock")):
        service = service_of("--port", "0", "--config-dir", folder, "--socket", choice)
        assert service._options.socket == expected
    assert "takes auto, off or the absolute path of a socket, not 'x.sock'" in refusal(capfd, "--socket", "x.sock")


@pytest.mark.parametrize(("description", "mode"), [("unix:{}", 0o600), ("unix:{}:mode=640", 0o640)])
@asynchronous
async def test_a_unix_socket_of_listen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, description: str, mode: int
) -> None:
    """A socket of an endpoint string is its owner's alone unless told otherwise, and replaces no other kind of file."""
    monkeypatch.chdir(tmp_path)
    endpoint = _Endpoint(reactor, description.format("x"))
    port: Any = await endpoint.listen(Factory.forProtocol(Protocol))
    assert os.stat("x").st_mode & 0o777 == mode
    await port.stopListening()
    (tmp_path / "x").touch()
    with pytest.raises(CannotListenError, match="no socket"):
        await endpoint.listen(Factory.forProtocol(Protocol))


def test_control_group(folder: str, capfd: pytest.CaptureFixture[str]) -> None:
    """O-07: a server has a control group by default."""
    for choice, wanted in (("auto", True), ("never", False)):
        service: Any = service_of("--port", "0", "--config-dir", folder, "--cgroups", choice)
        assert (service._trees.control_group is not None) == wanted
    assert "takes auto or never, not 'always'" in refusal(capfd, "--cgroups", "always")


def test_bounds_of_a_job(folder: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """O-07: the bounds of a job reach the user who starts it; a system that cannot keep them is refused in one line."""
    words = ("--max-processes-per-job", "9", "--max-memory-per-job", str(2**30), "--max-cpu-per-job", "1.5")
    service: Any = service_of("--port", "0", "--config-dir", folder, *words)
    bounds = service._factory.portal.realm._user._bounds
    assert bounds == UsageLimits(cpu=1.5, memory=2**30, processes=9)
    monkeypatch.setattr(ProcessTable, "is_supported", property(lambda _: False, lambda _, value: None), raising=False)
    line = refusal(capfd, "--port", "0", "--config-dir", folder, *words, make=True)
    assert "this system has no /proc like Linux" in line
    assert service_of("--port", "0", "--config-dir", folder)


def test_short_options() -> None:
    """O-07: the port has a short form."""
    assert parsed("-p", "99")["port"] == 99


BOUNDS = {
    "--port": ("0", "65535", "-1", "65536"),
    "--max-unauthenticated": ("1", "1000000", "0", "1000001"),
    "--max-unauthenticated-per-source": ("1", "1000000", "0", "1000001"),
    "--max-sessions-per-key": ("1", "1000000", "0", "1000001"),
    "--drop-start": ("1", "1000000", "0", "1000001"),
    "--max-sessions": ("1", "1000000", "0", "1000001"),
    "--max-unread-output": (str(2 * MAX_WINDOW), str(2**50), str(2 * MAX_WINDOW - 1), str(2**50 + 1)),
    "--max-kept-jobs": ("0", "1000000", "-1", "1000001"),
    "--max-unread-input": (str(MAX_WINDOW), str(2**50), str(MAX_WINDOW - 1), str(2**50 + 1)),
    "--max-jobs-per-session": ("1", str(MAX_CHANNELS), "0", str(MAX_CHANNELS + 1)),
    "--detach-timeout": ("0", str(MAX_DETACH_SECONDS), "-1", str(MAX_DETACH_SECONDS + 1)),
    "--max-processes-per-job": ("1", str(MAX_JOB_PROCESSES), "0", str(MAX_JOB_PROCESSES + 1)),
    "--max-memory-per-job": (str(MIN_JOB_MEMORY), str(2**50), str(MIN_JOB_MEMORY - 1), str(2**50 + 1)),
    "--max-cpu-per-job": ("0.001", "1e9", "0", "inf"),
    "--window": (str(MIN_WINDOW), str(MAX_WINDOW), str(MIN_WINDOW - 1), str(MAX_WINDOW + 1)),
    "--max-window-growth": ("0", str(2**50), "-1", str(2**50 + 1)),
    "--login-timeout": ("0.001", "1e9", "0", "inf"),
    "--keepalive": ("0.001", "1e9", "-1", "nan"),
}


@pytest.mark.parametrize("option", BOUNDS)
def test_bounds(option: str, capfd: pytest.CaptureFixture[str]) -> None:
    """O-07: a number at a bound is taken; one beyond it, or other text, is refused in one line."""
    lowest, highest, *beyond = BOUNDS[option]
    for number in (lowest, highest):
        assert parsed(option, number)[option[2:]] == float(number)
    for number in (*beyond, "many", "", "1" * 5000):
        refusal(capfd, option, number)


@pytest.mark.parametrize(
    "words",
    [
        ("--no-such-option",),
        ("--no-such-option=1",),
        ("-z",),
        ("start",),
        ("a\x1b[31mred\nword",),
        ("--port",),
        ("--log-commands=yes",),
        ("--interface", "localhost"),
        ("--interface", "127.0.0.1:80"),
        ("--interface", ""),
        ("--encoding", "no-such-code-page"),
        ("--shell", "/no/such/shell"),
        ("--shell", "/"),
        ("--shell", "/etc/passwd"),
    ],
)
def test_mistakes(words: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    """O-07: a mistake ends the program with status 2 and one line, whatever characters it has."""
    refusal(capfd, *words)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--encoding", "hex"), "'hex'; name a code page such as utf-8 or gbk (--shell, --encoding)"),
        (("--encoding", "utf-16"), "'utf-16' is not a superset of ASCII; name a code page such as utf-8 or gbk"),
        (("--listen", "nonsense:"), "nonsense"),
        (("--listen", ""), "--listen"),
        (("--listen", "tcp:not-a-port"), "not-a-port"),
        (("--listen", "tcp"), "--listen"),
        (("--listen", "systemd:domain=INET:index=0"), "index=0': this server was started without such a socket"),
        (("--listen", "systemd:domain=INET:name=x"), "name=x': this server was started without such a socket"),
        (("--interface", "192.0.2.1"), "192.0.2.1"),
    ],
)
def test_refusals(words: tuple[str, ...], named: str, folder: str, capfd: pytest.CaptureFixture[str]) -> None:
    """O-07: a mistake that only the machine can find is refused in the same way, before the server listens."""
    assert named in refusal(capfd, "--config-dir", folder, "--port", "0", *words, make=True)


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


def test_a_relative_shell(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """O-07: --shell takes an absolute path."""
    (tmp_path / "sh").symlink_to("/bin/sh")
    monkeypatch.chdir(tmp_path)
    assert "--shell 'sh' is not an absolute path" in refusal(
        capfd, "--config-dir", folder, "--port", "0", "--shell", "sh", make=True
    )


def test_a_port_in_use(folder: str, taken: int, capfd: pytest.CaptureFixture[str]) -> None:
    """O-08: the line names the address and the port, and a server that does not start makes no key."""
    line = refusal(capfd, "--config-dir", folder, "--port", str(taken), "-i", "127.0.0.1", make=True)
    assert f"127.0.0.1, port {taken}" in line
    assert "in use" in line
    assert f"port {taken}" in refusal(capfd, "--config-dir", folder, "--port", str(taken), make=True)
    assert not os.path.exists(folder)


def test_an_unsafe_home(folder: str, capfd: pytest.CaptureFixture[str]) -> None:
    """O-01: the line names the command that makes the folder safe."""
    os.mkdir(folder)
    os.chmod(folder, 0o777)  # noqa: S103 - unsafe on purpose
    assert f"run: chmod go-w {folder}" in refusal(capfd, "--config-dir", folder, "--port", "0", make=True)


def test_a_home_that_cannot_be_made(capfd: pytest.CaptureFixture[str]) -> None:
    """O-01: an error of the operating system is one line."""
    refusal(capfd, "--config-dir", "/proc/no/such/folder", "--port", "0", make=True)


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


@asynchronous
async def test_the_installed_reactor(folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Called by twistd, the service takes the installed reactor, and the XDG folders by default."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    service = makeService(parsed("--port", "0"))
    service.startService()
    await deferLater(reactor, 0)
    assert os.listdir(tmp_path / "state" / "twisted-rsh" / "run")
    await service.stopService()
    assert os.listdir(tmp_path / "state" / "twisted-rsh" / "run") == []


def test_the_description_of_other_errors() -> None:
    """An error without a number is described in its own words."""
    line = describe(CannotListenError("", 80, OSError("why")))
    assert line == f"cannot listen on any address, port 80: why; {WAY_OUT}"
    assert describe(ValueError("why\n\x1b[1m")) == r"why\n\x1b[1m"
    assert describe(FileNotFoundError(2, "why", b"/a\xff\n")) == r"/a\udcff\n: why"
