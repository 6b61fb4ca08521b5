"""One transfer of a file: ``python -m bench.clients.transfer WAY FOLDER PORT PATH`` writes what came of it as JSON.

WAY is ``up``, the file goes to ``sha256sum`` at the server, or ``down``, from ``cat`` there.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from bench.processes import peak_mb
from twisted_rsh import Job, connect
from twisted_rsh.core.endings import Exited
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.server_key import load_or_create_server_key

__all__ = ["main"]

PIECE_BYTES = 64 * 1024
"""Bytes that are read from the file at once."""


async def _upload(job: Job, path: str) -> str:
    with open(path, "rb") as file:
        while piece := file.read(PIECE_BYTES):
            await job.stdin.write(piece)
    job.stdin.end()
    said = b"".join([chunk async for chunk in job.stdout])
    return said.decode().split()[0]


async def _download(job: Job) -> str:
    digest = hashlib.sha256()
    async for chunk in job.stdout:
        digest.update(chunk)
    return digest.hexdigest()


async def _transfer(reactor: Any, way: str, folder: str, port: int, path: str) -> None:
    config = ConfigFolders.at(folder)
    fingerprint = load_or_create_server_key(config).fingerprint
    connection = await connect(reactor, "127.0.0.1", port, config=config, fingerprint=fingerprint)
    outages: list[str] = []
    connection.watch_link(lambda reason: outages.append(reason) if reason is not None else None)
    start = time.perf_counter()
    if way == "up":
        job = connection.start(["sha256sum"])
        digest = await _upload(job, path)
    else:
        job = connection.start(["cat", path])
        digest = await _download(job)
    end = await job.wait()
    seconds = time.perf_counter() - start
    if end.ending != Exited(0):
        raise RuntimeError(f"the command ended with {end.ending}")
    await connection.close()
    figures = {"seconds": seconds, "sha256": digest, "outages": len(outages), "peak_mb": peak_mb(os.getpid())}
    print(json.dumps(figures), flush=True)


def main(way: str, folder: str, port: int, path: str) -> None:
    """Transfer once.

    :param way: ``"up"`` or ``"down"``.
    :param folder: the folder of the keys.
    :param port: the TCP port on 127.0.0.1 to connect to.
    :param path: the file.
    :raises SystemExit: always, when it is done; with status 1, and the reason on stderr, when that failed.
    """
    react(lambda reactor: Deferred.fromCoroutine(_transfer(reactor, way, folder, port, path)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
