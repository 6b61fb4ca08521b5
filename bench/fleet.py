"""``python -m bench.fleet``: one command on many hosts, beside pdsh and parallel-ssh, with OpenSSH and with ``trsh``.

See README.rst.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from bench.processes import with_descendants
from bench.report import describe_machine, find_versions
from bench.servers.starting import OPENSSH, OURS, Site, find_sshd, running
from bench.surroundings import ROOT, clean_up_when_ended, client_key_path, environment, known_hosts_path, prepare

__all__ = ["main"]

RUN_SECONDS = 300.0
"""Seconds after which a run is given up."""

LOOK_SECONDS = 0.1
"""Seconds between two looks at the memory."""

ADDRESS = "127.0.0.1"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.add_argument("--hosts", type=int, default=200, help="hosts, which are all one server [200]")
    parser.add_argument("--parallel", type=int, default=64, help="hosts at once [64]")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each program [3]")
    parser.add_argument("--command", default="echo pong", help="what to run [echo pong]")
    parser.add_argument("--only", metavar="A,B", help="programs to measure, by their names in the report [all]")
    parser.add_argument("--json", metavar="FILE", help="write all figures to a file")
    return parser.parse_args(arguments)


def _memory_mb(pid: int) -> float:
    """Return the memory of a process and its descendants in MB, where what they share counts once."""
    total = 0.0
    for process in with_descendants(pid):
        with contextlib.suppress(OSError), open(f"/proc/{process}/smaps_rollup", encoding="ascii") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:")) * 1024 / 1e6
    return total


def _run(folder: Path, words: Sequence[str], count: int) -> dict[str, float]:
    """Run a program, whose output has a line for each host that did it; return its time and its memory."""
    start = time.perf_counter()
    with (
        (folder / "errors").open("w+b") as errors,
        subprocess.Popen(
            words,
            env=environment(str(folder)),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        ) as process,
    ):
        peaks = [0.0]

        def look() -> None:
            while process.returncode is None and not done.wait(LOOK_SECONDS):
                peaks.append(_memory_mb(process.pid))

        done = threading.Event()
        looking = threading.Thread(target=look)
        looking.start()
        try:
            output, _ = process.communicate(timeout=RUN_SECONDS)
        finally:
            seconds = time.perf_counter() - start
            process.kill()
            done.set()
            looking.join()
        found = output.count(b"pong")
        if found != count:
            errors.seek(0)
            text = errors.read().decode(errors="replace").strip().splitlines()[-1:]
            print(f"{words[0]}: {found} of {count} hosts did it: {text}", file=sys.stderr, flush=True)
    return {"seconds": seconds, "memory_mb": max(peaks), "hosts": found}


def _programs(folder: Path, ports: dict[str, int], options: argparse.Namespace) -> dict[str, list[str]]:
    """Return the command line of each program that is installed, by its name in the report."""
    hosts, fanout, command = f"n[1-{options.hosts}]", str(options.parallel), options.command
    # With a family, ours takes TCP and TLS, as between machines, and not the Unix socket of the account.
    (folder / "config").write_text(f"Host n*\n    HostName {ADDRESS}\n    Port {ports[OURS]}\n    AddressFamily inet\n")
    (folder / "config").chmod(0o600)
    trsh = folder / "trsh"
    trsh.write_text(f'#!/bin/sh\nexec {sys.executable} -m twisted_rsh.client --config-dir {folder} "$@"\n')
    trsh.chmod(0o755)
    found = {
        # Each host's line is written, as by the others, and not once for all of them.
        "trsh": [str(trsh), "-n", "--prefix", "--parallel", fanout, "--hosts", hosts, command],
    }
    if shutil.which("pdsh"):
        found["pdsh trsh"] = ["pdsh", "-R", "exec", "-S", "-f", fanout, "-w", hosts, str(trsh), "-n", "%h", command]
    if OPENSSH not in ports:
        return found
    (folder / "ssh_config").write_text(
        f"Host n*\n HostName {ADDRESS}\n Port {ports[OPENSSH]}\n IdentityFile {client_key_path(str(folder))}\n"
        f" IdentitiesOnly yes\n UserKnownHostsFile {known_hosts_path(str(folder))}\n BatchMode yes\n LogLevel ERROR\n"
    )
    ssh = ["ssh", "-F", str(folder / "ssh_config")]
    if shutil.which("pdsh"):
        found["pdsh ssh"] = ["pdsh", "-R", "exec", "-S", "-f", fanout, "-w", hosts, *ssh, "-n", "%h", command]
    if shutil.which("parallel-ssh"):
        names = folder / "names"
        names.write_text("".join(f"n{number}\n" for number in range(1, options.hosts + 1)))
        words = ["parallel-ssh", "-i", "-p", fanout, "-h", str(names), "-x", f"-F {folder}/ssh_config", command]
        found["parallel-ssh"] = words
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :returns: the exit status.
    :raises RuntimeError: something did not start.
    """
    options = _options(arguments)
    clean_up_when_ended()
    with tempfile.TemporaryDirectory(prefix="rshbench-") as name, contextlib.ExitStack() as servers:
        folder = Path(name)
        prepare(name)
        many = ("--max-sessions-per-key", str(options.hosts + 1), "--max-unauthenticated", "1000")
        site = Site(folder=name, shell="/bin/sh", server_options=many)  # noqa: S604 - the name of a shell
        kinds = [OURS, *([OPENSSH] if find_sshd() else [])]
        ports = {kind: servers.enter_context(running(kind, site))[1] for kind in kinds}
        programs = _programs(folder, ports, options)
        if options.only is not None:
            programs = {name: words for name, words in programs.items() if name in options.only.split(",")}
        figures: dict[str, list[dict[str, float]]] = {program: [] for program in programs}
        for number in range(options.rounds):
            for program in random.sample(list(programs), len(programs)):
                figures[program].append(_run(folder, programs[program], options.hosts))
                print(f"round {number + 1}: {program}: {figures[program][-1]}", file=sys.stderr, flush=True)
    print(f"{options.hosts} hosts, {options.parallel} at once       time    range           memory")
    for program, rounds in figures.items():
        taken = [one["seconds"] for one in rounds]
        memory = statistics.median(one["memory_mb"] for one in rounds)
        seconds = f"{statistics.median(taken):6.2f} s  {min(taken):.2f} to {max(taken):.2f}"
        missing = sum(options.hosts - one["hosts"] for one in rounds)
        print(f"{program:<24}  {seconds:<24}  {memory:6.1f} MB{f'  {missing:.0f} hosts failed' if missing else ''}")
    if options.json:
        settings = {name: getattr(options, name) for name in ("hosts", "parallel", "rounds", "command")}
        machine = {"machine": describe_machine(), "versions": find_versions()}
        results = {"format": 1, **machine, "settings": settings, "figures": figures}
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
