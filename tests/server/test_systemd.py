"""What a server tells systemd: at its start, at a reload, at its stop, and meanwhile as long as its reactor turns."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock, deferLater
from twisted.logger import formatEvent

from tests.link.wire import collecting_log
from tests.serving import asynchronous, reactor
from twisted_rsh.server.systemd import MAX_WAITING, RETRY_SECONDS, Systemd
from twisted_rsh.tap import Options, makeService


class Manager:
    """Stands for systemd: the socket to which a service tells things.

    :ivar path: its address, as NOTIFY_SOCKET has it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind("\0" + path[1:] if path.startswith("@") else path)

    def told(self) -> list[dict[str, str]]:
        """Return what came since the last call, one dictionary for each datagram."""
        found: list[dict[str, str]] = []
        while True:
            try:
                data = self._socket.recv(4096).decode()
            except BlockingIOError:
                return found
            found.append(dict(line.split("=", 1) for line in data.split("\n")))

    def close(self) -> None:
        """Go away."""
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    """A systemd that has started this process."""
    one = Manager(str(tmp_path / "notify") if request.param == "path" else f"@twisted-rsh-{os.getpid()}")
    yield one
    one.close()


def test_what_it_is_told(manager: Manager) -> None:
    """Each state has the lines of sd_notify(3), the time of a reload on the clock that systemd reads."""
    systemd = Systemd({"NOTIFY_SOCKET": manager.path}, Clock())
    systemd.ready("serving on 127.0.0.1:8082")
    assert manager.told() == [{"READY": "1", "STATUS": "serving on 127.0.0.1:8082"}]
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    systemd.reloading()
    (reloading,) = manager.told()
    assert reloading.pop("RELOADING") == "1"
    assert before <= int(reloading["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    systemd.stopping("stopping: 3 sessions")
    assert manager.told() == [{"STOPPING": "1", "STATUS": "stopping: 3 sessions"}]
    systemd.close()
    systemd.ready("again")
    assert manager.told() == []


def test_signs_of_life(manager: Manager) -> None:
    """They come from the reactor's clock, twice in the time of systemd, from the start to the end."""
    clock = Clock()
    systemd = Systemd({"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "10000000"}, clock)
    clock.advance(20)
    assert manager.told() == []
    systemd.ready("")
    assert manager.told()[1:] == [{"WATCHDOG": "1"}]
    for _ in range(3):
        clock.advance(4.9)
        assert manager.told() == []
        clock.advance(0.1)
        assert manager.told() == [{"WATCHDOG": "1"}]
    # A reload does not make them more.
    systemd.ready("")
    clock.advance(5)
    assert [each for each in manager.told() if "WATCHDOG" in each] == [{"WATCHDOG": "1"}]
    systemd.close()
    clock.advance(20)
    assert manager.told() == []
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("environment", "signs"),
    [
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}, 1),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "many"}, 0),
        ({"WATCHDOG_USEC": "0"}, 0),
        ({"WATCHDOG_USEC": "-1"}, 0),
        ({"WATCHDOG_USEC": ""}, 0),
        ({"WATCHDOG_USEC": "often"}, 0),
        ({}, 0),
    ],
)
def test_whom_systemd_watches(environment: dict[str, str], signs: int, tmp_path: Path) -> None:
    """Only the process that systemd watches gives signs of life; what cannot be read watches none."""
    manager = Manager(str(tmp_path / "notify"))
    systemd = Systemd({"NOTIFY_SOCKET": manager.path, **environment}, Clock())
    systemd.ready("")
    assert len(manager.told()) == 1 + signs
    systemd.close()
    manager.close()


@pytest.mark.parametrize("name", ["", "relative", "vsock:2:1234"])
def test_no_socket(name: str) -> None:
    """Without a Unix socket nothing is told, and nothing is logged."""
    clock = Clock()
    systemd = Systemd({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "10000000"}, clock)
    with collecting_log() as logged:
        systemd.reloading()
        systemd.ready("")
        systemd.stopping("")
    assert logged == []
    assert clock.getDelayedCalls() == []


