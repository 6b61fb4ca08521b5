"""``python -m bench.attacks.job_control``: the client under a shell that takes its terminal away.

Attacked is the client on a terminal of its own, with an interactive bash: in the background, stopped and continued,
below ``timeout`` in a script, without a terminal, and in a pipeline, while keys are typed that are not for it.  Beside
it OpenSSH's client goes through the same, where ``ssh`` and ``sshd`` are installed.

Promised is that the client is stopped where it needs the terminal, and only there, and that ``timeout`` ends it always.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pty
import select
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.servers.starting import OPENSSH, OURS, Site, find_sshd, running
from bench.surroundings import (
    authorized_keys_path,
    clean_up_when_ended,
    client_key_path,
    environment,
    known_hosts_path,
    prepare,
    user_name,
)

__all__ = ["main"]

HOST = "127.0.0.1"

OUTCOME_SECONDS = 8.0
"""Seconds after which a command that has not ended counts as hanging: ``timeout`` in a case waits for three."""

TYPING_SECONDS = 3.0
"""Seconds for which keys are typed at the shell while a client is in the background."""

SHELL_SECONDS = 0.4
"""Seconds between two lines that are typed."""

AT_ONCE = 4
"""Cases that run at the same time; most of them wait."""

END = "status"
"""The word before the exit status that the shell prints."""


@dataclass(frozen=True, slots=True)
class _Case:
    """What is typed, and what is promised of it.

    :ivar name: a short name.
    :ivar line: the line for the shell, with ``{t}`` for the client up to the host.  Its job is looked at if it ends
        with ``&``, and otherwise the status that the shell prints.
    :ivar promised: the outcome: ``runs``, ``stopped``, ``gone``, ``hangs``, or ``status N``.
    :ivar then: keys to press while it runs.
    """

    name: str
    line: str
    promised: str
    then: Sequence[str] = ()


_CASES = (
    _Case("cmd &", "{t} 'sleep 50' &", "runs"),
    _Case("cmd in a script, timeout", """sh -c "timeout 3 {t} 'sleep 50'; exit \\$?" """, "status 124"),
    _Case("cmd & with -t", "{t-t} 'sleep 50' &", "stopped"),
    _Case("console &", "{t} &", "stopped"),
    _Case("cmd & with -n", "{t-n} 'sleep 50' &", "runs"),
    _Case("cmd & that ends", "{t} true &", "gone"),
    _Case("nohup cmd &", "nohup {t} 'cat; sleep 50' > /dev/null 2>&1 &", "runs"),
    _Case("nohup cmd", "nohup {t} 'cat; exit 3' > /dev/null 2>&1", "status 3"),
    _Case("-t in a script, timeout", """sh -c "timeout 3 {t-t} 'sleep 50'; exit \\$?" """, "status 124"),
    _Case("console in a script, timeout", """sh -c "timeout 3 {t}; exit \\$?" """, "status 124"),
    _Case("cmd at a prompt, timeout", "timeout 3 {t} 'sleep 50'", "status 124"),
    _Case("setsid cmd", "setsid --wait {t} 'head -1; exit 5'", "status 5"),
    _Case("a pipeline's middle", "echo x | {t} cat | grep -c x", "status 0"),
    _Case("Ctrl-Z", "{t} 'sleep 50'", "status 148", ("\x1a",)),
    _Case("set -m, script gone", "bash -c \"set -m; {t} 'sleep 50' & \"", "status 0"),
)

_QUICK = 2
"""Cases of a quick run."""


class _Shell:
    """An interactive bash on a terminal of its own."""

    def __init__(self, variables: dict[str, str]) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execvpe("bash", ["bash", "--norc", "--noediting", "-i"], variables | {"PS1": "", "TERM": "dumb"})  # noqa: S606
        self._shown = ""

    def type(self, text: str) -> None:
        """Press keys, and look at the screen for a moment."""
        os.write(self._fd, text.encode())
        self.wait(SHELL_SECONDS)

    def wait(self, seconds: float, until: str | None = None) -> str | None:
        """Look at the screen until a line begins with a word; return that line, or ``None``."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self._fd], [], [], left)[0]:
                try:
                    self._shown += os.read(self._fd, 65536).decode(errors="replace")
                except OSError:
                    return None
            found = [line for line in self._shown.split("\n")[:-1] if until and line.startswith(f"{until} ")]
            if found:
                return found[0].strip()
        return None

    def close(self) -> None:
        """End every process of the terminal, and close it."""
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if os.getsid(int(name)) == self.pid:
                    os.kill(int(name), signal.SIGKILL)
        os.close(self._fd)
        os.waitpid(self.pid, 0)


