"""What the client's configuration file says about a host: ``trsh -G`` reads it, as it does for every tool."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.internet.threads import deferToThread

from twisted_rsh import Error, SessionLimits

if TYPE_CHECKING:
    from twisted_rsh.ansible.kept import ServerAddress

__all__ = ["READING_SECONDS", "HostSettings", "read_host_settings"]

READING_SECONDS = 10.0
"""Seconds that the process may take to read the file; a ``Match exec`` in it runs a command."""


@dataclass(frozen=True, slots=True)
class HostSettings:
    """How a host is reached: what Ansible says, completed by the configuration file.

    :ivar host: a host name or address, where an alias leads.
    :ivar port: the TCP port.
    :ivar user: the user to log in as.
    :ivar fingerprint: that of the server's key, or ``None``.
    :ivar resume: whether commands outlive a connection that breaks.
    :ivar identities: paths of keys to log in with, of which the first that exists counts; none for the client's own.
    :ivar family: ``inet`` or ``inet6``, the only addresses to use; ``any`` for both.
    :ivar limits: how often to ask the server for a sign of life.
    """

    host: str
    port: int
    user: str
    fingerprint: str | None
    resume: bool
    identities: tuple[str, ...]
    family: str
    limits: SessionLimits


async def read_host_settings(address: ServerAddress) -> HostSettings:
    """Complete an address by the configuration file, which is read anew by a process of its own.

    :param address: the address; what it has counts more than the file.
    :returns: the settings.
    :raises twisted_rsh.Error: the file is wrong, has a ``ProxyCommand`` for the host, or was not read in time.
    """
    words = [sys.executable, "-m", "twisted_rsh.client", "-G"]
    if address.config_dir is not None:
        words += ["--config-dir", address.config_dir]
    if address.port is not None:
        words += ["-p", str(address.port)]
    if address.user is not None:
        words += ["-l", address.user]
    if address.fingerprint is not None:
        words += ["-o", f"Fingerprint={address.fingerprint}"]
    if not address.resume:
        words += ["-o", "Resume=no"]
    return _parse(address.host, await deferToThread(_run, [*words, "--", address.host]))


def _run(words: list[str]) -> str:
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=READING_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Error(f"the configuration file was not read within {READING_SECONDS:g} s") from None
    except ValueError as error:  # such as a name with a NUL
        raise Error(str(error)) from None
    if done.returncode:
        raise Error(done.stderr.strip().rpartition("\n")[2] or "the configuration file cannot be read")
    return done.stdout


def _parse(host: str, output: str) -> HostSettings:
    values: dict[str, list[str]] = {}
    for line in output.splitlines():
        keyword, _, value = line.partition(" ")
        values.setdefault(keyword, []).append(value)
    if "proxycommand" in values:
        raise Error(f"the configuration file has a ProxyCommand for {host}, and Ansible's plugin cannot use one")
    interval, misses = (values.get(f"serveralive{name}", [None])[0] for name in ("interval", "countmax"))
    return HostSettings(
        host=values["hostname"][0],
        port=int(values["port"][0]),
        user=values["user"][0],
        fingerprint=values.get("fingerprint", [None])[0],
        resume=values["resume"] == ["yes"],
        identities=tuple(values.get("identityfile", ())),
        family=values["addressfamily"][0],
        limits=SessionLimits().with_signs_of_life(
            None if interval is None else float(interval), None if misses is None else int(misses)
        ),
    )
