"""The server's command line: every option, and every refusal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from tests.command_lines import parsed, service_of
from tests.serving import asynchronous, reactor
from twisted_rsh.configuration.server_options import MAX_JOB_PROCESSES, MIN_JOB_MEMORY
from twisted_rsh.core.limits import MAX_CHANNELS, MAX_DETACH_SECONDS, MAX_WINDOW, MIN_WINDOW, SessionLimits
from twisted_rsh.execution.trees.limits import UsageLimits
from twisted_rsh.execution.trees.table import ProcessTable
from twisted_rsh.link.framed_link import LOGIN_SECONDS
from twisted_rsh.server import DEFAULT_PORT
from twisted_rsh.server.admission import DROP_START, MAX_UNAUTHENTICATED, MAX_UNAUTHENTICATED_PER_SOURCE
from twisted_rsh.server.capacity import (
    MAX_KEPT_JOBS,
    MAX_SESSIONS,
    MAX_SESSIONS_PER_KEY,
    MAX_UNREAD_INPUT_BYTES,
    MAX_UNREAD_OUTPUT_BYTES,
    MAX_WINDOW_GROWTH_BYTES,
)
from twisted_rsh.tap import _Endpoint, makeService
from twisted_rsh.trust.cred import IVerifiedKey
from twisted_rsh.trust.home import ConfigFolders


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """The folder for --config-dir."""
    return str(tmp_path / "home")


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
