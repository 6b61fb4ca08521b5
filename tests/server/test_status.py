"""``twisted-rsh status``: what it tells, that an answer is bounded, and how it is drawn."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.link.wire import client_key
from tests.server.rig import Rig
from tests.serving import Serving, asynchronous, reactor
from tests.system.running import CLIENT_SECONDS, RunningServer, assert_one_line, own_environment, running_server
from twisted_rsh.core.limits import MAX_CHANNELS, SessionLimits
from twisted_rsh.core.requests import KILL, Grace, JobRequest
from twisted_rsh.core.roles import Stream
from twisted_rsh.core.server_session import ServerSession
from twisted_rsh.manage.__main__ import main, parse_arguments
from twisted_rsh.manage.inviting import InviteOptions, invite
from twisted_rsh.manage.status import MAX_WATCH_SECONDS, MIN_WATCH_SECONDS, StatusOptions, collect_status, show_status
from twisted_rsh.manage.status_table import amount, duration, fit, safe, table
from twisted_rsh.server.admission import Admission
from twisted_rsh.server.control import MAX_PAGE_BYTES, _Commands
from twisted_rsh.server.control_client import Problem
from twisted_rsh.server.factory import MAX_LISTED_SOURCES
from twisted_rsh.server.job import ChannelJob
from twisted_rsh.server.job_line import MAX_LISTED_CHARACTERS
from twisted_rsh.server.session import LoggedIn
from twisted_rsh.server.sources import OWN_USER
from twisted_rsh.trust.cred import VerifiedKey
from twisted_rsh.trust.home import ConfigFolders

AMP_VALUE_BYTES = 65_535
"""Bytes that one value of AMP can have."""

REACTOR_SECONDS = 0.020
"""Seconds that one answer may hold the reactor."""


@pytest.mark.uncut("the status tells which sessions have a link")
@asynchronous
async def test_a_status(serving: Serving) -> None:
    """O-06: the status has the server's bounds with their use, each session with its bytes, and each job."""
    connection, _ = await serving.connect(), await serving.connect()
    assert (await connection.run("cat; echo no >&2", stdin=b"12345")).stdout == b"12345"
    job = connection.start(["sh", "-c", "echo hi; exec sleep 1000"], timeout=900.0, max_output=10**6)
    assert await job.stdout.read() == b"hi\n"
    status = await collect_status(reactor, serving.config.state)
    (server,) = status["servers"]
    assert (status["version"], server["port"], server["pid"]) == (1, serving.service.tcp_port, os.getpid())
    assert (server["key"], server["instance"]) == (serving.service.fingerprint, serving.service.instance_id)
    assert (server["attached"], server["detached"], server["jobs"]) == (2, 0, 1)
    used = {bound["option"]: (bound["used"], bound["allowed"], bound["unit"]) for bound in server["bounds"]}
    assert used["--max-sessions"] == (2, 4096, "sessions")
    assert used["--max-sessions-per-key"] == (2, 32, "sessions")
    assert used["--max-jobs-per-session"] == (1, 64, "jobs")
    assert used["--max-unread-input"] == (1 << 18, 1 << 28, "bytes")
    assert used["--max-unread-output"] == (1 << 19, 1 << 29, "bytes")
    assert used["--max-kept-jobs"] == (0, 256, "jobs")
    assert used["--max-unauthenticated"] == (0, 100, "connections")
    assert set(used) >= {"--max-unauthenticated-per-source", "--max-window-growth"}
    busy, idle = server["sessions"]
    assert (busy["stdin"], busy["stdout"], busy["stderr"]) == (5, 5 + 3, 3)
    assert (idle["stdin"], idle["jobs"]) == (0, [])
    assert busy["age"] >= busy["seconds"] >= 0
    (shown,) = busy["jobs"]
    assert (shown["text"], shown["kind"]) == (ascii(["sh", "-c", "echo hi; exec sleep 1000"]), "argv")
    assert shown["limits"] == {"timeout": 900.0, "max_output": 10**6}
    text = await show_status(reactor, StatusOptions(config_dir=serving.config.state))
    assert "2 sessions attached, 0 detached, 1 jobs" in text
    assert f"pid {shown['pid']} 0:00:0" in text
    assert "timeout=900 max_output=1000000 ['sh', '-c'" in text
    assert json.loads(await show_status(reactor, StatusOptions(config_dir=serving.config.state, as_json=True)))
    job.close()
    await job.wait()


