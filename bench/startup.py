"""``python -m bench.startup``: how long a whole process takes that connects, runs ``true``, and exits; beside ``ssh``.

The contestants take turns, in a new random order each round, so that what else the machine does meets all of them.  A
figure is the median over the rounds; a ratio is taken within each round.  See README.rst.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.clients.openssh import ssh_command
from bench.delaying import delaying
from bench.report import describe_machine, find_versions
from bench.servers.starting import OPENSSH, OURS, Site, find_sshd, running
from bench.surroundings import ROOT, clean_up_when_ended, environment, prepare, user_name
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.server_key import load_or_create_server_key

__all__ = ["main"]

HOST = "127.0.0.1"

SUBJECT = "trsh"
PEER = "ssh"
"""The two whose ratio counts."""

MAX_RATIO = 1.1
"""Time of ``trsh`` over that of ``ssh``, both cold, above which the exit status is 1."""

RUN_SECONDS = 60.0
"""Seconds after which a process is given up; the slowest takes one on a busy machine."""


@dataclass(frozen=True, slots=True)
class Run:
    """One process, from its start to its end.

    :ivar wall_ms: milliseconds of the clock.
    :ivar processor_ms: milliseconds of processor time, of the process and of the children that it waited for.
    """

    wall_ms: float
    processor_ms: float


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=25, help="runs of each [25]")
    parser.add_argument("--former", type=Path, help="a source tree of another version, to measure beside this one")
    parser.add_argument(
        "--ms", type=float, default=0.0, help="also over a way of so many ms there and back, to count round trips [no]"
    )
    parser.add_argument("--json", metavar="FILE", help="write all figures to a file")
    parser.add_argument("--no-check", action="store_true", help=f"whatever the ratio is, not only up to {MAX_RATIO}")
    return parser.parse_args(arguments)


@dataclass(frozen=True, slots=True)
class Client:
    """How to start one of the contestants.

    :ivar words: the command line.
    :ivar variables: the environment.
    :ivar folder: the folder to run in; ``python -m`` looks there first.
    """

    words: Sequence[str]
    variables: Mapping[str, str]
    folder: str = ROOT


def _clients(folder: str, port: int, former: Path | None) -> dict[str, Client]:
    """Return the clients of ours, and an interpreter that does nothing.

    With ``-4`` they take TCP and TLS, as between two machines, and not the Unix socket of the account.
    """
    here = ["--config-dir", folder, "-p", str(port), HOST, "true"]
    words = ["-4", *here]
    usual = environment(folder)
    script = os.path.join(os.path.dirname(sys.executable), "trsh")
    found = {
        SUBJECT: Client([script, *words], usual),
        "trsh, Unix socket": Client([sys.executable, "-m", "twisted_rsh.client", *here], usual),
        "twisted-rsh-client": Client([sys.executable, "-m", "twisted_rsh.client", *words], usual),
        "python -c pass": Client([sys.executable, "-c", "pass"], usual),
    }
    if not os.path.exists(script):  # the package is not installed beside this interpreter
        found[SUBJECT] = found.pop("twisted-rsh-client")
    if former is not None:
        tree = str(former.resolve())
        command = [sys.executable, "-m", "twisted_rsh.client", *words]
        found["former"] = Client(command, {**usual, "PYTHONPATH": tree}, tree)
    return found


def _ssh(folder: str, port: int) -> Client:
    return Client([*ssh_command(folder, port, user_name()), HOST, "true"], environment(folder))


def _far_runs(options: argparse.Namespace, folder: str, port: int, ssh_port: int) -> dict[str, list[Run]]:
    """Run ``trsh``, and ``ssh`` unless its port is 0, over a way that is far."""
    way = (options.ms / 1000, 0.0, 0.0, 1)
    with contextlib.ExitStack() as stack:
        far_port = stack.enter_context(delaying(folder, port, *way))
        fingerprint = load_or_create_server_key(ConfigFolders.at(folder)).fingerprint
        words = ["--config-dir", folder, "--fingerprint", fingerprint, "-p", str(far_port), HOST, "true"]
        clients = {SUBJECT: Client([sys.executable, "-m", "twisted_rsh.client", *words], environment(folder))}
        if ssh_port:
            clients[PEER] = _ssh(folder, stack.enter_context(delaying(folder, ssh_port, *way)))
        return _take_turns(clients, options.rounds)


def _measure(client: Client) -> Run:
    """Run a client once.

    :raises RuntimeError: it failed.
    """
    begun = time.perf_counter()
    process = subprocess.Popen(
        client.words,
        cwd=client.folder,
        env=client.variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    with process.stderr:
        said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(
            f"{client.words[0]} exited with {process.returncode}: {said.decode(errors='replace').strip()}"
        )
    return Run(wall * 1e3, (usage.ru_utime + usage.ru_stime) * 1e3)


def _table(runs: Mapping[str, Sequence[Run]]) -> str:
    lines = [f"{'whole process':<24} {'ms (range)':>24} {'processor ms':>13}   {'of ssh (quartiles)':>20}"]
    for name, own in runs.items():
        walls = sorted(run.wall_ms for run in own)
        spread = f"{statistics.median(walls):.0f} ({walls[0]:.0f} to {walls[-1]:.0f})"
        line = f"{name:<24} {spread:>24} {statistics.median(run.processor_ms for run in own):13.0f}"
        if PEER in runs and name != PEER:
            ratios = _ratios(runs, name)
            low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
            line += f"   {f'{middle:.2f} ({low:.2f} to {high:.2f})':>20}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _ratios(runs: Mapping[str, Sequence[Run]], name: str) -> list[float]:
    return [own.wall_ms / other.wall_ms for own, other in zip(runs[name], runs[PEER], strict=True)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :returns: the exit status: 1 when ``trsh`` took more than :data:`MAX_RATIO` of the time of ``ssh``.
    :raises RuntimeError: a server did not start, or a client failed.
    """
    options = _options(arguments)
    clean_up_when_ended()
    with tempfile.TemporaryDirectory(prefix="rshbench-") as folder:
        prepare(folder)
        site = Site(folder=folder, shell="/bin/sh")  # noqa: S604 - the name of a shell, which nothing is run by here
        with running(OURS, site) as (_, port):
            clients = _clients(folder, port, options.former)
            with contextlib.ExitStack() as stack:
                ssh_port = 0
                if shutil.which("ssh") is None or find_sshd() is None:
                    print("left out: ssh: not installed: OpenSSH's ssh and sshd", file=sys.stderr)
                else:
                    _, ssh_port = stack.enter_context(running(OPENSSH, site))
                    clients[PEER] = _ssh(folder, ssh_port)
                runs = _take_turns(clients, options.rounds)
                far = _far_runs(options, folder, port, ssh_port) if options.ms else {}
    sys.stdout.write(_table(runs))
    for name, own in far.items():
        more = statistics.median(run.wall_ms for run in own) - statistics.median(run.wall_ms for run in runs[name])
        # The proxy's own connection is near, so TCP's handshake is not in it.
        trips = more / options.ms + 1
        print(f"{name}: {more:.0f} ms more with {options.ms:.0f} ms there and back: {trips:.1f} round trips")
    if options.json:
        machine = {"machine": describe_machine(), "versions": find_versions()}
        figures = {name: [asdict(run) for run in own] for name, own in runs.items()}
        results = {"format": 1, **machine, "settings": {"rounds": options.rounds}, "figures": figures}
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    is_late = PEER in runs and statistics.median(_ratios(runs, SUBJECT)) > MAX_RATIO
    return 1 if is_late and not options.no_check else 0


def _take_turns(clients: Mapping[str, Client], rounds: int) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {name: [] for name in clients}
    for number in range(1 + rounds):
        for name in random.sample(list(clients), len(clients)):
            run = _measure(clients[name])
            if number:  # the first round compiles modules and fills caches
                runs[name].append(run)
    return runs


if __name__ == "__main__":
    sys.exit(main())
