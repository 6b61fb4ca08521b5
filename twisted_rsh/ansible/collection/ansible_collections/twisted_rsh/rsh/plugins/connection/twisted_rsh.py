"""The connection plugin ``twisted_rsh`` of Ansible: it asks a keeper, which holds the connections, to run commands.

Ansible loads it into its own Python, so it imports the standard library and Ansible alone.  ``docs/ansible.rst``
describes it; ``ansible-doc -t connection twisted_rsh`` prints its options.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import select
import selectors
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import IO, Any

from ansible.errors import AnsibleAuthenticationFailure, AnsibleConnectionFailure, AnsibleError, AnsibleFileNotFound
from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible.plugins.connection import ConnectionBase
from ansible.utils.display import Display

DOCUMENTATION = r"""
name: twisted_rsh
short_description: run tasks over twisted-rsh
description:
  - Runs commands and copies files over twisted-rsh, on a server that C(twistd rsh) runs.
  - A keeper, a process of its own, holds one connection to each host, which all tasks use.  It ends by itself when it
    has not been used for C(persist) seconds.
  - When the network breaks in the middle of a task, the task goes on over another connection.  No command is started
    twice.
author: the twisted-rsh project
options:
  host:
    description: The host name or address to connect to, or an alias of the configuration file of C(trsh).
    default: inventory_hostname
    vars:
      - name: inventory_hostname
      - name: ansible_host
      - name: ansible_twisted_rsh_host
      - name: delegated_vars['ansible_host']
      - name: delegated_vars['ansible_twisted_rsh_host']
  port:
    description: The TCP port of the server.  By default that of the configuration file, or 8082.
    type: int
    env: [{name: ANSIBLE_TWISTED_RSH_PORT}]
    ini: [{section: twisted_rsh, key: port}]
    vars: [{name: ansible_port}, {name: ansible_twisted_rsh_port}]
    keyword: [{name: port}]
  remote_user:
    description: The user to log in as.  By default that of the configuration file, or the user who runs Ansible.
    type: str
    env: [{name: ANSIBLE_REMOTE_USER}, {name: ANSIBLE_TWISTED_RSH_USER}]
    ini: [{section: defaults, key: remote_user}, {section: twisted_rsh, key: remote_user}]
    vars: [{name: ansible_user}, {name: ansible_twisted_rsh_user}]
    cli: [{name: user, option: --user}]
    keyword: [{name: remote_user}]
  fingerprint:
    description:
      - That of the key which the server must have, C(SHA256:...), as the server's log shows it.  By default that of the
        configuration file; without it only a known server and one of the same user on this machine are dialled.
        There is no trust on first use.
    type: str
    env: [{name: ANSIBLE_TWISTED_RSH_FINGERPRINT}]
    ini: [{section: twisted_rsh, key: fingerprint}]
    vars: [{name: ansible_twisted_rsh_fingerprint}]
  config_dir:
    description: The folder of the client's key.  By default that of C(trsh), C(~/.config/twisted-rsh).
    type: path
    env: [{name: ANSIBLE_TWISTED_RSH_CONFIG_DIR}]
    ini: [{section: twisted_rsh, key: config_dir}]
    vars: [{name: ansible_twisted_rsh_config_dir}]
  python:
    description:
      - The Python of this machine in which the package twisted-rsh is installed.  By default the one that runs Ansible.
    type: path
    env: [{name: ANSIBLE_TWISTED_RSH_PYTHON}]
    ini: [{section: twisted_rsh, key: python}]
    vars: [{name: ansible_twisted_rsh_python}]
  runtime_dir:
    description:
      - The folder of the keeper's socket, which is made if it is missing, and which no other user may enter.  By
        default C(twisted-rsh) in C($XDG_RUNTIME_DIR), or C(~/.local/state/twisted-rsh/ansible).
    type: path
    env: [{name: ANSIBLE_TWISTED_RSH_RUNTIME_DIR}]
    ini: [{section: twisted_rsh, key: runtime_dir}]
    vars: [{name: ansible_twisted_rsh_runtime_dir}]
  timeout:
    description: Seconds that connecting and logging in may take, and that become may take to answer.
    type: int
    default: 10
    env: [{name: ANSIBLE_TIMEOUT}, {name: ANSIBLE_TWISTED_RSH_TIMEOUT}]
    ini: [{section: defaults, key: timeout}, {section: twisted_rsh, key: timeout}]
    vars: [{name: ansible_twisted_rsh_timeout}]
    cli: [{name: timeout}]
  command_timeout:
    description: Seconds after which the server ends a command, with status 124.  By default it has no end.
    type: int
    env: [{name: ANSIBLE_TWISTED_RSH_COMMAND_TIMEOUT}]
    ini: [{section: twisted_rsh, key: command_timeout}]
    vars: [{name: ansible_twisted_rsh_command_timeout}]
  resume:
    description:
      - Whether a command goes on when its connection breaks, and its task with it.  Otherwise the server ends the
        command, and the host is unreachable.
    type: bool
    default: true
    env: [{name: ANSIBLE_TWISTED_RSH_RESUME}]
    ini: [{section: twisted_rsh, key: resume}]
    vars: [{name: ansible_twisted_rsh_resume}]
  grace:
    description: Seconds for which a command goes on without a connection.  Then it is ended, and the host unreachable.
    type: int
    default: 60
    env: [{name: ANSIBLE_TWISTED_RSH_GRACE}]
    ini: [{section: twisted_rsh, key: grace}]
    vars: [{name: ansible_twisted_rsh_grace}]
  persist:
    description: Seconds for which a connection is kept when no task uses it.
    type: int
    default: 60
    env: [{name: ANSIBLE_TWISTED_RSH_PERSIST}]
    ini: [{section: twisted_rsh, key: persist}]
    vars: [{name: ansible_twisted_rsh_persist}]
  use_tty:
    description:
      - Whether commands that get no input have a terminal.  A become method that asks for a password has one always.
    type: bool
    default: false
    env: [{name: ANSIBLE_TWISTED_RSH_USE_TTY}]
    ini: [{section: twisted_rsh, key: use_tty}]
    vars: [{name: ansible_twisted_rsh_use_tty}]
  pipelining:
    description:
      - Whether modules travel as the input of a command, instead of as files that are copied first.
    type: bool
    default: true
    env: [{name: ANSIBLE_PIPELINING}, {name: ANSIBLE_TWISTED_RSH_PIPELINING}]
    ini:
      - {section: defaults, key: pipelining}
      - {section: connection, key: pipelining}
      - {section: twisted_rsh, key: pipelining}
    vars: [{name: ansible_pipelining}, {name: ansible_twisted_rsh_pipelining}]