LARGEST = JobRequest(command="\\" * 500, timeout=123_456.789, max_output=2**60, max_cpu=123_456.789, max_memory=2**60)
"""A request whose description is as long as one can be: each character of its command becomes four."""


def login(number: int) -> LoggedIn:
    """Return the result of a login, with a name and an address as long as they are usual."""
    key = client_key()
    credentials = VerifiedKey("ada", key.blob, key.fingerprint, f"192.0.2.{number % 256}:50000")
    user = Rig().user
    return LoggedIn(user, lambda: None, credentials, "ada", user)


def crowd(count: int, jobs: int = 1) -> Rig:
    """Return a server that has many sessions, each with jobs whose commands are long."""
    rig = Rig(SessionLimits(max_channels=MAX_CHANNELS))
    sessions, logged_in = rig.factory.sessions, login(1)
    for _ in range(count):
        core = ServerSession(rig.limits, rig.clock.seconds())
        session = sessions.begin(sessions.new_identifier(), core, b"x" * 32, logged_in)
        for channel in range(1, jobs + 1):
            job = ChannelJob(session, channel, LARGEST, Grace(123_456.789))
            job._bytes = dict.fromkeys(Stream, 2**60)
            session.jobs._jobs[channel] = job
    return rig


def pages(rig: Rig) -> Iterator[dict[str, Any]]:
    """Ask for all sessions as the program does."""
    commands = _Commands(rig.factory)
    last, more = 0, True
    while more:
        answer: dict[str, Any] = commands.next_sessions(last)
        yield answer
        last, more = answer["last"], answer["more"]


@asynchronous
async def test_a_server_with_a_unix_socket_alone(config: ConfigFolders, tmp_path: Path) -> None:
    """It is found like any other, and has no port; no invitation is for it."""
    serving = Serving(config)
    serving.service._options = type(serving.service._options)(interfaces=[], socket=str(tmp_path / "socket"))
    await serving.start()
    status = await collect_status(reactor, config.config)
    assert [server["port"] for server in status["servers"]] == [None]
    assert table(status)[0].startswith(f"Unix socket: pid {os.getpid()}, ")
    with pytest.raises(Problem, match="no server of this account runs"):
        await invite(reactor, InviteOptions(config_dir=config.config))
    await serving.stop()
    assert (await collect_status(reactor, config.config))["servers"] == []


def test_two_thousand_sessions() -> None:
    """O-06: the sessions come in pages that AMP can carry, each in less than 20 ms of the reactor, none is missing."""
    rig = crowd(2000)
    answers = list(pages(rig))
    found = [session["id"] for answer in answers for session in json.loads(answer["sessions"])]
    assert found == [session.identifier.hex() for session in rig.factory.sessions]
    assert max(len(answer["sessions"]) for answer in answers) <= AMP_VALUE_BYTES
    assert len(answers) < 50
    commands = _Commands(rig.factory)
    for last in (0, answers[-2]["last"]):
        assert min(cost(commands.next_sessions, last) for _ in range(5)) < REACTOR_SECONDS
    assert min(cost(commands.status) for _ in range(5)) < REACTOR_SECONDS


def cost(call: Any, *arguments: Any) -> float:
    """Return the seconds of this thread's processor time that a call takes."""
    began = time.thread_time()
    call(*arguments)
    return time.thread_time() - began


def test_a_session_that_is_too_large() -> None:
    """O-06: a session with as many jobs as there may be fits into an answer, which says how many jobs are missing."""
    (answer,) = pages(crowd(1, MAX_CHANNELS))
    (session,) = json.loads(answer["sessions"])
    assert len(answer["sessions"]) <= AMP_VALUE_BYTES
    assert len(session["jobs"]) + session.get("jobs_left_out", 0) == MAX_CHANNELS
    assert len(session["jobs"]) > 50
    assert all(len(job["text"]) <= MAX_LISTED_CHARACTERS + len("...") for job in session["jobs"])
    assert f"and {session['jobs_left_out']} more jobs" in "\n".join(table(status_of(session)))
    whole = list(pages(crowd(1, 10)))
    assert "jobs_left_out" not in json.loads(whole[0]["sessions"])[0]
    assert len(whole[0]["sessions"]) < MAX_PAGE_BYTES


