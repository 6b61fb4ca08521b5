"""Scripts: stdin without a command.  The shell on the server reads it, so it means what it means to that shell."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time

import pytest

from tests.server_process import HOST, PATIENCE, ServerProcess, finish, read_line
from tests.serving import Serving, asynchronous, reactor
from tests.tools import require_tool
from twisted_rsh.cli.program import SCRIPT_COMMAND
from twisted_rsh.core.endings import Exited
from twisted_rsh.execution.account import Account
from twisted_rsh.server.portal import local_portal
from twisted_rsh.trust.home import ConfigFolders

SCRIPTS = {
    "commands": "echo one\n\n  \n(exit 3)\necho two >&2\n(exit 4)",
    "here-document": "cat <<E\nfor i in 1 2\n$((1+1))\nE\necho end\n",
    "loop": "for i in 1 2\ndo\n  echo $i\ndone\n",
    "function": 'f()\n{\n  echo "in f: $1"\n  return 5\n}\nf x\n',
    "state": "cd /\nx=kept\npwd\necho $x\n",
    "quotes": "echo 'two\nlines'\n",
    "continued": "echo a \\\n  b\n",
    "unfinished": "echo a\necho 'b\n",
    "unfinished backslash": "echo a \\",
    "syntax error": "echo a\ndone\necho b\n",
    "a line that is refused": "echo a\nnosuchcommand 2>/dev/null\necho $?\n",
    "exit": "exit 3\necho never\n",
    "exit in a function": "f() { exit 6; }\nf\necho never\n",
    "errexit": "set -e\n[ -f /nosuch ] && echo y\n! true\necho a\nfalse\necho never\n",
    "traps": "trap 'echo bye $?' EXIT\necho a\nexit 7\n",
    "stdin": 'read line\nthis is for read\necho "$line"\n',
    "a program reads the rest": "cat\necho for cat\n",
    "broken pipe": "yes | head -1\necho $?\n",
    "a killed program": "sh -c 'kill -9 $$'\necho $?\n",
    "background": "(sleep 0.1; echo late) &\nwait\necho end\n",
    "long line": f"x={'a' * 100_000}\necho ${{#x}}\n",
    "bytes": "printf '\\377' | od -An -tx1\necho \u4e16\u754c\n",
    "nothing": "",
    "no newline": "echo a",
}
"""Scripts by their subject."""


@pytest.mark.real
@pytest.mark.parametrize("shell", ["bash", "dash", "zsh"])
@asynchronous
async def test_scripts(config: ConfigFolders, shell: str) -> None:
    """A script writes the same and ends with the same status as if the shell had read it here."""
    path = require_tool(shell)
    numbers = re.compile(rb"\d+ Killed")  # bash names the process
    serving = Serving(config, local_portal(reactor, config, Account.current(os.environ, path, "utf-8")))
    await serving.start()
    connection = await serving.connect()
    for subject, text in SCRIPTS.items():
        script = text.encode()
        plain = subprocess.run([path], input=script, capture_output=True, timeout=PATIENCE)
        result = await connection.run(SCRIPT_COMMAND, stdin=script)
        assert (subject, result.ending, result.stdout) == (subject, Exited(plain.returncode), plain.stdout)
        assert numbers.sub(b"", result.stderr) == numbers.sub(b"", plain.stderr), subject
    await serving.stop()


@pytest.mark.real
def test_program(server: ServerProcess) -> None:
    """The client without a command, and without a terminal, runs stdin as a script."""
    for subject in ("commands", "stdin", "exit"):
        script = SCRIPTS[subject].encode()
        plain = subprocess.run(["/bin/sh"], input=script, capture_output=True, timeout=PATIENCE)
        done = server.run(HOST, input=script)
        assert (done.returncode, done.stdout, done.stderr) == (plain.returncode, plain.stdout, plain.stderr)


@pytest.mark.real
@pytest.mark.parametrize("name", ["INT", "TERM", "HUP"])
def test_interrupted_script(server: ServerProcess, name: str) -> None:
    """A signal to the client ends the script, and no line of it runs any more."""
    number = signal.Signals[f"SIG{name}"]
    client = server.start(HOST)
    assert client.stdin is not None
    client.stdin.write(b"echo started\nsleep 1000\necho never\n")
    assert read_line(client) == "started"
    client.send_signal(number)
    status, stdout, _ = finish(client)
    assert (status, stdout) == (128 + number, b"")


@pytest.mark.real
def test_time_out_of_a_script(server: ServerProcess) -> None:
    """The time-out is that of the whole script."""
    began = time.monotonic()
    done = server.run("--timeout", "0.5", HOST, input=b"sleep 1000\necho never\n")
    assert (done.returncode, done.stdout) == (124, b"")
    assert time.monotonic() - began < PATIENCE / 2


@pytest.mark.real
def test_shell_that_is_killed(server: ServerProcess) -> None:
    """A shell that a signal ends is an ending like any command's."""
    done = server.run(HOST, input=b"kill -KILL $$\necho never\n")
    assert (done.returncode, done.stdout, done.stderr) == (137, b"", b"trsh: killed by SIGKILL\n")
