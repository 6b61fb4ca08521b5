"""What the client is to do on many hosts: the list of ``--hosts``, and the options of each host in it."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from twisted_rsh.cli.arguments import Arguments
from twisted_rsh.cli.config_file import AtLine, read_lines
from twisted_rsh.cli.destination import UsageError, parse_destination
from twisted_rsh.cli.options import ClientOptions, complete_options
from twisted_rsh.cli.values import TerminalWish, parse_port
from twisted_rsh.fleet.host_lists import (
    BadHostList,
    ListPart,
    parse_groups,
    read_host_file,
    resolve_hosts,
    split_parts,
)
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["DEFAULT_PARALLEL", "MAX_OUTPUT_BYTES", "FleetOptions", "complete_fleet_options"]

DEFAULT_PARALLEL = 64
"""Hosts at once: as many as clush.  A login costs some ten milliseconds of processor time, so more are hardly faster
where the command is short."""

MAX_OUTPUT_BYTES = 16 * 1024 * 1024
"""Bytes that the command may write on one host while its output is kept, unless ``--max-output`` says otherwise: a
hundred hosts fill 1.6 GB of the folder for temporary files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOptions:
    """The values of a command line with ``--hosts``.

    :ivar hosts: the name of each host, as the list has it, and its options.
    :ivar parallel: hosts to work on at once.
    :ivar batch: hosts that must have ended before the next are begun; ``None`` for no batches.
    :ivar may_fail: hosts that may fail before no further one is begun; ``None`` for any number.
    :ivar fail_fast: whether the first failure ends the commands on the other hosts.
    :ivar prefix: whether each line is written as it comes, after the name of its host.
    :ivar quiet: whether to tell nothing but failures of the client's own.
    """

    hosts: tuple[tuple[str, ClientOptions], ...]
    parallel: int
    batch: int | None
    may_fail: int | None
    fail_fast: bool
    prefix: bool
    quiet: bool

    @property
    def common(self) -> ClientOptions:
        """The options of the first host, for what is the same on all."""
        return self.hosts[0][1]


def complete_fleet_options(found: Arguments) -> FleetOptions:
    """Complete a command line with ``--hosts`` by the files of groups and of the configuration.

    :param found: the command line.
    :raises UsageError: a value, a file or the list is wrong, or options contradict each other.
    :raises twisted_rsh.trust.home.HomeUnknown: as for :func:`~twisted_rsh.cli.options.parse_options`.
    """
    _refuse_contradictions(found)
    folders = ConfigFolders.chosen(found.config_dir, os.environ)
    try:
        names = _names(found.hosts or [], folders)
    except BadHostList as error:
        raise UsageError(f"--hosts: {error}") from None
    batch = None if found.serial is None else max(found.serial.of(len(names)), 1)
    known: dict[str, list[str]] = {}
    hosts = tuple((name, _options_of(name, found, known)) for name in names)
    parallel = found.parallel or DEFAULT_PARALLEL
    if batch is not None and found.parallel is not None and found.parallel > batch:
        raise UsageError(f"--parallel {found.parallel} is more than a batch of --serial, which has {batch}")
    return FleetOptions(
        hosts=hosts,
        parallel=min(parallel, batch or parallel),
        batch=batch,
        may_fail=0 if found.fail_fast else None if found.max_fail is None else found.max_fail.of(len(names)),
        fail_fast=found.fail_fast,
        prefix=found.prefix,
        quiet=any(options.quiet for _, options in hosts),
    )


def _refuse_contradictions(found: Arguments) -> None:
    get = found.settings.get
    wish = found.terminal or get("terminal")
    for is_wrong, text in (
        (
            found.destination,
            "--hosts and a host before it contradict each other: with --hosts each word is the command",
        ),
        (wish in {TerminalWish.ASKED, TerminalWish.ALWAYS}, "--hosts and -t contradict each other"),
        (get("session_type") == "none", "--hosts and -N contradict each other"),
        (get("session_type") == "subsystem", "--hosts and -s contradict each other"),
        (get("background"), "--hosts and -f contradict each other"),
        (found.shows_settings, "--hosts and -G contradict each other"),
        (found.control, "--hosts and -O contradict each other"),
        (found.stdio_forward, "--hosts and -W contradict each other"),
        (found.clean, "--hosts and --clean contradict each other"),
        (found.status_fd is not None, "--hosts and --status-fd contradict each other: --json tells each ending"),
        (found.prefix and found.json, "--prefix and --json contradict each other"),
        (found.fail_fast and found.max_fail is not None, "--fail-fast and --max-fail contradict each other"),
        (found.serial is not None and not found.serial.amount, "--serial needs at least one host"),
        (found.argv and not found.command, "--argv needs a command"),
    ):
        if is_wrong:
            raise UsageError(text)


def _names(values: Sequence[str], folders: ConfigFolders) -> tuple[str, ...]:
    parts: list[ListPart] = []
    for value in values:
        # No host has a "/" in its name.  A comma makes a list of a name that a file has, too.
        if "/" in value or os.path.isfile(value):
            parts += read_host_file(_lines_of(value), value)
        else:
            parts += split_parts(value)
    path = folders.host_groups_path
    try:
        # Who can write it decides where commands run.
        groups = parse_groups(read_lines(path, is_trusted=False), path)
    except FileNotFoundError:
        groups = {}
    return resolve_hosts(parts, groups)


def _lines_of(path: str) -> list[str]:
    try:
        return read_lines(path, is_trusted=True)
    except FileNotFoundError as error:
        raise UsageError(f"--hosts: cannot read {path!r}: {error.strerror}") from None


def _options_of(name: str, found: Arguments, known: dict[str, list[str]]) -> ClientOptions:
    """Complete the command line as if the host stood in it."""
    own = copy.copy(found)
    own.settings = copy.deepcopy(found.settings)
    own.destination = destination = parse_destination(name)
    # What stands with a host is about it alone, and comes before what is said of all.
    if destination.port is not None:
        own.settings.values["port"] = parse_port(destination.port)
    if destination.user is not None:
        own.settings.values["user"] = destination.user
    try:
        options = complete_options(own, known)
        for is_wrong, keyword in (
            (options.no_command, "SessionType none"),
            (options.subsystem is not None, "SessionType subsystem"),
            (options.background, "ForkAfterAuthentication"),
        ):
            if is_wrong:
                raise UsageError(f"{keyword} and --hosts contradict each other")
    except AtLine:
        raise
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
    if own.settings.get("max_output") is None and not found.prefix:
        options = replace(options, max_output=MAX_OUTPUT_BYTES)
    return options
