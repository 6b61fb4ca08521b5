"""The programs in ``examples/``, run as their readers would, and the code in README."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.application.service import MultiService
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.utils import getProcessOutputAndValue

from tests.serving import Serving, asynchronous, reactor
from tests.soak_mode import LOGIN_RECORDS
from tests.system.running import (
    SCRIPTS,
    START_SECONDS,
    STOP_SECONDS,
    RunningServer,
    own_environment,
    running_server,
    wait_until,
)
from twisted_rsh.server import Account, RemoteShellService, local_portal
from twisted_rsh.testing import FaultProxy, Faults, InTurn
from twisted_rsh.trust.client_key import load_or_create_client_key
from twisted_rsh.trust.home import ConfigFolders

pytestmark = pytest.mark.real

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def web_application(home: Path, web: int) -> Iterator[int]:
    """Run the web application; give the port of its shells."""
    command = [
        sys.executable,
        str(EXAMPLES / "web_and_shell.py"),
        "--web",
        str(web),
        "--shell",
        "0",
        "--config-dir",
        str(home),
    ]
    environment = own_environment(home.parent)
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, cwd=home.parent) as application:
        try:
            run = home / "run"
            wait_until(lambda: run.is_dir() and list(run.glob("*.json")), START_SECONDS, "the record")
            yield int(next(run.glob("*.json")).stem)
        finally:
            application.send_signal(signal.SIGTERM)
            _, errors = application.communicate(timeout=STOP_SECONDS)
            assert b"Traceback" not in errors, errors.decode()


def page(port: int) -> bytes:
    """Get the application's page."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=START_SECONDS) as answer:
        data: bytes = answer.read()
        return data


def test_web_and_shell(tmp_path: Path) -> None:
    """The page and the shells run on one reactor, and the application's own portal says what may be run."""
    home, web = tmp_path / "home", free_port()
    with web_application(home, web) as port:
        client = [str(SCRIPTS / "trsh"), "--config-dir", str(home), "-p", str(port), "--argv", "127.0.0.1"]
        environment = own_environment(tmp_path)
        assert page(web) == b"0 jobs so far\n"
        allowed = subprocess.run([*client, "df", "/"], env=environment, capture_output=True, timeout=60)
        assert allowed.returncode == 0, allowed.stderr
        assert b"Filesystem" in allowed.stdout
        refused = subprocess.run([*client, "id"], env=environment, capture_output=True, timeout=60)
        assert refused.returncode == 255
        assert refused.stderr == b"trsh: operators may run df, uptime, who, with --argv\n"
        assert page(web) == b"1 jobs so far\n"


def run_example(name: str, server: RunningServer, folder: Path) -> list[str]:
    """Run an example against a server, and return the lines that it prints."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), "--port", str(server.port), "--config-dir", str(server.config)],
        env=server.environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout.splitlines()


def test_task_run(tmp_path: Path) -> None:
    """Each ending is told apart, and an argument list reaches the program unchanged."""
    with running_server(tmp_path) as server:
        assert run_example("task_run.py", server, tmp_path) == [
            "hello",
            " oops",
            " Exited(code=3)",
            "$HOME|as  it  is|",
            "failed: Exited(code=2)",
            "stopped after 2.0 s, with partial",
            "",
        ]


def test_task_stream(tmp_path: Path) -> None:
    """Both outputs are read while the job runs, and a job without an end is ended."""
    with running_server(tmp_path) as server:
        lines = run_example("task_stream.py", server, tmp_path)
    assert [line for line in lines if line.startswith("stdout")] == [f"stdout: line {number}" for number in (1, 2, 3)]
    assert "stderr: done" in lines
    assert lines[-2:] == ["Exited(code=0)", "read enough: True"]


def test_task_feed(tmp_path: Path) -> None:
    """Bytes, a file, a generator and single writes arrive as the command's input."""
    imports = (EXAMPLES / "task_feed.py").read_text().count("import")
    with running_server(tmp_path) as server:
        sorted_words, counted, numbers, product = run_example("task_feed.py", server, tmp_path)
    assert sorted_words == "['apple', 'pear']"
    assert 0 < int(counted.removeprefix("imports: ")) <= imports
    assert numbers == "lines: 100000"
    assert product == "product: 343 Exited(code=0)"


def test_task_shell(tmp_path: Path) -> None:
    """One shell remembers, survives a time-out, and ends with its own status."""
    with running_server(tmp_path) as server:
        assert run_example("task_shell.py", server, tmp_path) == [
            "['/tmp', 'hello', 'hello']",
            "TimedOut(seconds=0.5)",
            "Exited(code=3)",
            "/tmp",
            "to the command",
            "from /tmp",
            "Exited(code=5)",
            "Exited(code=5)",
        ]


