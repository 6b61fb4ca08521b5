"""The processor time from the start of the console to its first prompt, beside that of the imports alone."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.terminal import PROMPT, Terminal
from tests.server_process import ServerProcess

pytestmark = [pytest.mark.real, pytest.mark.uncut("measures a time")]

PROMISED_SECONDS = 0.5
"""Seconds of the client's processor beyond those of the imports: what other programs do at the time does not count."""

ROUNDS = 3

_IMPORTS = """
import resource
from twisted.internet import asyncioreactor, reactor
import twisted_rsh.cli.program, twisted_rsh.cli.console, twisted_rsh.cli.prompt
usage = resource.getrusage(resource.RUSAGE_SELF)
print(usage.ru_utime + usage.ru_stime)
"""


def seconds_to_prompt(server: ServerProcess) -> float:
    """Start a console, and return the seconds of its processor until its first prompt."""
    with closing(Terminal(server.command(), server.environment)) as terminal:
        terminal.until(lambda: terminal.lines[-1:] == [PROMPT.rstrip()])
        fields = Path(f"/proc/{terminal.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def seconds_to_import(server: ServerProcess) -> float:
    """Start the interpreter with all imports of a console, and return the seconds of its processor."""
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS], env=server.environment, check=True, capture_output=True, text=True
    )
    return float(done.stdout)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not tell a process's time")
def test_first_prompt(server: ServerProcess) -> None:
    """The first prompt is there within half a second of the interpreter's own imports."""
    seconds_to_prompt(server)  # makes the key, and the files of the modules
    prompt = min(seconds_to_prompt(server) for _ in range(ROUNDS))
    imports = min(seconds_to_import(server) for _ in range(ROUNDS))
    print(f"first prompt {prompt:.2f} s, imports {imports:.2f} s")
    assert prompt - imports < PROMISED_SECONDS
