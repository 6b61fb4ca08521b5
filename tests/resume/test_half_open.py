"""Connections that are silent: a hole in the network is noticed, and a person who stops reading is no hole."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.readable import is_readable
from tests.resume.real import only_session, output_until, proxied, until
from tests.server_process import HOST
from tests.serving import Serving, asynchronous, reactor
from twisted_rsh.core.endings import Exited
from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.trust.home import ConfigFolders

pytestmark = pytest.mark.real

QUICK = SessionLimits(keepalive_interval=0.5, keepalive_misses=3)
"""Bounds under which 1.5 s of silence are the end of a connection."""

STOPPED_SECONDS = 6.0
"""Seconds for which a terminal is stopped: four times as long as a dead connection needs to be noticed."""

OUTPUT_BYTES = 2_000_000
"""Bytes of output for the terminal: several windows, so that most of it waits in the job."""


@asynchronous
async def test_hole_in_the_network(config: ConfigFolders) -> None:
    """M-17: nothing arrives any more, without a word: both sides notice, and resume after it heals."""
    async with proxied(config, limits=QUICK) as (serving, behind):
        connection = await behind.connect(QUICK)
        job = connection.start("while read line; do echo got $line; done")
        await job.stdin.write(b"one\n")
        assert await output_until(job.stdout, b"\n") == b"got one\n"
        outages: list[str | None] = []
        connection.watch_link(outages.append)
        session = only_session(serving)
        began = reactor.seconds()
        behind.proxy.stall()
        await job.stdin.write(b"two\n")
        await until(lambda: outages and session.detached_at is not None)
        elapsed = reactor.seconds() - began
        lifetime = QUICK.keepalive_interval * QUICK.keepalive_misses
        assert lifetime - QUICK.keepalive_interval <= elapsed < 20 * lifetime
        assert outages == ["nothing came from the peer for 1.5 s"]
        writing = job.stdin.write(b"three\n")
        assert not writing.called, "there is no room for it"
        behind.proxy.resume()
        assert await output_until(job.stdout, b"three\n") == b"got two\ngot three\n"
        await writing
        assert (connection.connected, session.detached_at) == (True, None)
        job.stdin.end()
        assert (await job.wait()).ending == Exited(0)
        assert only_session(serving) is session


@asynchronous
async def test_stopped_terminal_is_not_detached(config: ConfigFolders) -> None:
    """M-18: Ctrl-S on a real terminal, with output pending: the client still answers, and nothing is cut.

    After Ctrl-Q every byte is shown.
    """
    serving = Serving(config, limits=QUICK)
    await serving.start()
    behind, terminal = os.openpty()
    command = f"head -c {OUTPUT_BYTES} /dev/zero | tr '\\0' x; echo; echo over"
    options = ["--config-dir", str(config.config), "-p", str(serving.port)]
    client = subprocess.Popen(
        [sys.executable, "-m", "twisted_rsh.client", *options, "-T", HOST, command],
        stdin=terminal,
        stdout=terminal,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    os.close(terminal)

    def read_some(seconds: float) -> bytes:
        return os.read(behind, 65536) if is_readable(behind, seconds) else b""

    shown = b""
    while len(shown) < 50_000:
        shown += await deferToThread(read_some, 10.0)
    os.write(behind, b"\x13")
    while data := await deferToThread(read_some, 0.5):
        shown += data
    assert b"over" not in shown
    session = only_session(serving)
    link = session._link
    await deferLater(reactor, STOPPED_SECONDS)
    assert session._link is link
    assert session.detached_at is None
    os.write(behind, b"\x11")
    while b"over" not in shown:
        data = await deferToThread(read_some, 30.0)
        assert data, f"nothing more after {len(shown)} bytes"
        shown += data
    assert shown.count(b"x") == OUTPUT_BYTES
    _, errors = await deferToThread(client.communicate)
    assert (client.returncode, errors) == (0, b"")
    os.close(behind)
    await serving.stop()