def test_kept_shell(tmp_path: Path) -> None:
    """A program sees output as it comes, time-outs, the background, waiting commands, and a shell that is replaced."""
    with running_server(tmp_path) as server:
        lines = run_example("kept_shell.py", server, tmp_path)
    assert sorted(lines[:2]) == ["err: and errors", "out: output"]
    killed = "Signalled(signal='KILL', core_dumped=False)"
    home = lines[15].removeprefix("Exited(code=0) in ")
    background = lines.pop(7)
    # The look may come before the shell's child has executed the program.
    assert re.fullmatch("in the background: (sleep 60|bash .*), running", background)
    assert lines[2:] == [
        "Exited(code=1) in /usr",
        "out: partial",
        "TimedOut(seconds=0.5) in /",
        "so far: b'partial\\n'",
        "Exited(code=0) in /",
        "Exited(code=0) in /",
        "out: hello you",
        "Exited(code=0)",
        "aside: ['bin'] in /",
        "out: last words",
        f"{killed} in None",
        f"(a new shell: the one before ended with {killed})",
        f"Exited(code=0) in {home}",
        f"Exited(code=0) in {home}",
        "left: bye, Exited(code=4)",
    ]


@asynchronous
async def test_task_reconnect(serving: Serving) -> None:
    """A connection that is cut under a job is made again, and no line is missing."""
    server = TCP4ClientEndpoint(reactor, "127.0.0.1", serving.service.tcp_port)
    proxy = FaultProxy(reactor, server, InTurn((Faults(cut_after_records=LOGIN_RECORDS + 6),)))
    await proxy.start()
    words = ["--port", str(proxy.port), "--config-dir", serving.config.config]
    words += ["--fingerprint", serving.service.fingerprint]
    output, errors, status = await getProcessOutputAndValue(
        sys.executable, [str(EXAMPLES / "task_reconnect.py"), *words], env=dict(os.environ), reactor=reactor
    )
    await proxy.stop()
    assert output.decode().splitlines() == ["1", "2", "3", "4", "5", "exit status 0", "still here"]
    assert b"connected again" in errors
    assert status == 0
    assert proxy.cuts == 1


def test_task_embed(tmp_path: Path) -> None:
    """The application's checker lets one key in, and its user answers two commands."""
    folder = tmp_path / "rsh"
    key = load_or_create_client_key(ConfigFolders.at(str(folder)))
    words = ("--port", "0", "--config-dir", str(folder), "--allow", key.fingerprint)
    command = [sys.executable, str(EXAMPLES / "task_embed.py"), *words]
    environment = own_environment(tmp_path)
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as application:
        try:
            assert application.stdout is not None
            _, port, _, _ = application.stdout.readline().split()
            client = [str(SCRIPTS / "trsh"), "--config-dir", str(folder), "-l", "mary", "-p", port, "127.0.0.1"]
            done = [
                subprocess.run([*client, word], env=environment, capture_output=True, timeout=60)
                for word in ("whoami", "count", "id")
            ]
        finally:
            application.terminate()
    assert done[0].stdout == b"mary\n"
    assert done[1].stdout == b"".join(b"%d\n" % number for number in range(1000))
    assert done[2].stderr == b"trsh: there is whoami, and there is count\n"
    assert [one.returncode for one in done] == [0, 0, 255]


@pytest.mark.parametrize("name", ["in_memory.py", "ask_until_answered.py"])
def test_without_a_server(name: str, tmp_path: Path) -> None:
    """The examples of docs/testing.rst hold what they assert."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")


def readme_code(beginning: str) -> str:
    """Return the block of Python in README that begins so."""
    text = (ROOT / "README.rst").read_text(encoding="utf-8")
    blocks = re.findall(r"\.\. code-block:: python\n\n((?:   .*\n|\n)+)", text)
    [block] = [code for block in blocks if (code := textwrap.dedent(block)).startswith(beginning)]
    return block


def test_readme_library(tmp_path: Path) -> None:
    """README's code for an application runs as it stands, but for the address."""
    address = '"127.0.0.1", 8082'
    with running_server(tmp_path) as server:
        folders = f"twisted_rsh.ConfigFolders.at({str(server.config)!r})"
        code = readme_code("import twisted_rsh\n")
        assert address in code
        code = code.replace(address, f'"127.0.0.1", {server.port}, config={folders}')
        program = (
            "from twisted.internet.defer import Deferred\nfrom twisted.internet.task import react\n"
            f"async def main(reactor):\n{textwrap.indent(code, '    ')}\n"
            "react(lambda reactor: Deferred.fromCoroutine(main(reactor)))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=server.environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Exited(code=0)\nb'a\\nb\\n'\n" in done.stdout


def test_readme_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """README's code for a server makes a service of an application."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folders = ConfigFolders.default(os.environ)
    application = MultiService()
    portal = local_portal(reactor, folders, Account.current(os.environ))
    names = {"reactor": reactor, "portal": portal, "application": application}
    exec(readme_code("from twisted_rsh.server import"), names)  # noqa: S102 - it is what is tested
    [service] = application.services
    assert isinstance(service, RemoteShellService)


def test_examples_are_all_run() -> None:
    """No example is without a test here."""
    tested = Path(__file__).read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES.glob("*.py") if f'"{path.name}"' not in tested] == []
