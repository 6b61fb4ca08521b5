"""``trshctl enroll``: make a server known to this client, and this client's key to the server.

After each of its ways, ``trsh host`` works without options and without a question.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from dataclasses import replace
from typing import Any

from twisted_rsh.cli.first_use import FirstUse, may_ask
from twisted_rsh.cli.options import ClientOptions
from twisted_rsh.cli.outputs import LocalOutputs
from twisted_rsh.cli.reaching import Reach, added_today
from twisted_rsh.cli.terminal_settings import TerminalSettings
from twisted_rsh.cli.tokens import Names
from twisted_rsh.client.errors import LoginRefused
from twisted_rsh.core.errors import Error
from twisted_rsh.core.roles import DEFAULT_PORT
from twisted_rsh.trshctl.answer import Answer
from twisted_rsh.trust.fingerprint import BadFingerprint, format_fingerprint, parse_fingerprint
from twisted_rsh.trust.invitation import Invitation
from twisted_rsh.trust.known_servers import KnownServers, format_address

__all__ = ["enroll", "enroll_by_invitation", "enroll_over_ssh", "reaching_words", "show_key"]

MAX_ANSWER_BYTES = 64 * 1024
"""Bytes that an SSH login may print on stdout: the answer has some hundred, and start-up files may print before it."""


def reaching_words(invitation: Invitation) -> list[str]:
    """Return the words of ``trsh`` for the server of an invitation."""
    address = format_address(invitation.host, invitation.port)
    return ["--fingerprint", format_fingerprint(invitation.pin), "-l", invitation.user, address]


async def show_key(reactor: Any, options: ClientOptions) -> Answer:
    """Print the line of the client's public key, which is made where there is none.

    :param reactor: the reactor.
    :param options: name the key.
    :raises Error: the file of the key cannot be used.
    """
    return Answer(f"{Reach(reactor, options, options.config_folders()).public_line()}\n")


async def enroll_by_invitation(reactor: Any, options: ClientOptions, invitation: Invitation) -> Answer:
    """Use an invitation up: the server lets this client's key in from now on.

    :param reactor: the reactor.
    :param options: how to reach the server; the fingerprint is the invitation's.
    :param invitation: the invitation.
    :raises Error: the server refuses it, or is another one, or a file cannot be used.
    """
    _check_file(options)
    try:
        await _log_in(reactor, options, invitation)
    except LoginRefused as error:
        raise Error(
            f"{error}; the invitation is over, or it was used: make another one with `twisted-rsh invite` on the server"
        ) from None
    return _enrolled(options)


async def enroll(reactor: Any, options: ClientOptions) -> Answer:
    """Make a server known whose fingerprint the user gives, or confirms on the terminal.

    :param reactor: the reactor.
    :param options: how to reach the server.
    :raises Error: the server has another key, or does not let the client in, and what to do.
    """
    is_known = bool(KnownServers(options.config_folders()).pins(options.host, options.port))
    if options.fingerprint is None and not is_known and not may_ask(options):
        raise Error(
            "there is no terminal to ask on: give --fingerprint SHA256:..., which the server's log shows, "
            "or the line of `twisted-rsh invite`"
        )
    try:
        await _log_in(reactor, options)
    except LoginRefused as error:
        _remember(options)
        line = Reach(reactor, options, options.config_folders()).public_line()
        raise Error(
            f"{error}; the server is known now: add this line to authorized_keys in ~/.config/twisted-rsh there: {line}"
        ) from None
    return _enrolled(options)


async def enroll_over_ssh(reactor: Any, options: ClientOptions, target: str, program: str) -> Answer:
    """Exchange keys over an SSH login of the system's ``ssh``, which authenticates both sides.

    :param reactor: the reactor.
    :param options: how to reach the server afterwards.
    :param target: where to log in by SSH.
    :param program: ``twisted-rsh`` there.
    :raises Error: that login or the command failed, or the server does not let the client in.
    """
    _check_file(options)
    line = Reach(reactor, options, options.config_folders()).public_line()
    answer = _ask_over_ssh(target, f"{program} enroll-key", f"{line}\n".encode())
    ports = answer["ports"]
    is_elsewhere = options.port == DEFAULT_PORT and len(ports) == 1
    options = replace(
        options,
        port=ports[0] if is_elsewhere else options.port,
        user=options.user or answer["user"],
        fingerprint=answer["fingerprint"],
    )
    _remember(options)  # SSH vouches for the key, whether the server runs now or not
    await _log_in(reactor, options)
    return _enrolled(options)


def _ask_over_ssh(target: str, command: str, line: bytes) -> dict[str, Any]:
    try:
        ssh = subprocess.Popen(["ssh", "-T", "--", target, command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    except OSError as error:
        raise Error(f"cannot run ssh: {error.strerror}") from None
    with ssh:
        assert ssh.stdin is not None
        assert ssh.stdout is not None
        try:
            ssh.stdin.write(line)
            ssh.stdin.close()
        except BrokenPipeError:
            pass  # its status says more
        said = ssh.stdout.read(MAX_ANSWER_BYTES)
        ssh.stdout.close()
    if ssh.returncode == 127:
        raise Error(f"there is no `{command}` at {target}: name the program with --program PATH")
    if ssh.returncode:
        raise Error(f"ssh {target} {command}: ended with status {ssh.returncode}")
    lines = said.decode("utf-8", "replace").splitlines()
    try:
        answer = json.loads(lines[-1])
        parse_fingerprint(answer["fingerprint"])
        is_whole = isinstance(answer["user"], str) and all(type(port) is int for port in answer["ports"])
    except (IndexError, ValueError, KeyError, TypeError, BadFingerprint):
        is_whole = False
    if not is_whole:
        raise Error(f"ssh {target} {command}: its answer is not one of twisted-rsh")
    return dict(answer)


async def _log_in(reactor: Any, options: ClientOptions, invitation: Invitation | None = None) -> None:
    """Log in and leave."""
    outputs = LocalOutputs(reactor)
    terminal = TerminalSettings(reactor, 0)
    first_use = FirstUse(reactor, outputs, terminal) if may_ask(options) else None
    reach = Reach(reactor, options, options.config_folders(), first_use, terminal)
    try:
        connection = await reach.connect(invitation)
        await connection.close()
    finally:
        reach.stop()
        await outputs.flushed()
        outputs.stop()


def _check_file(options: ClientOptions) -> None:
    """Fail before anything is changed, if the file of known servers cannot be used."""
    KnownServers(options.config_folders()).pins(options.host, options.port)


def _remember(options: ClientOptions) -> None:
    """Keep the fingerprint that was given, and no other; one that the user has confirmed is kept already."""
    if options.fingerprint is not None:
        pin = parse_fingerprint(options.fingerprint)
        KnownServers(options.config_folders()).add(options.host, options.port, pin, added_today(), replace=True)


def _enrolled(options: ClientOptions) -> Answer:
    _remember(options)
    words = [] if options.config_dir is None else ["--config-dir", options.config_dir]
    host = options.typed_host
    if options.port != DEFAULT_PORT:
        host = format_address(host, options.port)
    is_other = options.user is not None and options.user != Names("", "", 0, "").local_user
    words.append(f"{options.user}@{host}" if is_other else host)
    return Answer(f"enrolled; now run: trsh {shlex.join(words)}\n")
