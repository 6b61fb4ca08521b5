"""Metrics: what they count, as the library's own parser reads them from a real server, and who may read them."""

from __future__ import annotations

import builtins
import errno
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.python.failure import Failure

from tests.conftest import async_fixture
from tests.link.wire import collecting_log
from tests.server.waiting import until
from tests.serving import Serving, asynchronous, cut, reactor
from tests.watching.events import SESSION, STARTED, began, finished, refusal
from twisted_rsh.server_events import (
    BoundUse,
    RefusalKind,
    ServerStarted,
    ServerStopped,
    SessionBegan,
    SessionDetached,
    SessionEnded,
    SessionResumed,
)
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.watching.metrics import Metrics, NoMetricsLibrary
from twisted_rsh.watching.metrics_port import (
    MAX_READERS,
    MAX_REQUEST_BYTES,
    READER_SECONDS,
    MetricsPlace,
    MetricsPort,
    _Readers,
    parse_metrics_place,
)

PEER = "127.0.0.1:5000"
GET = b"GET /metrics HTTP/1.1\r\nHost: localhost:%d\r\n\r\n"


def samples(page: bytes) -> dict[tuple[str, ...], float]:
    """Read a page; return each value by its name and labels."""
    families = text_string_to_metric_families(page.decode())
    each = [one for family in families for one in family.samples]
    return {(one.name, *(value for _, value in sorted(one.labels.items()))): one.value for one in each}


def test_jobs_and_refusals() -> None:
    """Jobs are counted by kind and ending, with their time and bytes, and refusals by reason."""
    metrics = Metrics(CollectorRegistry())
    metrics.happened(began())
    metrics.happened(began(2, argv=("ls",)))
    metrics.happened(finished())
    for _ in range(3):
        metrics.happened(refusal(RefusalKind.SIGNATURE))
    found = samples(metrics.page()[1])
    assert found["twisted_rsh_jobs", "command"] == 0
    assert found["twisted_rsh_jobs", "argv"] == 1
    assert found["twisted_rsh_jobs_ended_total", "exited", "command"] == 1
    assert found["twisted_rsh_job_duration_seconds_sum", "command"] == pytest.approx(1.23456)
    assert found["twisted_rsh_job_duration_seconds_bucket", "command", "1.0"] == 0
    assert found["twisted_rsh_job_duration_seconds_bucket", "command", "3.0"] == 1
    assert [found["twisted_rsh_job_bytes_total", name] for name in ("stdin", "stdout", "stderr")] == [1, 2, 3]
    assert found["twisted_rsh_refusals_total", "signature"] == 3


def test_sessions() -> None:
    """A session is in one state at a time, from its login to its end, in whatever order it goes through them."""
    metrics = Metrics(CollectorRegistry())

    def states() -> tuple[float, float]:
        found = samples(metrics.page()[1])
        return found["twisted_rsh_sessions", "attached"], found["twisted_rsh_sessions", "detached"]

    ended: dict[str, Any] = {"reason": "x", "seconds": 1, "stdin": 0, "stdout": 0, "stderr": 0}
    expected = []
    for event, after in (
        (SessionBegan(session=SESSION, peer=PEER), (1, 0)),
        (SessionBegan(session=SESSION, peer=PEER), (2, 0)),
        (SessionResumed(session=SESSION, peer=PEER, away=None), (2, 0)),
        (SessionDetached(session=SESSION, peer=PEER, reason="cut", jobs=0), (1, 1)),
        (SessionResumed(session=SESSION, peer=PEER, away=2.0), (2, 0)),
        (SessionDetached(session=SESSION, peer=PEER, reason="cut", jobs=0), (1, 1)),
        (SessionEnded(session=SESSION, peer=PEER, was_detached=True, **ended), (1, 0)),
        (SessionEnded(session=SESSION, peer=PEER, was_detached=False, **ended), (0, 0)),
    ):
        metrics.happened(event)
        expected.append((states(), after))
    assert all(found == after for found, after in expected)
    found = samples(metrics.page()[1])
    assert found["twisted_rsh_logins_total",] == 2
    assert found["twisted_rsh_detaches_total",] == 2
    assert found["twisted_rsh_resumes_total",] == 2
    assert found["twisted_rsh_session_away_seconds_sum",] == 2
    assert found["twisted_rsh_session_away_seconds_count",] == 1


def test_bounds() -> None:
    """The bounds of a server that runs are asked for at each look."""
    metrics = Metrics(CollectorRegistry())
    used = [3]

    def bounds() -> list[BoundUse]:
        return [BoundUse(option="--max-sessions", used=used[0], allowed=9, unit="sessions")]

    metrics.happened(ServerStarted(instance="x", fingerprint="y", addresses=(), bounds=bounds))
    for used[0] in (3, 4):
        found = samples(metrics.page()[1])
        assert found["twisted_rsh_bound_used", "--max-sessions", "sessions"] == used[0]
        assert found["twisted_rsh_bound_allowed", "--max-sessions", "sessions"] == 9
    metrics.happened(ServerStopped())
    assert not any("bound" in name for name, *_ in samples(metrics.page()[1]))