def _state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            letter = file.read().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "gone"
    return {"T": "stopped", "Z": "gone"}.get(letter, "runs")


def _outcome(case: _Case, client: list[str], variables: dict[str, str]) -> str:
    """Run one case, and say what happened."""
    options = {"{t}": [], "{t-t}": ["-t"], "{t-n}": ["-n"]}
    line = case.line
    for place, more in options.items():
        line = line.replace(place, shlex.join([*client, *more, HOST]))
    shell = _Shell(variables)
    try:
        if line.rstrip().endswith("&"):
            shell.type(f"{line} echo pid $!\r")
            told = shell.wait(OUTCOME_SECONDS, "pid")
            end = time.monotonic() + TYPING_SECONDS
            while time.monotonic() < end:
                shell.type(": typed\r")
            return _state(int(told.split()[1])) if told else "no shell"
        shell.type(f"{line.rstrip()}; echo {END} $?\r")
        shell.wait(2 * SHELL_SECONDS)
        for keys in (*case.then, ": typed\r"):
            shell.type(keys)
        return shell.wait(OUTCOME_SECONDS, END) or "hangs"
    finally:
        shell.close()


@contextlib.contextmanager
def _clients(folder: str) -> Iterator[dict[str, list[str]]]:
    """Start the servers, and give the command lines of their clients, up to the host."""
    shell = "/bin/sh"
    site = Site(folder=folder, shell=shell)
    with contextlib.ExitStack() as stack:
        _, port = stack.enter_context(running(OURS, site))
        client = [sys.executable, "-m", "twisted_rsh.client", "--config-dir", folder, "-p", str(port)]
        clients = {"trsh": client}
        if shutil.which("ssh") and find_sshd() and os.path.exists(authorized_keys_path(folder)):
            _, port = stack.enter_context(running(OPENSSH, site))
            files = ["-i", client_key_path(folder), "-o", f"UserKnownHostsFile={known_hosts_path(folder)}"]
            clients["ssh"] = ["ssh", "-F", "/dev/null", *files, "-p", str(port), "-l", user_name()]
        yield clients


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :raises SystemExit: always: with status 1 when the promise was broken.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.attacks.job_control", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"the first {_QUICK} cases, without ssh")
    is_quick = parser.parse_args(arguments).quick
    clean_up_when_ended()
    is_broken = False
    with tempfile.TemporaryDirectory(prefix="rshbench-") as folder:
        prepare(folder)
        with _clients(folder) as clients, ThreadPoolExecutor(AT_ONCE) as pool:
            names = ["trsh"] if is_quick else list(clients)
            cases = _CASES[:_QUICK] if is_quick else _CASES
            started = [
                (case, [pool.submit(_outcome, case, clients[name], environment(folder)) for name in names])
                for case in cases
            ]
            for case, outcomes in started:
                seen = [outcome.result() for outcome in outcomes]
                is_broken |= seen[0] != case.promised
                both = ", ".join(f"{name} {outcome}" for name, outcome in zip(names, seen, strict=True))
                print(f"{case.name}: {both}, promised {case.promised}", flush=True)
    sys.exit(is_broken)


if __name__ == "__main__":
    main(sys.argv[1:])
