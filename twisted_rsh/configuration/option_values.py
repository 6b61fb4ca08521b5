"""The values of the options of a server, as a command line or a file has them.

Each function reads a text, and raises ``usage.UsageError`` with one line that names the option and what it takes.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable

from twisted.python import usage

from twisted_rsh.execution.sftp import OFF, OWN, SYSTEM
from twisted_rsh.log_level import LOG_LEVELS
from twisted_rsh.server.options import AUTO
from twisted_rsh.watching.entries import TextForm
from twisted_rsh.watching.metrics_port import MetricsPlace, parse_metrics_place

__all__ = [
    "positive_number",
    "read_cgroups",
    "read_encoding",
    "read_log_level",
    "read_metrics_place",
    "read_revoked_keys",
    "read_sftp",
    "read_shell",
    "read_socket",
    "read_text_form",
    "whole_number",
]


def whole_number(option: str, minimum: int, maximum: int) -> Callable[[str], int]:
    """Return a reader of whole numbers.

    :param option: the name of the option, for a mistake.
    :param minimum: the least number that it takes.
    :param maximum: the greatest.
    """

    def coerce(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = minimum - 1
        if not minimum <= number <= maximum:
            raise usage.UsageError(f"--{option} takes a whole number from {minimum} to {maximum}, not {text!a}")
        return number

    return coerce


def positive_number(option: str) -> Callable[[str], float]:
    """Return a reader of numbers of seconds above 0.

    :param option: the name of the option, for a mistake.
    """

    def coerce(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            raise usage.UsageError(f"--{option} takes a number of seconds above 0, not {text!a}")
        return number

    return coerce


def read_cgroups(text: str) -> str:
    """Read ``auto`` or ``never``."""
    if text not in ("auto", "never"):
        raise usage.UsageError(f"--cgroups takes auto or never, not {text!a}")
    return text


def read_log_level(text: str) -> str:
    """Read the name of a level of the log."""
    if text not in LOG_LEVELS:
        raise usage.UsageError(f"--log-level takes {', '.join(LOG_LEVELS[:-1])} or {LOG_LEVELS[-1]}, not {text!a}")
    return text


def read_encoding(text: str) -> str:
    """Read the name of a code page that Python knows."""
    try:
        codecs.lookup(text)
    except LookupError:
        raise usage.UsageError(
            f"--encoding {text!a} is not a code page that Python knows; name one such as utf-8"
        ) from None
    return text


def _program(option: str, text: str) -> str:
    if not (os.path.isfile(text) and os.access(text, os.X_OK)):
        raise usage.UsageError(f"--{option} {text!a} is not a program that can be run")
    return text


def read_shell(text: str) -> str:
    """Read the absolute path of a program that can be run."""
    if not os.path.isabs(text):
        raise usage.UsageError(f"--shell {text!a} is not an absolute path, such as /bin/sh")
    return _program("shell", text)


def read_sftp(text: str) -> str:
    """Read what serves files: a word, or the absolute path of a program."""
    if text in (SYSTEM, OWN, OFF):
        return text
    if not os.path.isabs(text):
        raise usage.UsageError(f"--sftp takes system, own, off or the absolute path of a program, not {text!a}")
    return _program("sftp", text)


def read_revoked_keys(text: str) -> str:
    """Read the path of a file that exists, and return it as an absolute one."""
    if not os.path.isfile(text):
        raise usage.UsageError(f"--revoked-keys {text!a} is not a file; make an empty one with: ssh-keygen -k")
    return os.path.abspath(text)


def read_socket(text: str) -> str:
    """Read where the Unix socket is: a word, or an absolute path."""
    if text not in (AUTO, OFF) and not os.path.isabs(text):
        raise usage.UsageError(f"--socket takes auto, off or the absolute path of a socket, not {text!a}")
    return text


def read_text_form(text: str) -> TextForm:
    """Read how much of a command the audit log has."""
    try:
        return TextForm(text)
    except ValueError:
        raise usage.UsageError(f"--audit-text takes none, hash or full, not {text!a}") from None


def read_metrics_place(text: str) -> MetricsPlace:
    """Read where the metrics are served."""
    try:
        return parse_metrics_place(text)
    except ValueError as error:
        raise usage.UsageError(f"--metrics {error}") from None