def test_no_global_state() -> None:
    """Two servers in a process count apart, and the library's own registry has nothing of either."""
    one, two = Metrics(), Metrics()
    one.happened(refusal())
    assert "twisted_rsh" not in generate_latest(REGISTRY).decode()
    assert ("twisted_rsh_refusals_total", "key") not in samples(two.page()[1])
    assert ("process_start_time_seconds",) in samples(one.page()[1])


def test_formats() -> None:
    """A reader that asks for OpenMetrics gets it."""
    metrics = Metrics(CollectorRegistry())
    metrics.happened(refusal())
    kind, page = metrics.page("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    parse: Any = parse_openmetrics
    assert any(family.name == "twisted_rsh_refusals" for family in parse(page.decode()))
    assert metrics.page()[0].startswith("text/plain")


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """O-07: without the library one line says how to install it."""
    real = builtins.__import__

    def broken(name: str, *arguments: Any, **how: Any) -> Any:
        if name.startswith("prometheus_client"):
            raise ImportError(name)
        return real(name, *arguments, **how)

    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(NoMetricsLibrary, match=r"pip install twisted-rsh\[metrics\]"):
        Metrics()


# Where they are served.


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("unix:/run/x.sock", MetricsPlace(path="/run/x.sock")),
        ("127.0.0.1:9101", MetricsPlace(host="127.0.0.1", port=9101)),
        ("127.9.9.9:1", MetricsPlace(host="127.9.9.9", port=1)),
        ("[::1]:65535", MetricsPlace(host="::1", port=65535)),
    ],
)
def test_places(text: str, place: MetricsPlace) -> None:
    """A place is a Unix socket or a loopback address."""
    assert parse_metrics_place(text) == place
    assert str(place) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0.0.0.0:9101", "other machines"),
        ("[::]:9101", "other machines"),
        ("192.0.2.1:9101", "other machines"),
        ("[fe80::1]:9101", "other machines"),
        ("localhost:9101", "neither"),
        ("9101", "neither"),
        (":9101", "neither"),
        ("127.0.0.1", "neither"),
        ("127.0.0.1:0", "neither"),
        ("127.0.0.1:65536", "neither"),
        ("127.0.0.1:x", "neither"),
        ("::1:9101", "neither"),
        ("unix:x.sock", "no absolute path"),
        ("", "neither"),
    ],
)
def test_wrong_places(text: str, reason: str) -> None:
    """O-11: an address that other machines can reach is refused, and so is what is no address."""
    with pytest.raises(ValueError, match=reason) as raised:
        parse_metrics_place(text)
    assert str(raised.value).isprintable()


class Client(Protocol):
    """A connection of a reader: all that comes, until the other end closes it.

    :ivar data: what has come.
    :ivar gone: fires when the connection is closed.
    """

    def __init__(self) -> None:
        self.data = b""
        self.gone: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.data += data

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Tell the test."""
        self.gone.callback(self.data)


async def ask(port: int, request: bytes) -> bytes:
    """Ask at a port of this machine, and return the whole answer."""
    client = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), Client())
    client.transport.write(request)
    answer: bytes = await client.gone
    return answer


@pytest.fixture
def place() -> MetricsPlace:
    """A free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return MetricsPlace(host="127.0.0.1", port=probe.getsockname()[1])


def is_served(place: MetricsPlace) -> bool:
    """Tell whether a port takes connections."""
    with socket.socket() as probe:
        return probe.connect_ex((place.host, place.port)) != errno.ECONNREFUSED


@async_fixture
async def port(place: MetricsPlace) -> AsyncIterator[MetricsPort]:
    """Metrics that are served."""
    port = MetricsPort(reactor, Metrics(CollectorRegistry()), place)
    port.happened(STARTED)
    yield port
    port.happened(ServerStopped())


@asynchronous
async def test_a_scrape(config: ConfigFolders, place: MetricsPlace) -> None:
    """The page of a real server has what its clients did."""
    metrics = Metrics()
    serving = Serving(config, observers=[metrics, MetricsPort(reactor, metrics, place)])
    await serving.start()
    connection = await serving.connect()
    assert (await connection.run("cat", stdin=b"12345")).stdout == b"12345"
    cut(connection)
    assert (await connection.run("exit 3")).ending.__class__.__name__ == "Exited"
    answer = await ask(place.port, GET % place.port)
    head, _, page = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: text/plain; version=" in head
    assert b"Content-Length: %d" % len(page) in head
    found = samples(page)
    assert found["twisted_rsh_jobs_ended_total", "exited", "command"] == 2
    assert found["twisted_rsh_job_bytes_total", "stdout"] == 5
    # Soak mode may have cut the connection once more.
    assert found["twisted_rsh_sessions", "attached"] + found["twisted_rsh_sessions", "detached"] == 1
    assert found["twisted_rsh_resumes_total",] >= 1
    assert found["twisted_rsh_bound_used", "--max-sessions", "sessions"] == 1
    await serving.stop()
    await until(lambda: not is_served(place))


