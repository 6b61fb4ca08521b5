"""Chinese text between machines that write it differently: right on every screen, and bytes stay bytes elsewhere."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.readable import is_readable
from tests.system.running import CLIENT_SECONDS, RunningServer, own_environment, require, running_server
from tests.tools import require_tool

pytestmark = pytest.mark.real

TEXT = "中文與 ASCII，終端：一二三"
"""Text that both code pages have: characters of one, two and three bytes."""

TYPED = "輸入的漢字"

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

READY = b"ready\n"
"""The output of a command before it reads."""

DUMP = b"echo ready; od -An -v -tx1"
"""A command that shows the bytes that it reads."""

END_OF_INPUT = b"\x04"

ONE_BYTE_AT_A_TIME = (
    "import sys, time\n"
    "for byte in bytes.fromhex('{bytes}'):\n"
    "    sys.stdout.buffer.write(bytes([byte]))\n"
    "    sys.stdout.buffer.flush()\n"
    "    time.sleep(0.01)\n"  # so that every byte is read, and travels, by itself
)


@pytest.fixture(scope="module")
def gbk_locale(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The variables of a locale with the code page GBK, compiled for this test."""
    localedef = require_tool("localedef")
    folder = tmp_path_factory.mktemp("locales")
    done = subprocess.run([localedef, "-i", "zh_CN", "-f", "GBK", folder / "zh_CN.GBK"], capture_output=True, text=True)
    require(done.returncode == 0, f"the sources of locales are not installed: {done.stderr.strip()}")
    return {"LOCPATH": str(folder), "LC_ALL": "zh_CN.GBK"}


