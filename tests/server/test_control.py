"""The control socket: a server's own account lists and ends sessions, over a real socket, with the real program."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionClosed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, formatEvent
from twisted.protocols.amp import AMP
from twisted.python.failure import Failure

from tests.link.wire import failures
from tests.server.waiting import is_gone, until
from tests.serving import Serving, asynchronous, link_of, reactor
from tests.system.other_user import other_users_command, other_users_folder, require_other_user
from tests.system.running import START_SECONDS, assert_one_line, own_environment, running_server
from twisted_rsh.core.endings import OutcomeUnknown
from twisted_rsh.core.requests import Grace
from twisted_rsh.manage.__main__ import SessionOptions, main, manage_sessions, parse_arguments
from twisted_rsh.manage.status import StatusOptions, show_status
from twisted_rsh.server import control, control_client
from twisted_rsh.server.control import ENDED_BY_OWNER, EndSession, NextSessions, is_our_own_peer
from twisted_rsh.server.control_client import IncompleteAnswer, Problem
from twisted_rsh.trust.home import ConfigFolders

PROGRAM = "twisted_rsh.manage.__main__"


def options(config: ConfigFolders, *words: str) -> SessionOptions:
    """Return the options of a command line with a folder."""
    parsed = parse_arguments(["sessions", "--config-dir", config.state, *words])
    assert isinstance(parsed, SessionOptions)
    return parsed


async def listed(config: ConfigFolders) -> list[dict[str, Any]]:
    """List the sessions as a program does."""
    document: list[dict[str, Any]] = json.loads(await manage_sessions(reactor, options(config, "--json")))
    return document


async def problem(config: ConfigFolders, *words: str) -> str:
    """Return the one line with which a command line fails."""
    with pytest.raises(Problem) as raised:
        await manage_sessions(reactor, options(config, *words))
    assert str(raised.value).isprintable()
    return str(raised.value)


# The program's work, on a server in this process.


@pytest.mark.uncut("the list tells which sessions have a link")
@asynchronous
async def test_a_list(serving: Serving) -> None:
    """O-06: the list has each session with its account, key and jobs, as JSON and as a table."""
    assert await manage_sessions(reactor, options(serving.config)) == ""
    assert await listed(serving.config) == []
    shell, _ = await serving.connect(), await serving.connect()
    job = shell.start("echo $$; exec sleep 1000")
    pid = int(await job.stdout.read())
    one, two = sorted(await listed(serving.config), key=lambda session: -len(session["jobs"]))
    assert len(one["id"]) == 32
    assert one["id"] != two["id"]
    assert (one["user"], one["attached"], one["port"]) == (serving.account.name, True, serving.service.tcp_port)
    assert one["key"].startswith("SHA256:")
    (shown,) = one["jobs"]
    assert (shown["pid"], shown["kind"], shown["on_disconnect"]) == (pid, "command", "grace:60")
    assert (shown["stdin"], shown["stdout"], shown["stderr"]) == (0, len(f"{pid}\n"), 0)
    assert two["jobs"] == []
    text = await manage_sessions(reactor, options(serving.config))
    first = next(line for line in text.splitlines() if line.startswith(one["id"][:8]))
    assert serving.account.name in first
    assert one["key"][:15] in first
    assert one["key"] not in first
    assert "attached 0:00:0" in first
    assert f"  command  pid {pid}  grace:60  0:00:0" in text
    job.close()
    await job.wait()


@pytest.mark.uncut("the last word of a server that ends the session can be lost with its link")
@asynchronous
async def test_an_end(serving: Serving) -> None:
    """O-06: a session is ended by the beginning of its identifier, its client is told, and its process is gone."""
    shell, other = await serving.connect(), await serving.connect()
    job = shell.start("echo $$; exec sleep 1000")
    pid = int(await job.stdout.read())
    (session,) = [one for one in await listed(serving.config) if one["jobs"]]
    assert await manage_sessions(reactor, options(serving.config, "--end", session["id"][:12].upper())) == ""
    assert (await job.wait()).ending == OutcomeUnknown(ENDED_BY_OWNER)
    await until(lambda: is_gone(pid))
    assert len(await listed(serving.config)) == 1
    assert (await other.run("echo hi")).stdout == b"hi\n"


@pytest.mark.uncut("the session is told to end with its connection")
@asynchronous
async def test_a_session_without_a_link(serving: Serving) -> None:
    """O-06: a session without a link is listed and ended like any other."""
    connection = await serving.connect(resume=False)
    job = connection.start("exec sleep 1000", on_disconnect=Grace(60.0))
    await until(lambda: len(next(iter(serving.service._factory.sessions)).jobs.describe()) == 1)
    link_of(connection).tls.abortConnection()
    await job.wait()
    await until(lambda: next(iter(serving.service._factory.sessions)).detached_at is not None)
    assert "  detached 0:00:0" in await manage_sessions(reactor, options(serving.config))
    (session,) = await listed(serving.config)
    assert not session["attached"]
    await manage_sessions(reactor, options(serving.config, "--end", session["id"]))
    assert await listed(serving.config) == []
    await until(lambda: is_gone(session["jobs"][0]["pid"]))


@asynchronous
async def test_a_persistent_shell(serving: Serving) -> None:
    """O-06: a shell is listed with its process, and a command in it without one of its own."""
    connection = await serving.connect()
    remembering = await connection.open_shell()
    command = remembering.start("sleep 1000")
    await until(lambda: len(next(iter(serving.service._factory.sessions)).jobs.describe()) == 2)
    ((one, two),) = [session["jobs"] for session in await listed(serving.config)]
    assert (one["kind"], one["on_disconnect"]) == ("shell", "grace:3600")
    assert one["pid"] > 0
    assert (two["kind"], two["on_disconnect"], two["pid"]) == ("command", "grace:3600", None)
    text = await manage_sessions(reactor, options(serving.config))
    assert "  command  grace:3600  " in text
    command.close()
    await command.wait()


@asynchronous
async def test_what_cannot_be_done(serving: Serving, config: ConfigFolders) -> None:
    """O-06: a beginning that fits no session, or more than one, is one line, and ends nothing."""
    _ = await serving.connect(), await serving.connect()
    both = list(serving.service._factory.sessions)
    for number, session in enumerate(both):
        serving.service._factory.sessions._sessions.pop(session.identifier)
        session.identifier = b"\xab" + bytes([number]) * 15
        serving.service._factory.sessions._sessions[session.identifier] = session
    for words in ("ffff", "", "ab\x1b"):
        assert "there is no session" in await problem(config, "--end", words)
    assert "2 sessions begin with 'ab'" in await problem(config, "--end", "ab")
    assert len(await listed(config)) == 2


@asynchronous
async def test_one_that_has_ended_meanwhile(serving: Serving) -> None:
    """O-06: the server answers that there is no such session."""
    endpoint = UNIXClientEndpoint(reactor, serving.config.control_path(serving.service.tcp_port))
    client: Any = await connectProtocol(endpoint, AMP())
    assert await client.callRemote(EndSession, session="ab" * 16) == {"ended": False}
    assert await client.callRemote(NextSessions, after=1) == {"sessions": "[]", "last": 1, "more": False}
    client.transport.loseConnection()


@asynchronous
async def test_no_server(config: ConfigFolders, tmp_path: Path) -> None:
    """O-06: the list is empty where no server has ever run; a folder that cannot be read is one line."""
    assert await listed(config) == []
    state = tmp_path / "home"
    state.mkdir()
    (state / "run").write_text("")
    assert "Not a directory" in await problem(config)


@asynchronous
async def test_what_a_killed_server_leaves(config: ConfigFolders) -> None:
    """O-06: the list skips a killed server's socket, the next server on the port replaces it, and other files stay."""
    folder = Path(config.control_path(1)).parent
    folder.mkdir(parents=True, mode=0o700)
    os.chmod(config.state, 0o700)
    for name in ("1.sock", "x.sock", "2.json"):
        if name.endswith(".sock"):
            with socket.socket(socket.AF_UNIX) as left:
                left.bind(str(folder / name))
    assert await listed(config) == []
    serving = Serving(config)
    await serving.start()
    port = serving.service.tcp_port
    assert await listed(config) == []
    await serving.stop()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(config.control_path(port))
    again = Serving(config)
    again.service._options = type(again.service._options)(port=port, interfaces=["127.0.0.1"])
    await again.start()
    _ = await again.connect()
    assert len(await listed(config)) == 1
    await again.stop()
    assert sorted(os.listdir(folder)) == ["1.sock", "x.sock"]


