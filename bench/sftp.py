"""``python -m bench.sftp``: the package's own server of files beside OpenSSH's, both behind ``trsh -s host sftp``.

See README.rst.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import select
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.processes import peak_mb
from bench.report import describe_machine, find_versions
from bench.servers.starting import OURS, Site, running
from bench.surroundings import ROOT, clean_up_when_ended, environment, prepare
from twisted_rsh.execution.sftp import SYSTEM_SERVERS

__all__ = ["main"]

SERVERS = ("system", "own")
"""OpenSSH's server, and the package's own."""

MAX_RATIOS = {"put large": 1.2, "get large": 1.2, "put small": 2.0, "get small": 2.0}
"""The own server's time, as a multiple of OpenSSH's, above which the exit status is 1."""

RUN_SECONDS = 300.0
"""Seconds after which a run of ``sftp`` is given up."""

BLOCK_BYTES = 1024 * 1024
SMALL_BYTES = 1024

UNREAD = 8000
"""READs whose replies are not read."""

READ_BYTES = 32 * 1024
"""What a client asks for at once, unless it asks the server for its bounds."""


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.sftp", description=__doc__)
    parser.add_argument("--mib", type=int, default=512, help="size of the large file, in MiB [512]")
    parser.add_argument("--files", type=int, default=5000, help="small files, of 1 KiB each [5000]")
    parser.add_argument("--rounds", type=int, default=3, help="of each transfer with each server [3]")
    parser.add_argument("--json", metavar="FILE", help="write all figures to a file")
    parser.add_argument("--no-check", action="store_true", help="exit with 0 whatever the ratios are")
    return parser.parse_args(arguments)


def _make_files(folder: Path, mib: int, count: int) -> None:
    with open(folder / "large", "wb") as file:
        file.writelines(random.randbytes(BLOCK_BYTES) for _ in range(mib))
    (folder / "small").mkdir()
    for number in range(count):
        (folder / "small" / str(number)).write_bytes(random.randbytes(SMALL_BYTES))


def _run(folder: Path, program: str, *lines: str) -> float:
    """Run ``sftp``; return the seconds that it took."""
    batch = folder / "batch"
    batch.write_text("".join(f"{line}\n" for line in lines))
    start = time.perf_counter()
    subprocess.run(
        ["sftp", "-q", "-S", program, "-b", batch, "127.0.0.1"],
        env=environment(str(folder)),
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=RUN_SECONDS,
    )
    return time.perf_counter() - start


def _transfer(folder: Path, server: str) -> dict[str, float]:
    """Do each transfer once with a new server; return the seconds beyond those that connecting takes."""
    there, back = folder / "there", folder / "back"
    there.mkdir()
    back.mkdir()
    site = Site(folder=str(folder), shell="/bin/sh", server_options=("--sftp", server))  # noqa: S604 - a name
    with running(OURS, site) as (_, port):
        program = folder / "trsh"
        words = f"{sys.executable} -m twisted_rsh.client --config-dir {folder} -p {port}"
        program.write_text(f'#!/bin/sh\ncd {ROOT}\nexec {words} "$@"\n')
        program.chmod(0o755)
        start = min(_run(folder, str(program), "pwd") for _ in range(3))
        figures = {
            "put large": _run(folder, str(program), f"put {folder}/large {there}/large"),
            "get large": _run(folder, str(program), f"get {there}/large {back}/large"),
            "put small": _run(folder, str(program), f"put -R {folder}/small {there}/small"),
            "get small": _run(folder, str(program), f"get -R {there}/small {back}/small"),
        }
    for name in ("large", "small/0"):
        if (back / name).read_bytes() != (folder / name).read_bytes():
            raise RuntimeError(f"{name} came back as another file")
    shutil.rmtree(there)
    shutil.rmtree(back)
    return {name: seconds - start for name, seconds in figures.items()}


def _peak_with_unread(folder: Path, server: str) -> float:
    """Send READs and read no reply; return the peak of the server's memory in MB.

    The server is driven through pipes: behind ``trsh`` the credit of the connection bounds what it gets.
    """
    own = [sys.executable, "-ES", "-m", "twisted_rsh.files"]
    command = own if server == "own" else [next(path for path in SYSTEM_SERVERS if os.path.exists(path))]
    path = os.fsencode(folder / "large")
    opening = _packet(3, struct.pack("!II", 1, len(path)) + path + struct.pack("!II", 1, 0))
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(_packet(1, struct.pack("!I", 3)))
        _read_packet(process)
        process.stdin.write(opening)
        handle = _read_packet(process)[5:]
        reads = b"".join(
            _packet(5, struct.pack("!I", number) + handle + struct.pack("!QI", 0, READ_BYTES))
            for number in range(UNREAD)
        )
        fd = process.stdin.fileno()
        os.set_blocking(fd, False)
        while reads and select.select([], [fd], [], 1.0)[1]:
            reads = reads[os.write(fd, reads) :]
        peak = peak_mb(process.pid)
        process.kill()
    return peak


def _packet(kind: int, fields: bytes) -> bytes:
    return struct.pack("!IB", 1 + len(fields), kind) + fields


def _read_packet(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    packet = b""
    size = struct.unpack("!I", process.stdout.read(4))[0]
    while len(packet) < size:
        packet += process.stdout.read(size - len(packet))
    return packet


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :returns: the exit status: 1 when the own server takes more than its share of time.
    :raises RuntimeError: something did not start, or a file came back as another.
    """
    options = _options(arguments)
    clean_up_when_ended()
    figures: dict[str, list[dict[str, float]]] = {server: [] for server in SERVERS}
    with tempfile.TemporaryDirectory(prefix="rshbench-") as name:
        folder = Path(name)
        prepare(name)
        _make_files(folder, options.mib, options.files)
        for number in range(options.rounds):
            for server in random.sample(SERVERS, len(SERVERS)):
                figures[server].append(_transfer(folder, server))
                seconds = ", ".join(f"{name} {value:.2f} s" for name, value in figures[server][-1].items())
                print(f"round {number + 1}: {server}: {seconds}", file=sys.stderr, flush=True)
        peaks = {server: _peak_with_unread(folder, server) for server in SERVERS}
    print("transfer     OpenSSH       own   ratio (range)")
    is_slow = False
    for transfer, most in MAX_RATIOS.items():
        taken = {server: [one[transfer] for one in figures[server]] for server in SERVERS}
        ratios = [own / system for own, system in zip(taken["own"], taken["system"], strict=True)]
        ratio = statistics.median(ratios)
        is_slow |= ratio > most
        medians = "".join(f"  {statistics.median(taken[server]):6.2f} s" for server in SERVERS)
        print(f"{transfer}{medians}   {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"peak with {UNREAD} READs unread: {peaks['system']:.1f} MB, {peaks['own']:.1f} MB")
    if options.json:
        settings = {name: getattr(options, name) for name in ("mib", "files", "rounds")}
        machine = {"machine": describe_machine(), "versions": find_versions()}
        results = {"format": 1, **machine, "settings": settings, "figures": figures, "peaks": peaks}
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 1 if is_slow and not options.no_check else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
