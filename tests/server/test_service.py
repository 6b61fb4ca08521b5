"""The service as a whole: real sockets, real processes, records, and its end."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
)
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.logger import LogEvent, formatEvent
from zope.interface import implementer

from tests.link.wire import client_key, failures
from tests.server.rig import NO_RESUME
from tests.server.waiting import is_gone, until
from tests.serving import Serving, asynchronous, link_of, reactor
from twisted_rsh import connect_to_endpoint
from twisted_rsh.client.errors import LoginRefused
from twisted_rsh.core.codec import encode
from twisted_rsh.core.endings import Exited, OutcomeUnknown, RefusalReason, Refused, TimedOut
from twisted_rsh.core.limits import DEFAULT_WINDOW, SessionLimits
from twisted_rsh.core.messages import Ack
from twisted_rsh.core.requests import Grace, Keep
from twisted_rsh.core.roles import Stream
from twisted_rsh.execution.account import Account
from twisted_rsh.server import RemoteShellService, ServiceOptions, local_portal
from twisted_rsh.server.exposure import show_address
from twisted_rsh.trust.client_key import load_or_create_client_key
from twisted_rsh.trust.files import FileProblem
from twisted_rsh.trust.fingerprint import format_fingerprint, parse_fingerprint
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.records import read_record


@asynchronous
async def test_a_job_that_times_out(serving: Serving) -> None:
    """The client gets the output until the time-out, and the process is gone."""
    connection = await serving.connect()
    result = await connection.run("echo $$; exec sleep 1000", timeout=0.3)
    assert result.ending == TimedOut(0.3)
    assert is_gone(int(result.stdout))


@pytest.mark.uncut("without resume, the session ends with its connection")
@asynchronous
async def test_a_client_that_vanishes(config: ConfigFolders) -> None:
    """X-07: without resume, the jobs of a client that vanishes end, and their processes are gone."""
    serving = Serving(config, limits=NO_RESUME)
    await serving.start()
    connection = await serving.connect()
    job = connection.start("echo $$; exec sleep 1000")
    pid = int(await job.stdout.read())
    link_of(connection).tls.abortConnection()
    assert isinstance((await job.wait()).ending, OutcomeUnknown)
    await until(lambda: is_gone(pid))
    await serving.stop()


@pytest.mark.uncut("the session is told to end with its connection")
@asynchronous
async def test_the_detach_time_out(config: ConfigFolders) -> None:
    """X-07: at the detach time-out the jobs end, and their processes are gone within 12 s."""
    serving = Serving(config, limits=SessionLimits(detach_seconds=1))
    await serving.start()
    connection = await serving.connect(resume=False)
    job = connection.start("trap '' HUP; echo $$; exec yes", on_disconnect=Grace(1.0))
    pid = int((await job.stdout.read()).split(b"\n")[0])
    link_of(connection).tls.abortConnection()
    await job.wait()
    assert not is_gone(pid)
    await until(lambda: is_gone(pid))
    await serving.stop()


@pytest.mark.uncut("the connection has to stay away")
@pytest.mark.parametrize("on_disconnect", [Keep(), Grace(30.0)], ids=["keep", "grace"])
@asynchronous
async def test_a_job_that_writes_without_a_link(
    config: ConfigFolders, tmp_path: Path, on_disconnect: Keep | Grace
) -> None:
    """M-07: a job whose client is away writes more than its pipe holds, ends, and is none of the server's jobs then."""
    serving = Serving(config)
    await serving.start()
    connection = await serving.connect(resume=False)
    go, done = tmp_path / "go", tmp_path / "done"
    command = f"echo begun; while ! test -e {go}; do sleep 0.05; done; head -c 200000 /dev/zero; : > {done}"
    job = connection.start(["sh", "-c", command], on_disconnect=on_disconnect)
    assert await job.stdout.read() == b"begun\n"
    assert serving.service._factory.capacity.jobs == 1
    link_of(connection).tls.abortConnection()
    await job.wait()
    go.touch()
    await until(done.exists)
    await until(lambda: serving.service._factory.capacity.jobs == 0)
    await serving.stop()