def test_long_words_are_cut() -> None:
    """O-06: of the words of a command line no more is looked at than is shown."""
    request = JobRequest(argv=("x" * 100_000, *["y"] * 1000))
    session = next(iter(crowd(1, 0).factory.sessions))
    text = str(ChannelJob(session, 1, request, KILL).describe()["text"])
    assert text == "['" + "x" * (MAX_LISTED_CHARACTERS - 2) + "..."


def test_sessions_that_end_between_two_pages() -> None:
    """O-06: a page behind a session that has ended meanwhile begins with the next one."""
    rig = crowd(4)
    first, second, *_ = rig.factory.sessions
    first.end("a test")
    second.end("a test")
    answer = _Commands(rig.factory).next_sessions(second.number)
    assert len(json.loads(str(answer["sessions"]))) == 2


def test_who_waits() -> None:
    """O-06: the status tells which sources have connections without a login, and how many sources it leaves out."""
    rig = Rig(max_unauthenticated=100, drop_start=100)
    strangers = rig.factory.strangers
    for number in range(MAX_LISTED_SOURCES + 5):
        strangers.admission.admit(f"192.0.2.{number}")
    for source in ("192.0.2.7", OWN_USER, OWN_USER, OWN_USER, None):
        strangers.admission.admit(source)
    waiting: Any = rig.factory.describe()["waiting"]
    assert waiting["sources"][:2] == [
        {"source": OWN_USER, "connections": 3},
        {"source": "192.0.2.7", "connections": 2},
    ]
    assert len(waiting["sources"]) == MAX_LISTED_SOURCES
    assert (waiting["connections"], waiting["sources_left_out"]) == (MAX_LISTED_SOURCES + 10, 7)
    admission: Admission = strangers.admission
    per_source = admission.bounds()[1]
    assert (per_source.option, per_source.used) == ("--max-unauthenticated-per-source", 2)


# The table.


def status_of(*sessions: dict[str, Any]) -> dict[str, Any]:
    """Return a status with some sessions."""
    server = {"port": 1, **Rig().factory.describe(), "sessions": list(sessions)}
    return {"version": 1, "servers": [server], "problems": []}


def test_no_text_of_others_reaches_the_terminal() -> None:
    """C-03: names, addresses and commands are shown in printable ASCII, so that each takes as many columns as it has
    characters."""
    evil = "\x1b[31m\N{SNOWMAN}\u4e2d\u202e\n"
    job = {
        "channel": 1,
        "kind": evil,
        "pid": 7,
        "seconds": 3.0,
        "stdin": 0,
        "stdout": 2048,
        "stderr": 0,
        "on_disconnect": evil,
        "text": evil,
        "limits": {evil: 1},
    }
    session = {
        "id": "ab" * 16,
        "user": evil,
        "key": "SHA256:" + "x" * 43,
        "peer": evil,
        "attached": False,
        "seconds": 61,
        "age": 3600,
        "stdin": 1,
        "stdout": 1536,
        "stderr": 10**9,
        "jobs": [job],
    }
    lines = table(status_of(session))
    assert all(line.isascii() and line.isprintable() for line in lines)
    row = next(line for line in lines if line.startswith("abababab"))
    assert "detached  0:01:01  1:00:00  1   1.5K  954M" in row
    assert lines[lines.index(row) - 1].index("STATE") == row.index("detached")
    assert safe(evil) == r"\x1b[31m\u2603\u4e2d\u202e\n"


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0"), (1023, "1023"), (1024, "1.0K"), (10 * 1024, "10K"), (2**40, "1.0T"), (2**60, "1024P")]
)
def test_amounts(size: int, text: str) -> None:
    """Bytes are shown with at most four digits."""
    assert amount(size) == text


def test_fitting() -> None:
    """A table that is larger than the terminal is cut on the right, and below it says how much is missing."""
    assert duration(3_661.9) == "1:01:01"
    lines = [f"line {number}" for number in range(10)]
    assert fit(lines, 80, 10) == lines
    assert fit(lines, 6, 4) == ["line 0", "line 1", "line 2", "... 7 "]


# The program.


@pytest.mark.parametrize("seconds", ["x", str(MIN_WATCH_SECONDS / 2), str(MAX_WATCH_SECONDS + 1), "nan"])
def test_mistakes(seconds: str, capfd: pytest.CaptureFixture[str]) -> None:
    """O-07: a wrong time is one line and status 2."""
    with pytest.raises(SystemExit) as exit_:
        main(["status", "--watch", seconds])
    assert exit_.value.code == 2
    assert_one_line(capfd.readouterr().err.encode(), "twisted-rsh: ", "--watch", repr(seconds))


