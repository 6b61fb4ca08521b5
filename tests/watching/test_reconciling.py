"""The audit log of a real server, read back and compared with what its clients saw."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred, gatherResults

from tests.server.waiting import until
from tests.serving import Serving, asynchronous, cut, reactor
from twisted_rsh import Connection, Keep, LoginRefused, Terminal, connect, load_or_create_client_key
from twisted_rsh.core.requests import Grace
from twisted_rsh.manage.status import collect_status
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.watching.audit import Audit
from twisted_rsh.watching.audit_file import AuditFile
from twisted_rsh.watching.entries import TextForm


@dataclass
class Job:
    """One job as the log tells it.

    :ivar began: the entries about its beginning.
    :ivar ended: those about its end.
    """

    began: list[dict[str, Any]]
    ended: list[dict[str, Any]]

    @property
    def streams(self) -> tuple[int, int, int]:
        """The bytes of its streams."""
        (end,) = self.ended
        return end["stdin"], end["stdout"], end["stderr"]

    @property
    def kind(self) -> str:
        """The kind of its ending."""
        (end,) = self.ended
        return str(end["ending"]["kind"])


def read(path: Path) -> list[dict[str, Any]]:
    """Read the log, whose entries must be numbered without a gap."""
    entries = [json.loads(line) for line in path.read_text("ascii").splitlines()]
    assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1))
    return entries


def jobs_of(entries: list[dict[str, Any]]) -> dict[tuple[str, int], Job]:
    """Return the jobs of a log by their sessions and numbers."""
    jobs: dict[tuple[str, int], Job] = {}
    for entry in entries:
        if entry["event"] in ("job-began", "job-ended"):
            job = jobs.setdefault((entry["session"], entry["job"]), Job([], []))
            (job.began if entry["event"] == "job-began" else job.ended).append(entry)
    return jobs


async def run_all_kinds(connection: Connection) -> dict[str, tuple[str, int, int, int]]:
    """Run jobs of all kinds and endings, at once; return for each text its ending and the bytes that the client saw."""
    plain: dict[str, dict[str, Any]] = {
        "exit 3": {},
        "cat; cat >&2 <&-; echo no >&2": {"stdin": b"x" * 100_000},
        "kill -9 $$": {},
        "echo on; exec sleep 1000": {"timeout": 0.5},
        "yes": {"max_output": 70_000},
        "cd /no-such-folder": {"cwd": "/no-such-folder"},
        "seq 20000; seq 100 >&2": {},
    }
    kinds = ("exited", "exited", "signalled", "timed-out", "limit", "refused", "exited")
    results = await gatherResults([ensureDeferred(connection.run(text, **how)) for text, how in plain.items()])
    seen = {}
    for (text, how), kind, result in zip(plain.items(), kinds, results, strict=True):
        seen[text] = (kind, len(how.get("stdin", b"")), len(result.stdout), len(result.stderr))
    missing = await connection.run(["/no-such-program"])
    seen["/no-such-program"] = ("refused", 0, len(missing.stdout), len(missing.stderr))
    on_terminal = await connection.run("tty >/dev/null && echo yes", terminal=Terminal())
    seen["tty >/dev/null && echo yes"] = ("exited", 0, len(on_terminal.stdout), 0)
    return seen


@asynchronous
async def test_every_job_is_there_once(config: ConfigFolders, tmp_path: Path) -> None:
    """Each job has one beginning and one end, with the ending and the bytes that its client saw, through cuts."""
    path = tmp_path / "audit.log"
    serving = Serving(config, observers=[Audit(AuditFile(str(path)), TextForm.FULL)])
    await serving.start()
    connections = [await serving.connect() for _ in range(3)]
    running = gatherResults([ensureDeferred(run_all_kinds(connection)) for connection in connections])
    for connection in connections:
        if connection.connected:
            cut(connection)
    seen: list[dict[str, tuple[str, int, int, int]]] = await running
    (server,) = (await collect_status(reactor, config.state))["servers"]
    listed = {session["id"] for session in server["sessions"]}
    await serving.stop()

    entries = read(path)
    jobs = jobs_of(entries)
    assert all((len(job.began), len(job.ended)) == (1, 1) for job in jobs.values())
    told = Counter((text(job.began[0]), job.kind, *job.streams) for job in jobs.values())
    assert told == Counter((text, *how) for each in seen for text, how in each.items())
    assert {session for session, _ in jobs} == listed
    events = Counter(entry["event"] for entry in entries)
    assert events["server-started"] == events["server-stopped"] == 1
    assert events["session-began"] == events["session-ended"] == len(connections)
    assert events["session-resumed"] >= len(connections)
    for ended in (entry for entry in entries if entry["event"] == "session-ended"):
        of = [job.streams for (session, _), job in jobs.items() if session == ended["session"]]
        assert [ended[name] for name in ("stdin", "stdout", "stderr")] == [
            sum(sizes) for sizes in zip(*of, strict=True)
        ]
    assert entries[-1]["event"] == "server-stopped"


def text(began: dict[str, Any]) -> str:
    """Return what a job ran; of a list the first word."""
    return str(began["text"] if isinstance(began["text"], str) else began["text"][0])


@pytest.mark.uncut("the sessions lose their connections when the test says so")
@asynchronous
async def test_jobs_without_a_client(config: ConfigFolders, tmp_path: Path) -> None:
    """Jobs that outlive their clients, or end with them, and commands of a shell have one end each."""
    path = tmp_path / "audit.log"
    serving = Serving(config, observers=[Audit(AuditFile(str(path)))])
    await serving.start()
    kept, killed, shell_user = [await serving.connect() for _ in range(3)]
    job = kept.start("read gone; echo late", on_disconnect=Keep())
    await job.when_started()
    await kept.close()
    doomed = killed.start("exec sleep 1000", on_disconnect=Grace(0.0))
    await doomed.when_started()
    cut(killed)
    await doomed.wait()
    shell = await shell_user.open_shell()
    assert (await shell.run("echo hi")).stdout == b"hi\n"
    refused = await shell_user.run("true", on_disconnect=Grace(10.0**6))
    assert refused.ending.__class__.__name__ == "Refused"
    shell.leave()
    await shell.wait()
    stranger = ConfigFolders.at(str(tmp_path / "stranger"))
    load_or_create_client_key(stranger)
    with pytest.raises(LoginRefused):
        pin = serving.service.fingerprint
        await connect(reactor, "127.0.0.1", serving.port, config=stranger, fingerprint=pin)
    await until(lambda: path.read_bytes().count(b"job-ended") >= 5)
    await serving.stop()
    entries = read(path)
    jobs = jobs_of(entries)
    assert len(jobs) == 5
    assert all((len(one.began), len(one.ended)) == (1, 1) for one in jobs.values())
    assert sorted(one.kind for one in jobs.values()) == ["exited", "exited", "exited", "refused", "signalled"]
    assert [entry["reason"] for entry in entries if entry["event"] == "refused"] == ["key"]
    assert b"read gone" not in path.read_bytes()
    commands = [one for one in jobs.values() if one.began[0]["in_shell"] is not None]
    assert [one.streams for one in commands] == [(0, 3, 0)]