def test_a_socket_that_is_gone(tmp_path: Path) -> None:
    """A socket that nothing listens to is one line in the log; the server goes on."""
    systemd = Systemd({"NOTIFY_SOCKET": str(tmp_path / "none"), "WATCHDOG_USEC": "10000000"}, Clock())
    with collecting_log() as logged:
        systemd.ready("")
        systemd.stopping("")
    assert [formatEvent(event) for event in logged] == [
        "cannot tell systemd about this server: No such file or directory"
    ]


def test_a_socket_without_room(manager: Manager) -> None:
    """What finds no room waits for it, in its order, and never holds the reactor; of many, the last ones wait."""
    clock = Clock()
    systemd = Systemd({"NOTIFY_SOCKET": manager.path}, clock)
    count = 0
    while not clock.getDelayedCalls():
        systemd.stopping(str(count))
        count += 1
        assert count < 100_000
    for number in range(MAX_WAITING):
        systemd.stopping(f"later {number}")
    assert [each["STATUS"] for each in manager.told()] == [str(number) for number in range(count - 1)]
    clock.advance(RETRY_SECONDS)
    assert [each["STATUS"] for each in manager.told()] == [f"later {number}" for number in range(MAX_WAITING)]
    assert clock.getDelayedCalls() == []
    systemd.close()


def test_signs_of_life_push_nothing_out(manager: Manager) -> None:
    """A state that waits for room is told, however many signs of life come behind it."""
    clock = Clock()
    systemd = Systemd({"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": str(round(RETRY_SECONDS * 10**6 / 10))}, clock)
    while not clock.getDelayedCalls():
        systemd.stopping("before")
    systemd.ready("serving")
    for _ in range(MAX_WAITING):
        clock.advance(RETRY_SECONDS / 20)
    manager.told()
    clock.advance(RETRY_SECONDS)
    assert {"READY": "1", "STATUS": "serving"} in manager.told()
    systemd.close()


@asynchronous
async def test_a_server_from_its_start_to_its_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-alone server tells when it serves and where, when it reads its options again, and when it stops."""
    manager = Manager(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", manager.path)
    options = Options()
    options.parseOptions(["--config-dir", str(tmp_path / "rsh"), "--port", "0", "-i", "127.0.0.1"])
    service: Any = makeService(options, reactor)
    assert manager.told() == []
    service.startService()
    serving = {"READY": "1", "STATUS": f"serving on 127.0.0.1:{service.tcp_port}"}
    assert manager.told() == [serving]
    conf = tmp_path / "rsh" / "server.conf"
    stale = f"; the configuration stays as it was: {conf}:1:1: no option is named 'prot'; port is one"
    for text, more in (("", ""), ("prot 1", stale), ("", "")):
        conf.write_text(text)
        service.sighup_received()
        told: list[dict[str, str]] = []
        for _ in range(100):
            told += manager.told()
            if len(told) > 1:
                break
            await deferLater(reactor, 0.01)
        assert told[0]["RELOADING"] == "1"
        assert told[1:] == [{**serving, "STATUS": serving["STATUS"] + more}]
    stopping = service.stopService()
    assert manager.told() == [{"STOPPING": "1", "STATUS": "stopping: 0 sessions are told, and their jobs end"}]
    await stopping
    manager.close()


@asynchronous
async def test_a_server_that_cannot_listen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not come to serve never tells that it is ready."""
    manager = Manager(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", manager.path)
    options = Options()
    options.parseOptions(["--config-dir", str(tmp_path / "rsh"), "--listen", f"unix:{tmp_path}"])
    service = makeService(options, reactor)
    with pytest.raises(SystemExit):
        service.startService()
    assert manager.told() == []
    await service.stopService()
    manager.close()