def test_options() -> None:
    """O-07: the program reads every option, and has a default for each."""
    assert parse_arguments(["status"]) == StatusOptions()
    assert parse_arguments(["status", "--json", "--watch"]) == StatusOptions(as_json=True, watch=2.0)
    for seconds in (MIN_WATCH_SECONDS, MAX_WATCH_SECONDS):
        assert parse_arguments(["status", "--watch", str(seconds)]) == StatusOptions(watch=seconds)


def watch(server: RunningServer, *words: str, **how: Any) -> subprocess.Popen[bytes]:
    """Start the program."""
    command = [sys.executable, "-m", "twisted_rsh.manage", "status", "--config-dir", str(server.config), *words]
    return subprocess.Popen(command, env=own_environment(server.config.parent, TERM="xterm"), **how)


@pytest.mark.real
def test_watching(tmp_path: Path) -> None:
    """O-06: the table is repeated for a pipe, Ctrl-C ends that with 0, and so does the end of its reader."""
    pipe = subprocess.PIPE
    with running_server(tmp_path) as server:
        with watch(server, "--watch", "0.1", stdout=pipe, stderr=pipe) as program:
            assert program.stdout is not None
            lines = [program.stdout.readline() for _ in range(40)]
            program.send_signal(signal.SIGINT)
            program.communicate(timeout=CLIENT_SECONDS)
            assert program.returncode == 0
            assert sum(line.startswith(b"port ") for line in lines) > 1
            assert b"\x1b" not in b"".join(lines)
        with watch(server, "--watch", "0.1", "--json", stdout=pipe, stderr=pipe) as program:
            assert program.stdout is not None
            for _ in range(2):
                assert json.loads(program.stdout.readline())["version"] == 1
            program.stdout.close()
            assert program.wait(CLIENT_SECONDS) == 0
            assert program.stderr is not None
            assert program.stderr.read() == b""


@pytest.mark.real
def test_a_live_table(tmp_path: Path) -> None:
    """O-06: on a terminal the table is drawn over the last one in the terminal's size; Ctrl-C restores the screen.

    So does Ctrl-Z, and the table is drawn again when the program goes on.
    """
    ours, theirs = pty.openpty()
    resize(theirs, 24, 80)
    with (
        running_server(tmp_path) as server,
        watch(server, "--watch", "0.1", stdin=theirs, stdout=theirs, start_new_session=True) as program,
    ):
        os.close(theirs)
        screen = read_until(ours, b"\x1b[J", b"")
        assert screen.startswith(b"\x1b[?1049h\x1b[?25l\x1b[H")
        assert b"\n" not in screen.replace(b"\r\n", b"")
        first = screen.partition(b"\x1b[H")[2].split(b"\x1b[K")
        assert max(map(len, first)) <= 80 + len(b"\r\n")
        resize(ours, 4, 20)
        screen = read_until(ours, b"more lin", b"")
        read_until(ours, b"\x1b[J", screen)
        program.send_signal(signal.SIGTSTP)  # it stops no process of a session without a shell
        read_until(ours, b"\x1b[?25h\x1b[?1049l\x1b[?1049h\x1b[?25l\x1b[H", b"")
        program.send_signal(signal.SIGINT)
        rest = read_until(ours, b"\x1b[?1049l", b"")
        assert rest.endswith(b"\x1b[?25h\x1b[?1049l")
        assert program.wait(CLIENT_SECONDS) == 0
    os.close(ours)


def resize(terminal: int, rows: int, columns: int) -> None:
    """Give a terminal another size."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


def read_until(terminal: int, end: bytes, seen: bytes) -> bytes:
    """Read what a program shows until it has shown something."""
    deadline = time.monotonic() + CLIENT_SECONDS
    while end not in seen:
        assert time.monotonic() < deadline, seen[-1000:]
        with contextlib.suppress(OSError):
            seen += os.read(terminal, 1)
    return seen


def test_no_reader(tmp_path: Path) -> None:
    """O-06: a list that no process reads is no failure."""
    command = [sys.executable, "-m", "twisted_rsh.manage", "status", "--config-dir", str(tmp_path / "rsh")]
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, env=own_environment(tmp_path))
    os.close(theirs)
    assert (done.returncode, done.stderr) == (0, b"")
