"""The entry point of ``trsh``: read the command line, and run the program that it asks for."""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import NoReturn

if os.name != "posix":  # the modules below need fcntl and pwd, which other systems do not have
    sys.exit("twisted-rsh needs a POSIX system")

from twisted_rsh import __version__
from twisted_rsh.cli.arguments import Arguments, parse_arguments
from twisted_rsh.cli.destination import UsageError
from twisted_rsh.cli.options import ClientOptions, complete_options, usage_text
from twisted_rsh.client.status import FAILURE_STATUS
from twisted_rsh.trust.home import HomeUnknown

__all__ = ["main", "run"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the client.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :returns: the exit status, or minus the number of the signal of which the process is to die.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until the program runs, Ctrl-C simply ends it; Python's own handler would print a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        found = parse_arguments(sys.argv[1:] if arguments is None else arguments)
        if found.hosts is not None and not _asks(found):
            return _run_fleet(found)
        options = complete_options(found)
        answer = _answer(options)
        if answer is not None:
            return answer
        _check_descriptor(options)
    except (UsageError, HomeUnknown) as error:
        _print(f"trsh: {error}", 2)
        return FAILURE_STATUS
    except OSError as error:
        return _tell_error(error)
    try:
        with _loading():
            # The program needs Twisted, whose import takes 0.3 s: an error in the command line is told before.
            from twisted_rsh.cli.background import launch
            from twisted_rsh.cli.descriptors import ensure_standard_descriptors
            from twisted_rsh.cli.program import install_reactor, run_client
            from twisted_rsh.trust.private_memory import hide_memory

            hide_memory()
            ensure_standard_descriptors()
            launched = launch() if options.background else None
            if isinstance(launched, int):
                return launched
            reactor = install_reactor(options)
        return run_client(reactor, options, launched)
    except HomeUnknown as error:
        _print(f"trsh: {error}", 2)
    except OSError as error:
        return _tell_error(error)
    return FAILURE_STATUS


def _tell_error(error: OSError) -> int:
    _print(f"trsh: {error.filename!r}: {error.strerror}" if error.filename else f"trsh: {error}", 2)
    return FAILURE_STATUS


def _asks(found: Arguments) -> bool:
    return found.shows_help or found.shows_version or found.completion is not None or found.query is not None


def _run_fleet(found: Arguments) -> int:
    """Run a command on many hosts; return the exit status.

    :raises UsageError: the command line is wrong, or there is no command.
    :raises HomeUnknown: the user has no home.
    :raises OSError: a file cannot be opened.
    """
    from twisted_rsh.cli.fleet_options import complete_fleet_options

    options = complete_fleet_options(found)
    if not options.common.command and os.isatty(0):
        raise UsageError("--hosts needs a command, or a script on stdin")
    from twisted_rsh.cli.descriptors import ensure_standard_descriptors
    from twisted_rsh.cli.fleet_program import run_fleet
    from twisted_rsh.cli.program import install_reactor
    from twisted_rsh.trust.private_memory import hide_memory

    hide_memory()
    ensure_standard_descriptors()
    return run_fleet(install_reactor(options.common), options)


def run() -> NoReturn:
    """Run the client as this whole process, and end the process with the exit status of :func:`main`.

    All output is written then, and the functions of :mod:`atexit` are called.  What Python does after them, taking
    each module and object apart, is left to the system: it took a fifth of the time of a short command.
    """
    status = main()
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no public name, and multiprocessing ends its children so, too
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # none, without a reader, or closed
            stream.flush()
    if status < 0:
        # A shell ends a loop at Ctrl-C only if the program has died of it, as ssh does before its login.
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
        status = 128 - status  # the signal is blocked
    os._exit(status)


@contextlib.contextmanager
def _loading() -> Iterator[None]:
    """Search for no garbage while modules are loaded, and never in what they have made: all of it stays."""
    is_collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if is_collecting:
            gc.enable()


def _answer(options: ClientOptions) -> int | None:
    """Answer a question that needs no server; return the exit status, or ``None`` for any other command line.

    :raises UsageError: there is no answer.
    """
    if options.show_help:
        return _print(usage_text().rstrip("\n"), 1)
    if options.show_version:
        return _print(f"twisted-rsh {__version__}", 2)
    if options.completion is not None:
        from twisted_rsh.cli.shell_completion import completion_text

        return _print(completion_text(options.completion, options.config_folders()), 1)
    if options.query is not None:
        return 0
    if options.show_settings:
        return _print("\n".join(options.shown_settings()), 1)
    if options.control is not None:
        if not options.silent:
            _print(f"trsh: -O {options.control}: no program keeps a connection to {options.address}", 2)
        return FAILURE_STATUS
    return None


def _check_descriptor(options: ClientOptions) -> None:
    """Check what the options want written where, before anything is opened.

    :raises UsageError: the descriptor of ``--status-fd`` is not open, or there is no command to report.
    """
    if options.status_fd is not None:
        try:
            os.fstat(options.status_fd)
        except OSError as error:
            raise UsageError(f"--status-fd {options.status_fd}: {error.strerror}") from None
    if (options.json or options.status_fd is not None) and not options.has_task and os.isatty(0):
        raise UsageError(f"{'--json' if options.json else '--status-fd'} needs a command, or a script on stdin")


def _print(text: str, fd: int) -> int:
    """Write a text; return the exit status: what is written to a closed descriptor is lost, as with a command."""
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(f"{text}\n".encode(errors="backslashreplace"))
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.errno == errno.EBADF:
            return 0
        if fd != 2:
            _print(f"trsh: cannot write to stdout: {error.strerror}", 2)
        return FAILURE_STATUS
    return 0


if __name__ == "__main__":
    run()