@pytest.mark.uncut("the last word of a server that ends the session can be lost with its link")
@asynchronous
async def test_the_end_of_the_service(config: ConfigFolders) -> None:
    """O-09: a client learns why, and when the stop is complete the job's process is gone and so is the record."""
    serving = Serving(config)
    await serving.start()
    shell, idle = await serving.connect(), await serving.connect()
    job = shell.start("echo $$; exec sleep 1000")
    pid = int(await job.stdout.read())
    port = serving.service.tcp_port
    assert read_record(config, port) is not None
    waiting = idle.when_lost()
    await serving.service.stopService()
    assert waiting.called
    assert await waiting == "the server is stopping"
    assert (await job.wait()).ending == OutcomeUnknown("the server is stopping")
    assert is_gone(pid)
    assert read_record(config, port) is None
    with pytest.raises(LookupError):
        _ = serving.service.tcp_port


@asynchronous
async def test_nobody_reads_the_output(serving: Serving) -> None:
    """H-02: a full pipe stops a program that writes without end, once a window of output waits at the client."""
    connection = await serving.connect()
    job = connection.start("exec yes")

    def received() -> int:
        return connection._jobs._session._channels[1].receives[Stream.STDOUT].received

    await until(lambda: received() == DEFAULT_WINDOW)
    assert (await connection.run("echo $PPID")).ending == Exited(0)
    assert received() == DEFAULT_WINDOW
    job.close()
    await job.wait()


@asynchronous
async def test_an_upload_to_a_program_that_does_not_read(serving: Serving) -> None:
    """H-07: the client holds back all input beyond a window and a pipe."""
    connection = await serving.connect()
    job = connection.start("exec sleep 1000")
    written = job.stdin.write(bytes(50_000_000))
    sent = -1

    def is_stalled() -> bool:
        nonlocal sent
        before, sent = sent, connection._jobs._session._channels[1].sends[Stream.STDIN].sent
        return before == sent > 0

    await until(is_stalled)
    assert sent <= DEFAULT_WINDOW + 1024 * 1024 + 65536
    assert not written.called
    job.close()
    await job.wait()
    with pytest.raises(BrokenPipeError):
        await written


@asynchronous
async def test_a_flood_of_frames_beside_a_command(serving: Serving) -> None:
    """F-08: 10 000 tiny legal frames in one piece on one connection do not keep another from its answer."""
    busy, other = await serving.connect(), await serving.connect()
    link_of(busy).write_frames([encode(Ack(0))] * 10_000)
    assert (await other.run("echo hi")).stdout == b"hi\n"
    assert (await busy.run("echo ho")).stdout == b"ho\n"


@asynchronous
async def test_too_many_jobs(config: ConfigFolders) -> None:
    """H-09: over a real connection, too, the server refuses one job too many, and the others go on."""
    serving = Serving(config, limits=SessionLimits(max_channels=1))
    await serving.start()
    try:
        connection = await serving.connect()
        cat = connection.start("cat")
        refused = (await connection.run("true")).ending
        assert isinstance(refused, Refused)
        assert refused.reason is RefusalReason.TOO_MANY_CHANNELS
        cat.stdin.end()
        assert (await cat.wait()).ending == Exited(0)
        assert (await connection.run("true")).ending == Exited(0)
    finally:
        await serving.stop()


@asynchronous
async def test_a_stranger_is_refused(serving: Serving) -> None:
    """A-09: a real server refuses an unauthorized key, and another user's name."""
    endpoint_of = serving.port
    load_or_create_client_key(serving.config)
    pin = parse_fingerprint(serving.service.fingerprint)
    for key, user in (
        (client_key(9), serving.account.name),
        (load_or_create_client_key(serving.config), "nobody-here"),
    ):
        with pytest.raises(LoginRefused):
            await connect_to_endpoint(reactor, TCP4ClientEndpoint(reactor, "127.0.0.1", endpoint_of), pin, key, user)


