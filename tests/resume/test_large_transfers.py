"""Much data over connections none of which lasts: every byte arrives once, and neither side holds much of it."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import deferLater

from tests.resume.real import Behind
from tests.resume.test_absent_clients import fingerprint_of
from tests.server_process import HOST, PATIENCE, ServerProcess
from tests.serving import asynchronous, reactor
from twisted_rsh.testing import CutEverySeconds
from twisted_rsh.trust.home import ConfigFolders

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux shows what a process has"),
]

TRANSFER_BYTES = 64 * 1024 * 1024
"""Bytes each way."""

SCHEDULE = CutEverySeconds(seed=64, low=0.1, high=0.5, spare_seconds=2.0)
"""Cuts each connection after some tenths of a second; the first one may take longer, for its login is not repeated."""

MIN_CUTS = 2
"""Cuts that there are at least: a fast machine moves 64 MiB within half a second."""

MAX_GROWTH_BYTES = 24 * 1024 * 1024
"""Bytes of memory that each side may take for a transfer, at its peak: less than half of what is transferred, and some
tens of windows, for what TLS and the allocator hold."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server in a process of its own."""
    process = ServerProcess(tmp_path / "server")
    yield process
    process.stop()


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has had; 0 for one that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    except FileNotFoundError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


class Transfer:
    """A client program that runs to its end behind a proxy that cuts.

    :ivar peak: the most memory that the client had.
    """

    def __init__(self, behind: Behind, *words: str, stdin: Path | None, stdout: Path) -> None:
        self.peak = 0
        with open(os.devnull if stdin is None else stdin, "rb") as source, stdout.open("wb") as sink:
            self._client = subprocess.Popen(
                self._command(behind, *words), stdin=source, stdout=sink, stderr=subprocess.PIPE
            )

    @staticmethod
    def _command(behind: Behind, *words: str) -> list[str]:
        import sys

        options = [
            "--config-dir",
            behind.config.config,
            "-p",
            str(behind.proxy.port),
            "--fingerprint",
            behind.fingerprint,
        ]
        return [sys.executable, "-m", "twisted_rsh.client", "-q", *options, HOST, *words]

    async def finish(self) -> tuple[int | None, bytes]:
        """Wait for its end; return its status and what it wrote to stderr."""
        deadline = reactor.seconds() + 2 * PATIENCE
        while self._client.poll() is None:
            self.peak = max(self.peak, peak_bytes(self._client.pid))
            if reactor.seconds() > deadline:
                self._client.kill()
            await deferLater(reactor, 0.02)
        _, errors = self._client.communicate()
        return self._client.returncode, errors


@pytest.mark.parametrize("way", ["up", "down"])
@asynchronous
async def test_64_mib_over_connections_that_are_cut(server: ServerProcess, tmp_path: Path, way: str) -> None:
    """M-01: 64 MiB through a proxy that cuts every few tenths of a second: the same SHA-256, and bounded memory."""
    data = random.Random(64).randbytes(TRANSFER_BYTES)
    source, answer = tmp_path / "source", tmp_path / "answer"
    source.write_bytes(data)
    behind = Behind(server.port, ConfigFolders.at(str(server.folder)), fingerprint_of(server))
    behind.proxy.schedule = SCHEDULE
    await behind.proxy.start()
    warm = Transfer(behind, "true", stdin=None, stdout=answer)
    assert await warm.finish() == (0, b"")
    before = peak_bytes(server.process.pid)
    cuts = behind.proxy.cuts
    if way == "up":
        transfer = Transfer(behind, "sha256sum", stdin=source, stdout=answer)
    else:
        transfer = Transfer(behind, "cat", str(source), stdin=None, stdout=answer)
    assert await transfer.finish() == (0, b"")
    digest = hashlib.sha256(data).hexdigest()
    if way == "up":
        assert answer.read_text().split()[0] == digest
    else:
        assert hashlib.sha256(answer.read_bytes()).hexdigest() == digest
    assert behind.proxy.cuts - cuts >= MIN_CUTS
    assert peak_bytes(server.process.pid) - before < MAX_GROWTH_BYTES
    assert transfer.peak - warm.peak < MAX_GROWTH_BYTES
    await behind.stop()
