"""What one command loads: the start is most of its time."""

from __future__ import annotations

import subprocess
import sys

from tests.server_process import HOST, ServerProcess

OWN = """
__main__ arguments background config_file descriptors destination escapes first_use foreground input job_control
keywords options outage output outputs program proxy_command reaching reader_watch report terminal terminal_settings
tokens values
"""
CLIENT = """
address connecting connection errors job jobs link login reconnecting result shell socket_address status streams text
waiting waking
"""
CORE = """
bodies channel client_session codec command_text credit endings errors events fast_path fields limits liveness
local_handshake login messages one_frame patterns requests resuming roles sequence server_session session
shell_state values windows
"""
LINK = "credentials framed_link lane local pump tls turns"
TRUST = """
client_key files fingerprint home known_servers private_memory records server_key socket_path ssh_keys ssh_wire sshsig
"""
BUDGET = {
    f"twisted_rsh.{package}.{name}"
    for package, names in {"cli": OWN, "client": CLIENT, "core": CORE, "link": LINK, "trust": TRUST}.items()
    for name in names.split()
} | {f"twisted_rsh{name}" for name in ("", ".cli", ".client", ".clock", ".closing", ".core", ".link", ".trust")}
"""The modules of this package that ``trsh 127.0.0.1 true`` may load.  Each takes a millisecond or more: a module that
joins them is worth that to every command, or it is imported where it is used."""

BESIDE = {"glob", "secrets", "shlex", "twisted.protocols.basic"}
"""The modules of others that it may load beside those that Twisted's reactor loads by itself."""

BY_TWISTED = "import sys; from twisted.internet import reactor; import twisted.protocols.tls; print(*sys.modules)"

BY_CLIENT = """\
import sys
from twisted_rsh.cli.__main__ import main
assert main(sys.argv[1:]) == 0
print(*sys.modules)
"""


def loaded_by(code: str, *words: str) -> set[str]:
    """The modules that a program has loaded at its end."""
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.decode().split())


def test_modules_of_one_command(server: ServerProcess) -> None:
    """A command loads what is in the budget: nothing of prompt_toolkit, endpoints, or anything else for other uses."""
    own = loaded_by(BY_CLIENT, *server.command(HOST, "true")[3:])
    more = own - loaded_by(BY_TWISTED) - BESIDE - BUDGET
    assert {name for name in more if not name.startswith("coverage")} == set()
    assert own >= {"twisted_rsh.cli.program", "twisted_rsh.link.tls"}