"""

VERSION = b"1"
"""The version of the conversation with the keeper, which ``twisted_rsh.ansible.worker`` describes."""

HEADER = struct.Struct("!I")
"""What is before each frame: its length in bytes."""

INPUT_BYTES = 256 * 1024
"""Bytes of input for which the keeper has room at first."""

PIECE_BYTES = 64 * 1024
"""Bytes of input in a frame at most."""

RECEIVED_BYTES = 256 * 1024
"""Bytes that are received at once, at most."""

START_SECONDS = 30.0
"""Seconds that a keeper has to start or to greet; it takes one, on a machine that does nothing else."""

STARTS = 3
"""Keepers that are started before the plugin gives up: each can be ended by somebody."""

LONGEST_PATH = 100
"""Bytes of a path at which a Unix socket can be reached on every system."""

WAY_OUT = "let ansible_twisted_rsh_python name a Python in which twisted-rsh is installed"

PUT = """\
made=; test -e "$1" || test -L "$1" || made=yes
trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 143' TERM; trap '' PIPE
trap 'test $? = 0 || test -z "$made" || rm -f -- "$1"' EXIT
cat >"$1" || exit
test ! -f "$1" || test "$2" = 0 || test "$(wc -c <"$1")" -eq "$2" || { echo 'the copy is not complete' >&2; exit 1; }
"""
"""Writes a file of a size, if that is not 0.  When that fails, nothing is left of a file that it has made.  The size
tells the end of the file from that of a task that was killed."""

FETCH = 'exec cat <"$1"'
"""Reads a file."""

display = Display()


class Keeper:
    """The keeper's socket, and how to start the keeper.

    :param folder: the folder of the socket.
    :param python: the Python that runs the keeper.
    """

    def __init__(self, folder: str, python: str) -> None:
        self._folder = folder
        self._python = python
        # A keeper finds keys and modules by these, so others need another one.
        names = ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "PYTHONPATH")
        settings = json.dumps([VERSION.decode(), python, *(os.environ.get(name) for name in names)])
        self._name = f"keeper-{hashlib.sha256(settings.encode()).hexdigest()[:16]}.sock"

    def ask(self, request: dict[str, Any], *, start: bool) -> Exchange | None:
        """Connect to the keeper, and send it a request.

        :param request: the request.
        :param start: whether to start a keeper if there is none.
        :returns: the conversation, in which the keeper has greeted; C(None) if there is no keeper.
        :raises AnsibleError: the folder cannot be used, or no keeper starts.
        """
        folder = self._open_folder()
        try:
            exchange = self._dial(folder, request)
            if exchange is None and start:
                fcntl.flock(folder, fcntl.LOCK_EX)  # many processes of Ansible come at once, and one keeper is enough
                exchange = self._dial(folder, request)
                for _ in range(STARTS):
                    if exchange is None:
                        self._start()
                        exchange = self._dial(folder, request)
                if exchange is None:
                    raise AnsibleError("the keeper of twisted_rsh has started, and ended at once")
            return exchange
        finally:
            os.close(folder)

    def _open_folder(self) -> int:
        try:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise AnsibleError(f"cannot use the folder {self._folder}: {error.strerror}") from error
        status = os.fstat(folder)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            os.close(folder)
            raise AnsibleError(f"the folder {self._folder} must belong to you and be closed to others: chmod 700 it")
        return folder

    def _dial(self, folder: int, request: dict[str, Any]) -> Exchange | None:
        path = os.path.join(self._folder, self._name)
        if len(os.fsencode(path)) > LONGEST_PATH:
            path = f"/proc/self/fd/{folder}/{self._name}"
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(path)
        except (FileNotFoundError, ConnectionError):
            connection.close()
            return None
        # The keeper greets before it reads: without a greeting nothing was begun, and another keeper may be asked.
        exchange = Exchange(connection)
        exchange.ask(request)
        try:
            if exchange.receive(START_SECONDS) == (b"H", VERSION):
                return exchange
        except ConnectionError:
            pass
        except TimeoutError:
            exchange.close()
            raise AnsibleConnectionFailure(f"the keeper of twisted_rsh is silent for {START_SECONDS:.0f} s") from None
        exchange.close()
        return None

    def _start(self) -> None:
        command = [self._python, "-m", "twisted_rsh.ansible.keeper", self._name]
        # The folder is private, so Python finds no module of somebody else's there.
        try:
            keeper = subprocess.Popen(
                command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise AnsibleError(f"cannot run {self._python}: {error.strerror}; {WAY_OUT}") from error
        assert keeper.stdout is not None
        lines = _read_all(keeper.stdout, START_SECONDS).decode(errors="replace").split("\n")
        if "ready" not in lines:
            keeper.kill()
            keeper.wait()
            reason = next((line for line in reversed(lines) if line), "it said nothing")
            raise AnsibleError(f"the keeper of twisted_rsh does not start: {reason}; {WAY_OUT}")


def _read_all(pipe: IO[bytes], seconds: float) -> bytes:
    """Read a pipe to its end, for some seconds at most."""
    deadline = time.monotonic() + seconds
    data = b""
    readable = select.poll()  # select() takes no descriptor above 1023, and Ansible may have many
    with pipe:
        readable.register(pipe, select.POLLIN)
        while readable.poll(max(deadline - time.monotonic(), 0) * 1000):
            piece = os.read(pipe.fileno(), PIECE_BYTES)
            if not piece:
                break
            data += piece
    return data


class Exchange:
    """A conversation with the keeper: one request, its input, and the frames that come back.

    It sends and receives at the same time, so neither side waits for the other for ever.  It is a context manager;
    leaving the block ends the command, if it has not ended.

    :param connection: a connected socket.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._selector = selectors.DefaultSelector()
        self._selector.register(connection, selectors.EVENT_READ)
        self._outgoing = b""
        self._source: Iterator[bytes] | None = None
        self._room = INPUT_BYTES
        self._incoming = bytearray()

    def __enter__(self) -> Exchange:  # noqa: PYI034 - Self is of Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._selector.close()
        self._connection.close()

    def ask(self, request: dict[str, Any]) -> None:
        """Send the request."""
        self._outgoing += _frame(b"Q", json.dumps(request).encode())

    def feed(self, source: Iterable[bytes], *, more: bool = False) -> None:
        """Send input, when the last one has been sent.

        :param source: its pieces, of at most C(PIECE_BYTES).
        :param more: whether other input will follow; otherwise the command reads the end of its input.
        """
        end = () if more else (_frame(b"Z"),)
        self._source = chain(self._source or (), (_frame(b"I", piece) for piece in source if piece), end)

    def receive(self, seconds: float | None = None) -> tuple[bytes, bytes]:
        """Return the next frame: its kind, and what is in it.

        :param seconds: for how long to wait; C(None) for ever.
        :raises TimeoutError: nothing has come.
        :raises ConnectionError: the keeper has hung up.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            frame = self._next_frame()
            if frame is not None and frame[0] == b"M":
                self._room += int(frame[1])
            elif frame is not None:
                return frame
            else:
                self._wait(deadline)

    def unread(self, kind: bytes, body: bytes) -> None:
        """Give a frame back: C(receive) returns it next."""
        self._incoming[:0] = _frame(kind, body)

    def _wait(self, deadline: float | None) -> None:
        if not self._outgoing and self._room >= PIECE_BYTES and self._source is not None:
            self._outgoing = next(self._source, b"")
            self._room -= max(len(self._outgoing) - HEADER.size - 1, 0)
            if not self._outgoing:
                self._source = None
        write = selectors.EVENT_WRITE if self._outgoing else 0
        self._selector.modify(self._connection, selectors.EVENT_READ | write)
        ready = self._selector.select(None if deadline is None else max(deadline - time.monotonic(), 0))
        if not ready:
            raise TimeoutError
        if ready[0][1] & selectors.EVENT_READ:
            data = self._connection.recv(RECEIVED_BYTES)
            if not data:
                raise ConnectionResetError("the keeper of twisted_rsh has ended")
            self._incoming += data
        if ready[0][1] & selectors.EVENT_WRITE:
            try:
                self._outgoing = self._outgoing[self._connection.send(self._outgoing) :]
            except ConnectionError:  # the command has ended and left input unread; the frames that say so are there
                self._outgoing, self._source = b"", None

    def _next_frame(self) -> tuple[bytes, bytes] | None:
        if len(self._incoming) < HEADER.size:
            return None
        size = HEADER.unpack_from(self._incoming)[0]
        end = HEADER.size + size
        if len(self._incoming) < end:
            return None
        frame = bytes(self._incoming[HEADER.size : end])
        del self._incoming[:end]
        return frame[:1], frame[1:]


def _frame(kind: bytes, body: bytes = b"") -> bytes:
    return HEADER.pack(1 + len(body)) + kind + body


class Escalation:
    """Follows what a become method writes, until the command itself runs: the password is sent when it is asked for.

    :param become: Ansible's become plugin, which knows its own texts.
    :param password: what to answer, or C(None).
    :ivar is_over: whether the command runs.
    """

    def __init__(self, become: Any, password: str | None) -> None:
        self.is_over = False
        self._become = become
        self._password = password
        self._is_asked = False
        self._begun = {b"O": b"", b"E": b""}

    def read(self, kind: bytes, data: bytes) -> tuple[bytes, bytes]:
        """Read what came.

        :param kind: of which output: C(O) or C(E).
        :param data: its next bytes.
        :returns: what of it is the command's own output, and what to send: the password, or nothing.
        :raises AnsibleError: the method wants another password, or one at all.
        """
        kept = answer = b""
        lines = (self._begun[kind] + data).splitlines(keepends=True)
        self._begun[kind] = b""
        for number, line in enumerate(lines):
            if self.is_over:
                kept += line
            elif line.endswith((b"\n", b"\r")) and self._become.check_success(line):
                self.is_over = True
            elif self._become.prompt and self._become.check_password_prompt(line.lstrip()):
                answer = self._answer()
            elif self._become.check_incorrect_password(line):
                raise AnsibleError(f"Incorrect {self._become.name} password")
            elif self._become.check_missing_password(line):
                raise AnsibleError(f"Missing {self._become.name} password")
            elif number == len(lines) - 1 and not line.endswith(b"\n"):
                self._begun[kind] = line
            else:
                kept += line
        return kept, answer

    def _answer(self) -> bytes:
        if self._is_asked:
            raise AnsibleError(f"Incorrect {self._become.name} password")
        if self._password is None:
            raise AnsibleError(f"Missing {self._become.name} password")
        self._is_asked = True
        password: bytes = to_bytes(self._password, errors="surrogate_or_strict")
        return password + b"\n"

    def rest(self, kind: bytes) -> bytes:
        """Return the beginning of a line that was neither a prompt nor a mark."""
        rest, self._begun[kind] = self._begun[kind], b""
        return rest


class Connection(ConnectionBase):  # type: ignore[misc]  # the type checker has no Ansible
    """What Ansible calls, for one task and one host."""

    transport = "twisted_rsh"
    has_pipelining = True
    has_tty = True

    def _connect(self) -> Connection:
        # The keeper connects when there is something to run: that is one question less for each task.
        self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run a command; return its status and what it wrote."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        display.vvv(f"EXEC {to_text(cmd)}", host=self._host)
        become = self.become if sudoable and self.become is not None and self.become.success else None
        # What asks for a password may ask on a terminal alone, as su does.
        needs_terminal = self.get_option("use_tty") or (become is not None and become.prompt)
        terminal = bool(sudoable and not in_data and needs_terminal)
        outputs = {b"O": bytearray(), b"E": bytearray()}
        with self._ask(to_text(cmd, errors="surrogateescape"), terminal=terminal) as exchange:
            if become is not None:
                self._escalate(exchange, become, outputs)
            if not terminal:  # the end of a terminal's input would be a key
                exchange.feed(_pieces(in_data or b""))
            status = self._finish(exchange, outputs[b"O"].extend, outputs[b"E"])
        return status, bytes(outputs[b"O"]), bytes(outputs[b"E"])

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file to the host, byte for byte."""
        super().put_file(in_path, out_path)
        display.vvv(f"PUT {to_text(in_path)} TO {to_text(out_path)}", host=self._host)
        path = to_bytes(in_path, errors="surrogate_or_strict")
        if not os.path.exists(path):
            raise AnsibleFileNotFound(f"file or module does not exist: {to_text(in_path)}")
        errors = bytearray()
        with (
            open(path, "rb") as file,
            self._ask(_script(PUT, out_path, str(os.fstat(file.fileno()).st_size))) as exchange,
        ):
            exchange.feed(iter(lambda: file.read(PIECE_BYTES), b""))
            if self._finish(exchange, lambda _: None, errors):
                raise AnsibleError(f"cannot write {to_text(out_path)}: {_one_line(errors)}")

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file from the host, byte for byte."""
        super().fetch_file(in_path, out_path)
        display.vvv(f"FETCH {to_text(in_path)} TO {to_text(out_path)}", host=self._host)
        path = to_bytes(out_path, errors="surrogate_or_strict")
        was_there = os.path.lexists(path)
        errors = bytearray()
        try:
            with open(path, "wb") as file, self._ask(_script(FETCH, in_path)) as exchange:
                exchange.feed(())
                if self._finish(exchange, file.write, errors):
                    raise AnsibleError(f"cannot read {to_text(in_path)}: {_one_line(errors)}")
        except BaseException:
            if not was_there:
                with suppress(FileNotFoundError):
                    os.unlink(path)
            raise

    def reset(self) -> None:
        """Have the next task connect anew."""
        exchange = self._keeper().ask(self._request(None), start=False)
        if exchange is not None:
            with exchange:
                self._finish(exchange, lambda _: None, bytearray())
        self.close()

    def close(self) -> None:
        """Let the keeper keep the connection: the next task uses it."""
        self._connected = False

    @property
    def _host(self) -> str:
        return str(self.get_option("host") or self._play_context.remote_addr)

    def _keeper(self) -> Keeper:
        return Keeper(self.get_option("runtime_dir") or _runtime_folder(), self.get_option("python") or sys.executable)

    def _request(self, command: str | list[str] | None, *, terminal: bool = False) -> dict[str, Any]:
        server = {name: self.get_option(name) for name in ("port", "fingerprint", "config_dir", "resume")}
        return {
            "server": {**server, "host": self._host, "user": self.get_option("remote_user")},
            "connect_seconds": self.get_option("timeout"),
            "idle_seconds": self.get_option("persist"),
            "command": command,
            "terminal": terminal,
            "grace": self.get_option("grace"),
            "timeout": self.get_option("command_timeout"),
        }

    def _ask(self, command: str | list[str], *, terminal: bool = False) -> Exchange:
        exchange = self._keeper().ask(self._request(command, terminal=terminal), start=True)
        assert exchange is not None
        return exchange

    def _escalate(self, exchange: Exchange, become: Any, outputs: dict[bytes, bytearray]) -> None:
        """Let a become method ask its question, until the command itself runs or everything has ended."""
        escalation = Escalation(become, become.get_option("become_pass", playcontext=self._play_context))
        seconds: float | None = None
        while not escalation.is_over:
            try:
                kind, body = exchange.receive(seconds)
            except TimeoutError:
                raise AnsibleError(f"{become.name} has not answered within {seconds} s") from None
            except ConnectionError as error:
                raise AnsibleConnectionFailure(f"{error}; what became of the command is unknown") from error
            if kind == b"S":
                seconds = self.get_option("timeout")
            elif kind in outputs:
                kept, answer = escalation.read(kind, body)
                outputs[kind] += kept
                exchange.feed([answer], more=True)
            else:
                exchange.unread(kind, body)
                break
        for kind in outputs:
            outputs[kind] += escalation.rest(kind)

    def _finish(self, exchange: Exchange, write: Callable[[bytes], object], errors: bytearray) -> int:
        """Receive what a command writes, until it has ended; return its status.

        :raises AnsibleConnectionFailure: there is no status: the host is unreachable.
        """
        while True:
            try:
                kind, body = exchange.receive()
            except ConnectionError as error:
                raise AnsibleConnectionFailure(f"{error}; what became of the command is unknown") from error
            if kind == b"O":
                write(body)
            elif kind == b"E":
                errors += body
            elif kind == b"R":
                return _status(json.loads(body), errors)


def _status(answer: dict[str, Any], errors: bytearray) -> int:
    if "unreachable" in answer:
        failure = AnsibleAuthenticationFailure if answer["login"] else AnsibleConnectionFailure
        raise failure(answer["unreachable"])
    if answer["note"]:
        errors += f"twisted_rsh: {answer['note']}\n".encode()
    return int(answer["status"])


def _script(text: str, path: str, *more: str) -> list[str]:
    """Make the command that runs a script for sh with a path, which no shell splits or expands."""
    return ["/bin/sh", "-c", text, "sh", to_text(path, errors="surrogateescape"), *more]


def _pieces(data: bytes) -> Iterator[bytes]:
    view = memoryview(to_bytes(data))
    return (bytes(view[start : start + PIECE_BYTES]) for start in range(0, len(view), PIECE_BYTES))


def _one_line(errors: bytearray) -> str:
    """Return the last line that a program wrote, for a message."""
    lines = to_text(bytes(errors)).strip().splitlines()
    return lines[-1] if lines else "no reason was given"


def _runtime_folder() -> str:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and os.path.isdir(runtime):
        return os.path.join(runtime, "twisted-rsh")
    state = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):
        state = os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(state, "twisted-rsh", "ansible")