# The socket.


@asynchronous
async def test_the_socket_is_private(serving: Serving) -> None:
    """O-02: the modes of the socket and of its folder keep every other account out."""
    path = serving.config.control_path(serving.service.tcp_port)
    assert stat.S_IMODE(os.lstat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.lstat(os.path.dirname(path)).st_mode) == 0o700


@asynchronous
async def test_a_server_that_came_after(config: ConfigFolders) -> None:
    """O-08: a server that stops removes its own socket alone, and stops as well when its socket is gone."""
    serving = Serving(config)
    await serving.start()
    path = config.control_path(serving.service.tcp_port)
    os.unlink(path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        await serving.stop()
        assert os.path.exists(path)
    os.unlink(path)
    serving = Serving(config)
    await serving.start()
    os.unlink(config.control_path(serving.service.tcp_port))
    await serving.stop()


@asynchronous
async def test_a_name_too_long_for_a_socket(tmp_path: Path, logged: list[LogEvent]) -> None:
    """O-08: the server still serves, and logs that it cannot be managed."""
    serving = Serving(ConfigFolders.at(str(tmp_path / ("x" * 120))))
    await serving.start()
    connection = await serving.connect()
    assert (await connection.run("echo hi")).stdout == b"hi\n"
    await serving.stop()
    assert any("will not find this server" in formatEvent(event) for event in logged)
    assert failures(logged) == []


@asynchronous
async def test_a_file_in_the_way(config: ConfigFolders, logged: list[LogEvent]) -> None:
    """O-08: the server does not remove a file that is no socket."""
    serving = Serving(config)
    await serving.start()
    port = serving.service.tcp_port
    await serving.stop()
    Path(config.control_path(port)).write_text("precious")
    again = Serving(config)
    again.service._options = type(again.service._options)(port=port, interfaces=["127.0.0.1"])
    await again.start()
    await again.stop()
    assert Path(config.control_path(port)).read_text() == "precious"
    assert any("will not find this server" in formatEvent(event) for event in logged)


class Somebody:
    """A transport whose other end belongs to another user, or is unknown."""

    def __init__(self, uid: int) -> None:
        self.credentials = struct.pack("3i", 1, uid, 0)

    def getHandle(self) -> Somebody:
        """Return the object that has the socket option."""
        return self

    def getsockopt(self, *_arguments: int) -> bytes:
        """Return the credentials."""
        return self.credentials


def test_whose_end_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """O-06: the other end's uid counts where the system knows it."""
    monkeypatch.setattr(socket, "SO_PEERCRED", 17, raising=False)
    assert is_our_own_peer(Somebody(os.geteuid()))
    assert not is_our_own_peer(Somebody(os.geteuid() + 1))
    monkeypatch.delattr(socket, "SO_PEERCRED")
    assert is_our_own_peer(Somebody(os.geteuid() + 1))


@asynchronous
async def test_another_user_at_the_socket(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """O-06: the server reads nothing from another user, and the program asks no other user's socket."""
    endpoint = UNIXClientEndpoint(reactor, serving.config.control_path(serving.service.tcp_port))
    monkeypatch.setattr(control, "is_our_own_peer", lambda _transport: False)
    client: Any = await connectProtocol(endpoint, AMP())
    with pytest.raises(ConnectionClosed):
        await client.callRemote(NextSessions, after=0)
    monkeypatch.undo()
    monkeypatch.setattr(control_client, "is_our_own_peer", lambda _transport: False)
    assert "served by another user" in await problem(serving.config)


class Silent(Protocol):
    """A server that says nothing, or closes the connection."""

    def __init__(self, goes: bool) -> None:
        self.goes = goes
        self.gone: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """Close the connection, or not."""
        if self.goes:
            assert self.transport is not None
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Note it."""
        self.gone.callback(None)


@asynchronous
@pytest.mark.parametrize(("goes", "said"), [(True, "closed the connection"), (False, "does not answer")])
async def test_a_server_that_does_not_answer(
    config: ConfigFolders, goes: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """O-06: the program waits a limited time, and fails with one line, which names the server."""
    monkeypatch.setattr(control_client, "ANSWER_SECONDS", 0.2)
    async with silent_server(config, 1, goes):
        line = await problem(config)
    assert said in line
    assert f"the server at {config.control_path(1)!a} " in line


@contextlib.asynccontextmanager
async def silent_server(config: ConfigFolders, number: int, goes: bool) -> AsyncIterator[None]:
    """Have a control socket whose server says nothing, or closes the connection, at the end of which it is gone."""
    path = config.control_path(number)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    made: list[Silent] = []

    def make() -> Silent:
        made.append(Silent(goes))
        return made[-1]

    factory = Factory.forProtocol(make)
    factory.noisy = False
    port = reactor.listenUNIX(path, factory)
    yield
    await gatherResults([silent.gone for silent in made])
    await port.stopListening()


@asynchronous
async def test_the_others_answer(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """O-06: servers that do not answer cost one wait, and do not hide another, whose sessions can also be ended."""
    monkeypatch.setattr(control_client, "ANSWER_SECONDS", 0.2)
    await serving.connect()
    config = serving.config
    async with silent_server(config, 1, True), silent_server(config, 2, False), silent_server(config, 65534, False):
        with pytest.raises(IncompleteAnswer, match=r"closed the connection.*\n.*does not.*\n.*does not") as listing:
            await manage_sessions(reactor, options(config, "--json"))
        (session,) = json.loads(listing.value.text)
        with pytest.raises(IncompleteAnswer) as listing:
            await show_status(reactor, StatusOptions(config_dir=config.state, as_json=True))
        status = json.loads(listing.value.text)
        assert [one["id"] for server in status["servers"] for one in server["sessions"]] == [session["id"]]
        assert status["problems"] == str(listing.value).splitlines()
        with pytest.raises(IncompleteAnswer, match=r"no session 'ff-'") as listing:
            await manage_sessions(reactor, options(config, "--end", session["id"], "--end", "ff-"))
        assert len(str(listing.value).splitlines()) == 4
        assert len(await asked(config)) == 1
        with pytest.raises(IncompleteAnswer):
            await manage_sessions(reactor, options(config, "--end", session["id"]))
        assert await asked(config) == []


async def asked(config: ConfigFolders) -> list[dict[str, Any]]:
    """Return the sessions of the servers that answer."""
    with pytest.raises(IncompleteAnswer) as listing:
        await manage_sessions(reactor, options(config, "--json"))
    found: list[dict[str, Any]] = json.loads(listing.value.text)
    return found


@asynchronous
async def test_all_that_is_said(config: ConfigFolders) -> None:
    """O-07: the program prints what it knows, and a line for each server that does not answer; its status is 1."""
    async with silent_server(config, 1, True), silent_server(config, 2, True):
        for words, said in ((["sessions", "--json"], "[]\n"), (["status"], "")):
            command = [sys.executable, "-m", PROGRAM, *words, "--config-dir", config.state]
            environment = own_environment(Path(config.state))
            done = await deferToThread(
                subprocess.run, command, capture_output=True, env=environment, timeout=START_SECONDS
            )
            assert (done.returncode, done.stdout.decode()) == (1, said)
            assert len(done.stderr.splitlines()) == 2
            assert all(line.startswith(b"twisted-rsh: the server at ") for line in done.stderr.splitlines())


# The command line.


@pytest.mark.parametrize("words", [(), ("session",), ("sessions", "--no"), ("sessions", "x"), ("sessions", "--end")])
def test_mistakes(words: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    """O-07: a mistake in the command line is one line and status 2."""
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert exit_.value.code == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert_one_line(err.encode(), "twisted-rsh: ")


def test_options() -> None:
    """O-07: the program reads every option, and has a default for each."""
    assert parse_arguments(["sessions"]) == SessionOptions()
    assert parse_arguments(["sessions", "--json", "--config-dir", "/x", "--end", "a", "--end", "b"]) == SessionOptions(
        config_dir="/x", end=("a", "b"), as_json=True
    )


@asynchronous
async def test_the_xdg_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """O-07: the default folders are the XDG folders; a missing home is one line."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert await manage_sessions(reactor, SessionOptions(as_json=True)) == "[]\n"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "")
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(Problem, match="--config-dir FOLDER"):
        await manage_sessions(reactor, SessionOptions())


# The real program.


def run_program(config: Path, *words: str, command: tuple[str, ...] = ()) -> subprocess.CompletedProcess[bytes]:
    """Run the program."""
    return subprocess.run(
        [*(command or (sys.executable, "-m", PROGRAM)), "sessions", "--config-dir", str(config), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=own_environment(config.parent),
        timeout=START_SECONDS,
    )


def test_the_program(tmp_path: Path) -> None:
    """O-06: the program lists and ends a session of a real server whose client is gone."""
    with running_server(tmp_path) as server:
        with server.running_client("exec sleep 1000") as client:

            def jobs() -> list[dict[str, Any]]:
                sessions = json.loads(run_program(server.config, "--json").stdout)
                return [job for session in sessions for job in session["jobs"] if job["pid"]]

            (job,) = wait_for(jobs)
            client.kill()
        (session,) = wait_for(
            lambda: [one for one in json.loads(run_program(server.config, "--json").stdout) if not one["attached"]]
        )
        done = run_program(server.config, "--end", session["id"][:8])
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        wait_for(lambda: is_gone(job["pid"]))
        done = run_program(server.config)
        assert (done.returncode, done.stdout) == (0, b"")
        done = run_program(server.config, "--end", "abc")
        assert (done.returncode, done.stdout) == (1, b"")
        assert_one_line(done.stderr, "twisted-rsh: there is no session 'abc'")


def wait_for(look: Callable[[], Any]) -> Any:
    """Wait until a call returns a true value."""
    for _ in range(100):
        found = look()
        if found:
            return found
        time.sleep(0.1)
    pytest.fail("it never came")


def test_another_user(tmp_path: Path) -> None:
    """O-06: another uid learns nothing of a server's sessions, and ends none."""
    require_other_user()
    with running_server(tmp_path) as server, server.running_client("exec sleep 1000") as client:
        (session,) = wait_for(lambda: json.loads(run_program(server.config, "--json").stdout))
        with other_users_folder() as folder:
            command = other_users_command(PROGRAM)
            for words in (("--json",), ("--end", session["id"])):
                done = subprocess.run(
                    [*command, "sessions", "--config-dir", str(server.config), *words],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    env=own_environment(folder),
                    cwd=folder,
                    timeout=START_SECONDS,
                )
                assert (done.returncode, done.stdout) == (1, b"")
                assert_one_line(done.stderr, "twisted-rsh: ", "Permission denied")
        assert len(json.loads(run_program(server.config, "--json").stdout)) == 1
        assert client.poll() is None
        client.kill()