@pytest.fixture(scope="module", params=["option", "locale"])
def gbk_server(
    request: pytest.FixtureRequest, gbk_locale: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A server with the code page GBK, by its option or by its locale."""
    folder = tmp_path_factory.mktemp("gbk")
    options = ["--encoding", "gbk"] if request.param == "option" else []
    environment = own_environment(folder, **({} if options else gbk_locale))
    with running_server(folder, "--shell", "/bin/sh", *options, environment=environment) as server:
        yield server


@pytest.fixture(scope="module")
def utf8_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with the code page UTF-8."""
    with running_server(tmp_path_factory.mktemp("utf8"), "--shell", "/bin/sh") as server:
        yield server


def utf8_environment(folder: Path) -> dict[str, str]:
    """The environment of a client on a UTF-8 terminal."""
    return own_environment(folder)


def gbk_environment(folder: Path, gbk_locale: Mapping[str, str]) -> dict[str, str]:
    """The environment of a client on a GBK terminal."""
    return own_environment(folder, **gbk_locale)


def run_on_terminal(
    server: RunningServer,
    environment: Mapping[str, str],
    command: bytes,
    typed: bytes = b"",
    *options: str,
    ahead: bool = False,
) -> tuple[bytes, int]:
    """Run a client on a terminal that neither echoes nor changes anything.

    :param typed: lines to type when the command has written :data:`READY`; the end of the input follows.
    :param ahead: whether to type them before the client has even connected.
    :returns: what appeared on the terminal, and the exit status.
    """
    ours, theirs = pty.openpty()
    attributes = termios.tcgetattr(theirs)
    attributes[1] &= ~termios.OPOST
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(theirs, termios.TCSANOW, attributes)
    waiting = typed + END_OF_INPUT
    shown = b""
    if ahead or not typed:
        os.write(ours, waiting)
        waiting = b""
    try:
        with subprocess.Popen(
            server.client(command, options=options),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
        ) as client:
            os.close(theirs)
            deadline = time.monotonic() + CLIENT_SECONDS
            while piece := read_terminal(ours, deadline):
                shown += piece
                if waiting and READY in shown:
                    os.write(ours, waiting)
                    waiting = b""
            client.kill()  # when it was too slow; otherwise it is gone
    finally:
        os.close(ours)
    return shown, client.returncode


def read_terminal(fd: int, deadline: float) -> bytes:
    """Read the next bytes; return none when the other end is closed, or the time is up."""
    if not is_readable(fd, max(0.0, deadline - time.monotonic())):
        return b""
    try:
        return os.read(fd, 65536)
    except OSError:  # on Linux: the other end is closed
        return b""


def test_gbk_server_on_utf8_terminal(gbk_server: RunningServer, tmp_path: Path) -> None:
    """The command, both outputs and the keys are UTF-8 on the terminal and GBK on the server."""
    command = f"printf '%s\\n' '{TEXT}'; printf '%s' '{TEXT}' | od -An -v -tx1 >&2; echo ready; head -n 1; exit 5"
    shown, status = run_on_terminal(gbk_server, utf8_environment(tmp_path), command.encode(), f"{TYPED}\n".encode())
    text = shown.decode()
    assert f"{TEXT}\n" in text
    assert f"{TYPED}\n" in text
    assert TEXT.encode("gbk").hex() in "".join(text.split())
    assert status == 5


def test_utf8_server_on_gbk_terminal(utf8_server: RunningServer, gbk_locale: Mapping[str, str], tmp_path: Path) -> None:
    """The reverse: GBK on the terminal, UTF-8 on the server."""
    command = f"printf '%s\\n' '{TEXT}'; printf '%s' '{TEXT}' | od -An -v -tx1 >&2; echo ready; head -n 1; exit 5"
    environment = gbk_environment(tmp_path, gbk_locale)
    shown, status = run_on_terminal(utf8_server, environment, command.encode("gbk"), f"{TYPED}\n".encode("gbk"))
    text = shown.decode("gbk")
    assert f"{TEXT}\n" in text
    assert f"{TYPED}\n" in text
    assert TEXT.encode().hex() in "".join(text.split())
    assert status == 5


def test_typed_text_reaches_a_gbk_server_as_gbk(gbk_server: RunningServer, tmp_path: Path) -> None:
    """A command reads the keys of a UTF-8 terminal as GBK."""
    typed = f"{TYPED}\n".encode()
    shown, _ = run_on_terminal(gbk_server, utf8_environment(tmp_path), DUMP, typed)
    assert bytes.fromhex(shown.removeprefix(READY).decode()) == f"{TYPED}\n".encode("gbk")


def test_text_typed_ahead_reaches_a_gbk_server_as_gbk(gbk_server: RunningServer, tmp_path: Path) -> None:
    """It does so too for keys that were typed before it had started."""
    typed = f"{TYPED}\n".encode()
    shown, _ = run_on_terminal(gbk_server, utf8_environment(tmp_path), DUMP, typed, ahead=True)
    assert bytes.fromhex(shown.removeprefix(READY).decode()) == f"{TYPED}\n".encode("gbk")


def test_typed_text_reaches_a_utf8_server_as_utf8(
    utf8_server: RunningServer, gbk_locale: Mapping[str, str], tmp_path: Path
) -> None:
    """A command reads the keys of a GBK terminal as UTF-8."""
    typed = f"{TYPED}\n".encode("gbk")
    shown, _ = run_on_terminal(utf8_server, gbk_environment(tmp_path, gbk_locale), DUMP, typed)
    assert bytes.fromhex(shown.removeprefix(READY).decode()) == f"{TYPED}\n".encode()


def test_clients_own_words_on_gbk_terminal(
    utf8_server: RunningServer, gbk_locale: Mapping[str, str], tmp_path: Path
) -> None:
    """The client's own lines are in the terminal's code page too."""
    environment = gbk_environment(tmp_path, gbk_locale)
    shown, status = run_on_terminal(utf8_server, environment, "没有".encode("gbk"), b"", "--argv")
    assert shown.decode("gbk") == "trsh: 没有: command not found\n"
    assert status == 127


def test_bytes_stay_bytes(gbk_server: RunningServer, tmp_path: Path) -> None:
    """If stdout is no terminal, the client passes the server's bytes on, and those of its stdin likewise."""
    command = f"printf '%s' '{TEXT}'; cat".encode()
    done = gbk_server.run(command, stdin=TYPED.encode(), environment=utf8_environment(tmp_path))
    assert done.stdout == TEXT.encode("gbk") + TYPED.encode()


def one_byte_at_a_time(data: bytes) -> bytes:
    """Make a command that writes bytes one by one."""
    return f"'{sys.executable}' -c \"{ONE_BYTE_AT_A_TIME.format(bytes=data.hex())}\"".encode()


def test_split_characters_from_gbk(gbk_server: RunningServer, tmp_path: Path) -> None:
    """A character that arrives byte by byte is whole on the terminal."""
    data = f"{TEXT}\n".encode("gbk")
    shown, status = run_on_terminal(gbk_server, utf8_environment(tmp_path), one_byte_at_a_time(data))
    assert (shown.decode(), status) == (f"{TEXT}\n", 0)


def test_split_characters_to_gbk(utf8_server: RunningServer, gbk_locale: Mapping[str, str], tmp_path: Path) -> None:
    """The same in the other direction, with characters of three bytes."""
    data = f"{TEXT}\n".encode()
    environment = gbk_environment(tmp_path, gbk_locale)
    shown, status = run_on_terminal(utf8_server, environment, one_byte_at_a_time(data))
    assert (shown.decode("gbk"), status) == (f"{TEXT}\n", 0)


def test_undecodable_bytes_from_gbk(gbk_server: RunningServer, tmp_path: Path) -> None:
    """Bytes that are no GBK, in the middle and at the end, are shown as such; everything around them is right."""
    command = rf"printf '%s\377\n%s\n\326' '{TEXT}' '{TEXT}'; exit 3".encode()
    shown, status = run_on_terminal(gbk_server, utf8_environment(tmp_path), command)
    assert (shown.decode(), status) == (f"{TEXT}{REPLACEMENT}\n{TEXT}\n{REPLACEMENT}", 3)


def test_undecodable_bytes_to_gbk(utf8_server: RunningServer, gbk_locale: Mapping[str, str], tmp_path: Path) -> None:
    """Bytes that are no UTF-8, and a character that GBK does not have, end nothing."""
    command = rf"printf '%s\377\n%s\n\360\237\220\215\344\270' '{TEXT}' '{TEXT}'; exit 3".encode("gbk")
    shown, status = run_on_terminal(utf8_server, gbk_environment(tmp_path, gbk_locale), command)
    assert (shown.decode("gbk"), status) == (f"{TEXT}?\n{TEXT}\n??", 3)


def test_command_that_gbk_cannot_express(gbk_server: RunningServer, tmp_path: Path) -> None:
    """A command with a character that the server's code page does not have is refused, and not run mangled."""
    done = gbk_server.run("echo \N{SNAKE}".encode(), environment=utf8_environment(tmp_path))
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"code page gbk cannot express" in done.stderr


@pytest.mark.parametrize("name", ["C", "POSIX", "xx_XX.NOSUCH"])
def test_server_without_a_code_page(name: str, tmp_path: Path) -> None:
    """A server whose locale knows only ASCII, or is not installed, passes the bytes of a command, as ssh does."""
    command = f"printf '%s' '{TEXT}'; cat".encode()
    environment = own_environment(tmp_path, LC_ALL=name)
    with running_server(tmp_path, "--shell", "/bin/sh", environment=environment) as server:
        done = server.run(command, stdin=TYPED.encode(), environment=utf8_environment(tmp_path))
    assert (done.returncode, done.stdout) == (0, TEXT.encode() + TYPED.encode())
