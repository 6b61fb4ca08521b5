"""The plan of a process for a request: every text encoded, every path absolute, every limit held; and the refusals.

Nothing is started here.  The two checks that need the file system are parameters.
"""

from __future__ import annotations

import codecs
import errno
import functools
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain

from twisted_rsh.core.endings import Ending, Exited, OutcomeUnknown, RefusalReason, Refused, Signalled
from twisted_rsh.core.limits import (
    MAX_CWD_BYTES,
    MAX_ENVIRONMENT_NAMES,
    MAX_ENVIRONMENT_VALUE_BYTES,
    MAX_REQUEST_BYTES,
)
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.processes.spawn import SpawnPlan
from twisted_rsh.execution.processes.terminal import TerminalUnavailable
from twisted_rsh.execution.sftp import SYSTEM, enter_own, find_sftp
from twisted_rsh.interfaces import JobRefused

__all__ = [
    "MAX_ESCAPED_BYTES",
    "MAX_SHOWN_CHARACTERS",
    "SEARCH_PATH_FILE",
    "check_escapes",
    "check_folder",
    "check_program",
    "describe_shortage",
    "encode_text",
    "plan_job",
    "refusal_of",
    "shell_failure",
    "shown",
]

MAX_SHOWN_CHARACTERS = 200
"""Characters of a name or path that a refusal repeats: one readable line, far below ``MAX_TEXT_BYTES``."""

MAX_ESCAPED_BYTES = 16 * 1024
"""Bytes of one request that are no text of the client, where the server's code page is neither UTF-8 nor ASCII nor
Latin-1.  Python's other codecs take 0.3 to 0.45 us for each, and all together 7 ms."""

SEARCH_PATH_FILE = os.fsencode(os.path.join(os.path.dirname(__file__), "search_path.bash"))
"""The file that a bash reads before it runs a single command."""

_QUICK_CODECS = frozenset(["utf-8", "ascii", "iso8859-1"])


