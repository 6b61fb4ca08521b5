"""The options of the server for its audit log and its metrics, and a server that runs with them."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.serving import reactor
from tests.system.running import START_SECONDS, assert_one_line, running_server, wait_until
from twisted_rsh.tap import Options, makeService
from twisted_rsh.watching.audit import Audit
from twisted_rsh.watching.audit_file import DEFAULT_KEPT_FILES, DEFAULT_MAX_BYTES, AuditFile
from twisted_rsh.watching.entries import TextForm
from twisted_rsh.watching.metrics import Metrics
from twisted_rsh.watching.metrics_port import MetricsPlace, MetricsPort


def observers(folder: Path, *words: str) -> list[Any]:
    """Return the observers that a command line makes."""
    options = Options()
    options.parseOptions(["--port", "0", "--config-dir", str(folder), *words])
    service: Any = makeService(options, reactor)
    found: list[Any] = list(service._options.observers)
    return found


def test_nothing(tmp_path: Path) -> None:
    """A server without these options has no observers."""
    assert observers(tmp_path / "home") == []


def test_everything(tmp_path: Path) -> None:
    """O-07: every option reaches its observer."""
    log, place = tmp_path / "audit.log", MetricsPlace(path=str(tmp_path / "metrics.sock"))
    audit, metrics, port = observers(
        tmp_path / "home",
        *("--audit-log", str(log), "--audit-text", "hash", "--audit-max-bytes", "0"),
        *("--audit-keep", "3", "--audit-required", "--metrics", str(place)),
    )
    assert isinstance(audit, Audit)
    assert (audit._form, audit._is_required) == (TextForm.HASH, True)
    sink: Any = audit._sink
    assert (type(sink), sink._path, sink._max_bytes, sink._kept) == (AuditFile, str(log), 0, 3)
    assert isinstance(metrics, Metrics)
    assert isinstance(port, MetricsPort)
    assert (port._place, port._readers._metrics) == (place, metrics)
    sink.close()


def test_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """O-07: the log has no text of jobs unless told so; a relative name is of the folder in which the server starts."""
    monkeypatch.chdir(tmp_path)
    (audit,) = observers(tmp_path / "home", "--audit-log", "audit.log")
    monkeypatch.chdir("/")
    assert (audit._form, audit._is_required) == (TextForm.NONE, False)
    assert (audit._sink._max_bytes, audit._sink._kept) == (DEFAULT_MAX_BYTES, DEFAULT_KEPT_FILES)
    assert audit._sink._path == str(tmp_path / "audit.log")
    audit._sink.close()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--audit-text", "none"), "--audit-text is for an audit log; name one with --audit-log"),
        (("--audit-max-bytes", "0"), "--audit-max-bytes is for an audit log"),
        (("--audit-keep", "1"), "--audit-keep is for an audit log"),
        (("--audit-required",), "--audit-required is for an audit log"),
        (("--audit-log", "x", "--audit-text", "some"), "--audit-text takes none, hash or full, not 'some'"),
        (("--audit-log", "x", "--audit-keep", "0"), "--audit-keep takes a whole number from 1 to 1000, not '0'"),
        (("--audit-log", "x", "--audit-keep", "1001"), "--audit-keep takes a whole number from 1 to 1000"),
        (("--audit-log", "x", "--audit-max-bytes", "-1"), "--audit-max-bytes takes a whole number from 0 to"),
        (("--audit-log", "/no/such/folder/x"), "No such file or directory"),
        (("--audit-log", "/dev/null"), "is not a regular file"),
        (("--audit-log", "/"), "is not a regular file"),
        (("--metrics", "0.0.0.0:9101"), "--metrics '0.0.0.0:9101' can be reached by other machines"),
        (("--metrics", "unix:/no/such/folder/x"), "choose another place with --metrics"),
    ],
)
def test_mistakes(words: tuple[str, ...], reason: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """O-07: a mistake is one line and status 2, before the server listens anywhere."""
    with pytest.raises(SystemExit) as exit_:
        observers(tmp_path / "home", *words)
    assert exit_.value.code == 2
    assert_one_line(capfd.readouterr().err.encode(), "twisted-rsh: ", reason)


def test_no_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """O-07: where no journal listens, the server does not start."""
    path = str(tmp_path / "socket")
    monkeypatch.setattr("twisted_rsh.watching.journal.Journal.__init__.__defaults__", (path,))
    with pytest.raises(SystemExit):
        observers(tmp_path / "home", "--audit-log", "journald")
    assert_one_line(capfd.readouterr().err.encode(), path, "no journal listens there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(path)
        (audit,) = observers(tmp_path / "home", "--audit-log", "journald")
        audit._sink.close()


@pytest.mark.real
def test_a_running_server(tmp_path: Path) -> None:
    """The program writes its log, opens it again at SIGHUP, serves metrics, and closes both at its end."""
    path, place = tmp_path / "audit.log", tmp_path / "metrics.sock"
    words = ("--audit-log", path.name, "--metrics", f"unix:{place}", "--audit-text", "full")
    with running_server(tmp_path, *words) as server:
        assert server.run("echo hi").stdout == b"hi\n"
        wait_until(lambda: b"job-ended" in path.read_bytes(), START_SECONDS, "the end of the job")
        with socket.socket(socket.AF_UNIX) as reader:
            reader.connect(str(place))
            reader.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            page = b"".join(iter(lambda: reader.recv(1 << 16), b""))
        assert b'twisted_rsh_jobs_ended_total{ending="exited",kind="command"} 1.0' in page
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        old = tmp_path / "audit.old"
        path.rename(old)
        os.kill(server.process.pid, signal.SIGHUP)
        wait_until(path.exists, START_SECONDS, "the new file")
        assert server.run("exit 3").returncode == 3
    entries = [json.loads(line) for each in (old, path) for line in each.read_bytes().splitlines()]
    assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1))
    assert entries[0]["event"] == "server-started"
    assert entries[-1]["event"] == "server-stopped"
    assert [entry["text"] for entry in entries if entry["event"] == "job-began"] == ["echo hi", "exit 3"]
    assert [entry["ending"]["code"] for entry in entries if entry["event"] == "job-ended"] == [0, 3]
    assert not place.exists()