@asynchronous
async def test_a_unix_socket(config: ConfigFolders, tmp_path: Path, logged: list[LogEvent]) -> None:
    """An endpoint of another kind gets TLS too, has no record, and takes the place of the loopback addresses."""
    account = Account.current(os.environ, "/bin/sh", "utf-8")
    path = str(tmp_path / "s")
    options = ServiceOptions(endpoints=[UNIXServerEndpoint(reactor, path)])
    service = RemoteShellService(reactor, local_portal(reactor, config, account), config, options)
    service.startService()
    await service.when_listening()
    try:
        key = load_or_create_client_key(config)
        connection = await connect_to_endpoint(
            reactor, UNIXClientEndpoint(reactor, path), parse_fingerprint(service.fingerprint), key, account.name
        )
        assert (await connection.run("echo hi")).stdout == b"hi\n"
        with pytest.raises(LookupError):
            _ = service.tcp_port
        run = os.path.dirname(config.record_path(1))
        assert os.listdir(run) == [os.path.basename(config.control_path(0))]  # which is for `twisted-rsh` alone
        await connection.close()
    finally:
        await service.stopService()
    assert any("rsh listens on" in formatEvent(event) and path in formatEvent(event) for event in logged)
    assert failures(logged) == []


@asynchronous
async def test_both_loopback_addresses(config: ConfigFolders, logged: list[LogEvent]) -> None:
    """By default the server listens on both loopback addresses and on a Unix socket, and the record names them."""
    service = RemoteShellService(
        reactor, local_portal(reactor, config, Account.current(os.environ)), config, ServiceOptions(port=0)
    )
    service.startService()
    ports = await service.when_listening()
    try:
        record = read_record(config, service.tcp_port)
        assert record is not None
        *tcp, local = ports
        assert list(record.addresses) == [getattr(port.getHost(), "host", None) for port in tcp]
        assert record.socket == show_address(local.getHost()) == config.socket_path(service.tcp_port, {})
        assert (record.instance_id, record.pid) == (service.instance_id, os.getpid())
        assert format_fingerprint(record.spki_sha256) == service.fingerprint
        line = next(formatEvent(event) for event in logged if "rsh listens on" in (event["log_format"] or ""))
        assert service.fingerprint in line
        assert f"127.0.0.1:{service.tcp_port}" in line
    finally:
        await service.stopService()


@contextlib.contextmanager
def service_at_a_taken_port(config: ConfigFolders) -> Iterator[RemoteShellService]:
    """Start a service at a port on which another socket listens, within the block."""
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        options = ServiceOptions(interfaces=["127.0.0.1"], port=squatter.getsockname()[1], socket=None)
        portal = local_portal(reactor, config, Account.current(os.environ))
        service = RemoteShellService(reactor, portal, config, options)
        service.startService()
        yield service


@asynchronous
async def test_a_port_that_is_taken(config: ConfigFolders) -> None:
    """O-08: each call of when_listening fails, and no port listens."""
    with service_at_a_taken_port(config) as service:
        for _ in range(2):
            with pytest.raises(CannotListenError):
                await service.when_listening()
        await service.stopService()
    assert os.listdir(os.path.dirname(config.record_path(1))) == []
    # Once the port is free the same service can be started again.
    service.startService()
    assert len(await service.when_listening()) == 1
    await service.stopService()


@asynchronous
@pytest.mark.parametrize("somebody_asks", [False, True])
async def test_the_log_says_why_nothing_listens(
    config: ConfigFolders, somebody_asks: bool, logged: list[LogEvent]
) -> None:
    """O-08: whether or not the application asks, one line of the log has the reason, and no Deferred is left failed."""
    with service_at_a_taken_port(config) as service:
        if somebody_asks:
            with pytest.raises(CannotListenError):
                await service.when_listening()
        await service.stopService()
    del service
    gc.collect()
    (event,) = failures(logged)
    assert formatEvent(event).startswith("rsh does not listen: Couldn't listen on 127.0.0.1:")


@asynchronous
async def test_an_endpoint_that_breaks(config: ConfigFolders, logged: list[LogEvent]) -> None:
    """An error that no server expects is in the log with its traceback, once."""

    @implementer(IStreamServerEndpoint)
    class Broken:
        def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
            raise LookupError("a mistake of the application")

    portal = local_portal(reactor, config, Account.current(os.environ))
    service = RemoteShellService(reactor, portal, config, ServiceOptions(endpoints=[Broken()]))
    service.startService()
    await service.stopService()
    del service
    gc.collect()
    assert [event["log_failure"].type for event in failures(logged)] == [LookupError]