def check_program(path: bytes) -> None:
    """Check that a path names a regular file that this process may execute.

    :param path: absolute path.
    :raises OSError: it does not, and why: ``FileNotFoundError``, ``IsADirectoryError``, ``PermissionError``, ...
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not (stat.S_ISREG(mode) and os.access(path, os.X_OK)):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def check_folder(path: bytes) -> None:
    """Check that a path names a folder that this process may enter.

    :param path: absolute path.
    :raises OSError: it does not, and why: ``FileNotFoundError``, ``NotADirectoryError``, ``PermissionError``, ...
    """
    if not stat.S_ISDIR(os.stat(path).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if not os.access(path, os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@dataclass(frozen=True, slots=True)
class _Encoded:
    """What all jobs of an account have in common, as bytes.

    :ivar home: the path of the home folder.
    :ivar shell: the path of the shell.
    :ivar shell_name: the last part of that.
    :ivar environment: the variables, to be copied.
    """

    home: bytes
    shell: bytes
    shell_name: bytes
    environment: Mapping[bytes, bytes]


@functools.lru_cache(maxsize=16)  # a server has one account, and a few commands a millisecond
def _encoded(account: Account) -> _Encoded:
    shell = os.fsencode(account.shell)
    environment = {os.fsencode(name): os.fsencode(value) for name, value in account.environment}
    return _Encoded(os.fsencode(account.home), shell, os.path.basename(shell), environment)


def plan_job(
    request: JobRequest,
    account: Account,
    *,
    program_check: Callable[[bytes], None] = check_program,
    folder_check: Callable[[bytes], None] = check_folder,
    sftp: str = SYSTEM,
) -> SpawnPlan:
    """Plan the process for a request.

    The account's shell runs a command string.  If that is bash, the command has the search path that the user's
    ``.bashrc`` sets, as by ``ssh``; zsh itself reads ``.zshenv`` for every command.  An argument vector runs without a
    shell.  A program name with a slash is relative to the job's working folder.  Any other name is looked up in the
    job's own ``PATH``; empty and relative entries are skipped, so that no program is ever found in the current folder.

    :param request: the client's request.
    :param account: the account that the process runs as.
    :param program_check: raises ``OSError`` unless its argument, an absolute path, can be executed.
    :param folder_check: raises ``OSError`` unless its argument, an absolute path, can be entered.
    :param sftp: what the subsystem ``sftp`` is (:func:`twisted_rsh.execution.sftp.find_sftp`); there is no other.
    :returns: the plan; give it to :func:`twisted_rsh.execution.job.start_job`.
    :raises JobRefused: `NOT_SUPPORTED` for a subsystem that is not there; `BAD_TEXT`, `TOO_LONG`, `BAD_CWD`,
        `NOT_FOUND` or `NOT_EXECUTABLE`, with one line that names the cause.
    """
    if request.subsystem is not None:
        server = find_sftp(sftp, program_check) if request.subsystem == "sftp" else None
        if server is None:
            raise JobRefused(RefusalReason.NOT_SUPPORTED, f"this server has no subsystem {shown(request.subsystem)}")
        # The paths are of this system, and an argument vector is text in the account's code page.
        words = tuple(os.fsencode(word).decode(account.encoding, "surrogateescape") for word in server)
        named = replace(request, subsystem=None, argv=words)
        return enter_own(plan_job(named, account, program_check=program_check, folder_check=folder_check))
    texts = chain((request.command or "",), request.argv or (), *request.environment)
    check_escapes(texts, account.encoding)
    program, total = _encode_program(request, account)
    additions = _encode_additions(request, account)
    total += sum(len(name) + len(value) + 2 for name, value in additions)
    if total > MAX_REQUEST_BYTES:
        raise JobRefused(
            RefusalReason.TOO_LONG,
            f"the {_subject(request)} and its environment take {total} bytes; at most {MAX_REQUEST_BYTES} are allowed",
        )
    own = _encoded(account)
    environment = dict(own.environment)
    if request.terminal is not None:
        environment[b"TERM"] = encode_text(request.terminal.term, account.encoding, "the type of the terminal")
    environment.update(additions)
    cwd = _resolve_cwd(request, account, own.home, folder_check)
    if request.argv is None:
        if own.shell_name == b"bash":
            environment.setdefault(b"BASH_ENV", SEARCH_PATH_FILE)
        argv = (own.shell_name, b"-c", *program)
        candidates: Iterable[bytes] = (own.shell,)
        name = account.shell
    else:
        argv = program
        candidates = _candidates(program[0], environment.get(b"PATH", b""), cwd)
        name = request.argv[0]
    return SpawnPlan(_first_program(candidates, name, program_check), argv, tuple(environment.items()), cwd)


def shown(text: str) -> str:
    """Make a client's text safe to repeat in a line for people.

    :param text: any text.
    :returns: the text, cut to :data:`MAX_SHOWN_CHARACTERS`, with every unprintable character escaped.
    """
    cut = text if len(text) <= MAX_SHOWN_CHARACTERS else text[: MAX_SHOWN_CHARACTERS - 3] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)


def _subject(request: JobRequest) -> str:
    return "command" if request.argv is None else "argument vector"


def encode_text(text: str, encoding: str, subject: str) -> bytes:
    """Encode text that a client sent.

    :param text: any text.
    :param encoding: the code page, as Python names it.
    :param subject: the name of the text in a refusal.
    :returns: bytes without NUL.
    :raises JobRefused: `BAD_TEXT`: the text has a character that the code page lacks, or a NUL.
    """
    try:
        encoded = text.encode(encoding, "surrogateescape")
    except UnicodeEncodeError as e:
        character = shown(text[e.start])
        raise JobRefused(
            RefusalReason.BAD_TEXT,
            f"{subject} contains {character}, which the server's code page {encoding} cannot express",
        ) from None
    if b"\0" in encoded:  # found in bytes 30 times as fast as in text with escapes
        raise JobRefused(RefusalReason.BAD_TEXT, f"{subject} contains a NUL byte")
    return encoded


def check_escapes(texts: Iterable[str], encoding: str) -> None:
    """Check that it takes little time to encode all texts of a request.

    :param texts: the texts that a client sent.
    :param encoding: the code page, as Python names it.
    :raises JobRefused: `TOO_LONG`: they have more than :data:`MAX_ESCAPED_BYTES` that are no text.
    """
    if codecs.lookup(encoding).name in _QUICK_CODECS:
        return
    text = "".join(texts)
    escaped = len(text) - len(text.encode("utf-8", "ignore").decode())
    if escaped > MAX_ESCAPED_BYTES:
        raise JobRefused(
            RefusalReason.TOO_LONG,
            f"the request has {escaped} bytes that are no text; "
            f"at most {MAX_ESCAPED_BYTES} are allowed in the server's code page {encoding}",
        )


def _encode_program(request: JobRequest, account: Account) -> tuple[tuple[bytes, ...], int]:
    """Encode the command or the argument vector; return it with its size, counting a NUL after each string."""
    if request.argv is None:
        # JobRequest guarantees that one of the two is given.
        command = request.command or ""
        if not command:
            raise JobRefused(RefusalReason.BAD_TEXT, "the command is empty")
        text = encode_text(command, account.encoding, "the command")
        return (text,), len(text) + 1
    if not request.argv[0]:
        raise JobRefused(RefusalReason.BAD_TEXT, "the name of the program is empty")
    encoded = tuple(
        encode_text(text, account.encoding, f"argument {number}" if number else "the name of the program")
        for number, text in enumerate(request.argv)
    )
    return encoded, sum(len(text) + 1 for text in encoded)


def _encode_additions(request: JobRequest, account: Account) -> list[tuple[bytes, bytes]]:
    """Encode the environment additions of a request."""
    if len(request.environment) > MAX_ENVIRONMENT_NAMES:
        raise JobRefused(
            RefusalReason.TOO_LONG,
            f"{len(request.environment)} environment variables; at most {MAX_ENVIRONMENT_NAMES} are allowed",
        )
    additions = []
    for name, value in request.environment:
        subject = f"the environment variable {shown(name)}"
        if not name:
            raise JobRefused(RefusalReason.BAD_TEXT, "the name of an environment variable is empty")
        if "=" in name:
            raise JobRefused(RefusalReason.BAD_TEXT, f"{subject} has an equals sign in its name")
        encoded = encode_text(value, account.encoding, subject)
        if len(encoded) > MAX_ENVIRONMENT_VALUE_BYTES:
            raise JobRefused(
                RefusalReason.TOO_LONG,
                f"{subject} has {len(encoded)} bytes; at most {MAX_ENVIRONMENT_VALUE_BYTES} are allowed",
            )
        additions.append((encode_text(name, account.encoding, f"the name of {subject}"), encoded))
    return additions


def _resolve_cwd(request: JobRequest, account: Account, home: bytes, folder_check: Callable[[bytes], None]) -> bytes:
    """Return the absolute working folder; ``/`` if none was asked for and the home folder is missing."""
    if request.cwd is None:
        return home if _outcome(folder_check, home) is None else b"/"
    cwd = encode_text(request.cwd, account.encoding, "the working folder")
    if len(cwd) > MAX_CWD_BYTES:
        raise JobRefused(
            RefusalReason.TOO_LONG, f"the working folder has {len(cwd)} bytes; at most {MAX_CWD_BYTES} are allowed"
        )
    cwd = os.path.join(home, cwd)
    error = _outcome(folder_check, cwd)
    if error is not None:
        raise JobRefused(RefusalReason.BAD_CWD, f"{shown(request.cwd)}: {error.strerror}")
    return cwd


def _candidates(program: bytes, path: bytes, cwd: bytes) -> Iterable[bytes]:
    """List the paths at which a program may be, best first."""
    if b"/" in program:
        return (os.path.join(cwd, program),)
    return (os.path.join(entry, program) for entry in path.split(b":") if entry.startswith(b"/"))


def _outcome(check: Callable[[bytes], None], path: bytes) -> OSError | None:
    """Return the error that a check raises, or ``None``."""
    try:
        check(path)
    except OSError as e:
        return e
    return None


def _first_program(candidates: Iterable[bytes], name: str, program_check: Callable[[bytes], None]) -> bytes:
    """Return the first candidate that can be executed; `name` is the client's name for it."""
    obstacle = None
    for candidate in candidates:
        error = _outcome(program_check, candidate)
        if error is None:
            return candidate
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            obstacle = obstacle or error
    if obstacle is None:
        raise JobRefused(RefusalReason.NOT_FOUND, f"{shown(name)}: command not found")
    raise JobRefused(RefusalReason.NOT_EXECUTABLE, f"{shown(name)}: {obstacle.strerror}")


