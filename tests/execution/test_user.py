"""The user of a stand-alone server: on which systems there can be one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.execution.owners import reactor
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.processes.spawn import UnsupportedSystem, check_system
from twisted_rsh.execution.user import LocalUser
from twisted_rsh.tap import Options, makeService


def test_this_system() -> None:
    """The tests run on Linux or a recent macOS, where posix_spawn makes sessions."""
    check_system()


@pytest.mark.parametrize(
    "error",
    [
        NotImplementedError("posix_spawn: setsid unavailable on this platform"),
        OSError(errno.EINVAL, "Invalid argument"),
    ],
)
def test_system_without_sessions(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """There is no user where posix_spawn makes no sessions."""

    def fail(*args: object, setsid: bool = False) -> int:
        raise error if setsid else AssertionError("the attempt asks for a session")

    monkeypatch.setattr(os, "posix_spawn", fail)
    with pytest.raises(UnsupportedSystem):
        LocalUser(reactor, Account.current(os.environ))


def test_system_that_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure that may pass, such as too many processes, says nothing about the system."""

    def fail(*args: object, setsid: bool) -> int:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "posix_spawn", fail)
    check_system()


def test_system_that_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A posix_spawn whose child exits with 127 instead of an error will not do; the child is reaped."""
    real = os.posix_spawn
    pids: list[int] = []

    def spawn(*args: object, setsid: bool) -> int:
        pids.append(real("/bin/sh", ["sh", "-c", "exit 127"], {}))
        return pids[0]

    monkeypatch.setattr(os, "posix_spawn", spawn)
    with pytest.raises(UnsupportedSystem):
        check_system()
    with pytest.raises(ChildProcessError):
        os.waitpid(pids[0], 0)


def test_server_without_posix_spawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A server refuses to start with one line where the system has no posix_spawn."""
    monkeypatch.delattr(os, "posix_spawn")
    options = Options()
    options.parseOptions(["--config-dir", str(tmp_path / "config"), "--port", "0"])
    with pytest.raises(SystemExit) as caught:
        makeService(options)
    assert caught.value.code == 2
    assert capfd.readouterr().err == (
        "twisted-rsh: this system has no posix_spawn that makes sessions (POSIX_SPAWN_SETSID) and reports failures; "
        "twisted-rsh needs a POSIX system that has it\n"
    )