@asynchronous
async def test_requests(port: MetricsPort, place: MetricsPlace) -> None:
    """Only a GET of the page under a name of this machine gets it: no browser that was sent here, no other request."""
    number = place.port
    for request, status in (
        (GET % number, b"200"),
        ((GET % number).replace(b"GET", b"HEAD"), b"200"),
        (b"GET /metrics?x=1 HTTP/1.0\r\nhost:127.0.0.1:%d\r\n\r\n" % number, b"200"),
        (b"GET /metrics HTTP/1.1\r\nHost: evil.example:%d\r\n\r\n" % number, b"403"),
        (b"GET /metrics HTTP/1.1\r\n\r\n", b"403"),
        ((GET % number).replace(b"GET", b"POST"), b"405"),
        ((GET % number).replace(b"/metrics", b"/"), b"404"),
        ((GET % number).replace(b"/metrics", b"/metrics/x"), b"404"),
        (b"hello\r\n\r\n", b"400"),
        (b"x" * (MAX_REQUEST_BYTES + 1), b"431"),
    ):
        answer = await ask(number, request)
        assert answer.split(b" ")[1] == status, request
        assert (b"twisted_rsh_" in answer) == (status == b"200" and not request.startswith(b"HEAD"))


@asynchronous
async def test_a_unix_socket(tmp_path: Path) -> None:
    """O-02: the socket is private; one that a killed server left is replaced; it goes at the end."""
    path = tmp_path / "metrics.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    port = MetricsPort(reactor, Metrics(CollectorRegistry()), MetricsPlace(path=str(path)))
    port.happened(STARTED)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    client = await connectProtocol(UNIXClientEndpoint(reactor, str(path)), Client())
    client.transport.write(b"GET /metrics HTTP/1.1\r\n\r\n")
    assert (await client.gone).startswith(b"HTTP/1.1 200")
    with pytest.raises(OSError, match="choose another place with --metrics"):
        MetricsPort(reactor, Metrics(CollectorRegistry()), MetricsPlace(path=str(path)))
    port.happened(ServerStopped())
    assert not path.exists()  # at once: the program may end before the reactor closes the port


def test_what_is_in_the_way(tmp_path: Path, place: MetricsPlace) -> None:
    """O-08: a port or a file that is in the way is one line, and stays."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", place.port))
        other.listen()
        with pytest.raises(OSError, match="already in use; choose another place with --metrics") as raised:
            MetricsPort(reactor, Metrics(CollectorRegistry()), place)
        assert raised.value.filename == str(place)
    path = tmp_path / "file"
    path.write_text("precious")
    for wrong in (path, tmp_path / "no" / "x.sock", tmp_path / ("x" * 200)):
        with pytest.raises(OSError, match="choose another place with --metrics"):
            MetricsPort(reactor, Metrics(CollectorRegistry()), MetricsPlace(path=str(wrong)))
    assert path.read_text() == "precious"


def test_a_port_that_is_taken_later(place: MetricsPlace) -> None:
    """A server whose metrics cannot be served serves its clients, and says so."""
    port = MetricsPort(reactor, Metrics(CollectorRegistry()), place)
    with socket.socket() as other, collecting_log() as logged:
        other.bind(("127.0.0.1", place.port))
        other.listen()
        port.happened(STARTED)
        port.happened(ServerStopped())
    assert ["the metrics are not served" in formatEvent(event) for event in logged] == [True]


class Wire:
    """A transport of a reader."""

    def __init__(self) -> None:
        self.written = b""
        self.calls: list[str] = []

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.written += data

    def stopReading(self) -> None:
        """Note it."""
        self.calls.append("stopReading")

    def loseConnection(self) -> None:
        """Note it."""
        self.calls.append("loseConnection")

    def abortConnection(self) -> None:
        """Note it."""
        self.calls.append("abortConnection")


def test_readers_are_bounded() -> None:
    """So many connections exist at once; each is cut after its time, silent or not reading."""
    clock = Clock()
    readers = _Readers(clock, Metrics(CollectorRegistry()), MetricsPlace(path="/x"))
    connections: list[tuple[Any, Wire]] = []
    for _ in range(MAX_READERS):
        reader: Any = readers.buildProtocol(None)
        wire = Wire()
        reader.makeConnection(wire)
        connections.append((reader, wire))
    assert readers.buildProtocol(None) is None
    asking, wire = connections[0]
    asking.dataReceived(b"GET /metrics HTTP/1.1\r\n\r\n")
    assert wire.calls == ["stopReading", "loseConnection"]
    clock.advance(READER_SECONDS)
    assert all(wire.calls[-1] == "abortConnection" for _, wire in connections)
    asking.connectionLost()
    assert readers.buildProtocol(None) is not None
    early: Any = readers.buildProtocol(None)
    early.makeConnection(Wire())
    early.connectionLost()
    assert clock.getDelayedCalls() == []