_REASON_BY_ERRNO = {
    errno.ENOENT: RefusalReason.NOT_FOUND,
    errno.E2BIG: RefusalReason.TOO_LONG,
}
_BOUND_BY_ERRNO = {
    errno.EMFILE: "the server's limit of open files, ulimit -n",
    errno.ENFILE: "the limit of open files of the server's machine, fs.file-max",
    errno.EAGAIN: "the limit of processes of the server's user, ulimit -u, or of its control group, pids.max",
    errno.ENOMEM: "the memory of the server's machine",
    errno.ENOSPC: "the space, or the terminals, of the server's machine",
}
"""The refusal for each error that a client may act on, and the bound of the system behind each `RESOURCES`; any other
error means `NOT_EXECUTABLE`."""


def describe_shortage(error: OSError) -> str | None:
    """Describe in one line what the server or its machine has run out of, and the bound; ``None`` for another error."""
    bound = _BOUND_BY_ERRNO.get(error.errno or 0)
    return bound and f"{error.strerror} ({bound}); try again later"


def refusal_of(error: OSError, plan: SpawnPlan) -> JobRefused:
    """Make the refusal for a process that the system did not start.

    :param error: the system's error.
    :param plan: the plan of the process.
    :returns: the refusal; raise it.
    """
    shortage = describe_shortage(error)
    if isinstance(error, TerminalUnavailable):
        return JobRefused(RefusalReason.NO_TERMINAL, f"there is no terminal to be had: {shortage or error.strerror}")
    if error.filename == plan.cwd and shortage is None:
        return JobRefused(RefusalReason.BAD_CWD, f"{shown(os.fsdecode(plan.cwd))}: {error.strerror}")
    default = RefusalReason.RESOURCES if shortage else RefusalReason.NOT_EXECUTABLE
    reason = _REASON_BY_ERRNO.get(error.errno or 0, default)
    return JobRefused(reason, f"{shown(os.fsdecode(plan.executable))}: {shortage or error.strerror}")


def shell_failure(plan: SpawnPlan, ending: Ending | None, said: str) -> Refused:
    """Make the ending of a persistent shell that failed before it was ready.

    :param plan: the plan of its process.
    :param ending: how the process ended, or why the server killed it; ``None`` when that is not known.
    :param said: the end of its output; the last line is repeated.
    :returns: the ending, `SHELL_FAILED`, with one line that says why.
    """
    name = shown(os.fsdecode(plan.executable))
    if isinstance(ending, OutcomeUnknown):
        return Refused(RefusalReason.SHELL_FAILED, f"{name}: {ending.text}")
    how = "it ended before it was ready"
    if isinstance(ending, Exited):
        how += f", with exit code {ending.code}"
    elif isinstance(ending, Signalled):
        how += f", by signal {ending.signal}"
    last = next((shown(line.strip()) for line in reversed(said.split("\n")) if line.strip()), "")
    return Refused(RefusalReason.SHELL_FAILED, f"{name}: {how}" + (f": {last}" if last else ""))