@asynchronous
async def test_a_record_that_cannot_be_written(config: ConfigFolders) -> None:
    """O-08: a server that cannot write its record does not listen, because its clients could not find it."""
    service = RemoteShellService(
        reactor,
        local_portal(reactor, config, Account.current(os.environ)),
        config,
        ServiceOptions(interfaces=["127.0.0.1"], port=0),
    )
    os.chmod(os.path.dirname(config.record_path(1)), 0o777)  # noqa: S103 - unsafe on purpose
    before = len(reactor.getReaders())
    service.startService()
    with pytest.raises(FileProblem):
        await service.when_listening()
    assert len(reactor.getReaders()) == before
    await service.stopService()


def test_an_unsafe_folder(config: ConfigFolders) -> None:
    """O-01: the service refuses folders that other users can write to."""
    os.makedirs(config.state)
    os.chmod(config.state, 0o777)  # noqa: S103 - unsafe on purpose
    with pytest.raises(FileProblem):
        RemoteShellService(reactor, local_portal(reactor, config, Account.current(os.environ)), config)


@implementer(IStreamServerEndpoint)
class Slow:
    """An endpoint that never listens."""

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Wait."""
        return Deferred()


@asynchronous
@pytest.mark.parametrize("somebody_waits", [False, True])
async def test_a_stop_before_it_listens(config: ConfigFolders, somebody_waits: bool, logged: list[LogEvent]) -> None:
    """The service gives up listening, and leaves neither a port nor an error behind."""
    options = ServiceOptions(interfaces=["127.0.0.1"], port=0, endpoints=[Slow()])
    portal = local_portal(reactor, config, Account.current(os.environ))
    service = RemoteShellService(reactor, portal, config, options)
    before = len(reactor.getReaders())
    service.startService()
    waiting = service.when_listening() if somebody_waits else None
    await service.stopService()
    await until(lambda: len(reactor.getReaders()) == before)
    if waiting is not None:
        with pytest.raises(CancelledError):
            await waiting
    service = RemoteShellService(reactor, portal, config, options)
    await service.stopService()  # one that was never started
    gc.collect()
    assert failures(logged) == []


@asynchronous
async def test_a_record_that_cannot_be_removed(
    config: ConfigFolders, monkeypatch: pytest.MonkeyPatch, logged: list[LogEvent]
) -> None:
    """R-12: a server that cannot remove its record says so, and ends its sessions and jobs all the same."""
    serving = Serving(config)
    await serving.start()
    connection = await serving.connect()
    job = connection.start("echo $$; exec sleep 1000")
    pid = int(await job.stdout.read())
    path = config.record_path(serving.service.tcp_port)

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr("twisted_rsh.server.service.remove_record", refuse)
    await serving.service.stopService()
    assert is_gone(pid)
    assert f"{path!a} stays: Permission denied; remove it" in map(formatEvent, logged)
    assert failures(logged) == []
    await job.wait()
    await connection.close()


@asynchronous
async def test_a_run_folder_that_is_gone(config: ConfigFolders, logged: list[LogEvent]) -> None:
    """R-12: what is removed while the server runs is missed by no session, and its stop is as ever."""
    serving = Serving(config)
    await serving.start()
    connection = await serving.connect()
    shutil.rmtree(os.path.dirname(config.record_path(0)))
    shell = await connection.open_shell()
    assert (await shell.run("cat", stdin=b"hi")).stdout == b"hi"
    await shell.close()
    await serving.stop()
    assert failures(logged) == []


def test_the_default_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The default folders are the XDG folders, and the service makes them."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    config = ConfigFolders.default(os.environ)
    service = RemoteShellService(reactor, local_portal(reactor, config, Account.current(os.environ)))
    assert service.fingerprint.startswith("SHA256:")
    assert os.path.exists(config.server_key_path)
    assert str(tmp_path) in config.server_key_path
