"""The values of options and keywords, read from text: ports, times, sizes, names, yes and no."""

from __future__ import annotations

import enum
import math
import re
from dataclasses import dataclass

from twisted_rsh.cli.destination import UsageError
from twisted_rsh.client.text import text_codec
from twisted_rsh.core.limits import MAX_OFFSET
from twisted_rsh.core.requests import Disconnection, parse_disconnection
from twisted_rsh.core.roles import MAX_PORT

__all__ = [
    "Share",
    "TerminalWish",
    "parse_count",
    "parse_descriptor",
    "parse_disconnection_policy",
    "parse_encoding",
    "parse_escape",
    "parse_family",
    "parse_flag",
    "parse_host_count",
    "parse_host_key_check",
    "parse_interval",
    "parse_log_level",
    "parse_port",
    "parse_seconds",
    "parse_session_type",
    "parse_share",
    "parse_size",
    "parse_terminal_wish",
]

MAX_DESCRIPTOR = 2**31 - 1
"""The highest number of a descriptor: it is a C ``int``."""

MAX_COUNT = 2**31 - 1
"""The highest number of signs of life that may be missed: that of ssh, a C ``int``."""

MAX_HOST_COUNT = 10_000
"""The highest number of hosts: as many as a list may have (:data:`twisted_rsh.fleet.host_lists.MAX_HOSTS`)."""

MAX_INTERVAL_SECONDS = 86400 * 365
"""The longest interval: a year."""

MAX_INTERVAL_CHARACTERS = 32
"""The longest text of an interval: each unit once, with some digits."""

_SIZE_UNITS = {"K": 1024, "M": 1024**2, "G": 1024**3}
"""The factors of the letters that may follow a number of bytes."""

_TIME_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
"""Seconds of the letters that may follow a number in ssh_config(5), *TIME FORMATS* of sshd_config(5)."""

_LOG_LEVELS = {"QUIET": -2, "FATAL": -1, "ERROR": -1, "INFO": 0, "VERBOSE": 0, "DEBUG": 1, "DEBUG1": 1, "DEBUG2": 2}
_LOG_LEVELS |= {"DEBUG3": 3}
"""The levels of ssh: -2 for nothing, -1 for failures only, 0 for remarks too, above that the number of ``-v``."""

_FLAGS = {"yes": True, "true": True, "no": False, "false": False}
_FAMILIES = {"any": 0, "inet": 4, "inet6": 6}


class TerminalWish(enum.Enum):
    """Whether the user wants the server to allocate a terminal."""

    UNSAID = "auto"
    """A terminal for the console, if the client's stdout is one, and none for a command."""

    ASKED = "yes"
    """A terminal if the client's stdin is one: ``-t``."""

    ALWAYS = "force"
    """A terminal, whatever the client's stdin is: ``-tt``."""

    NEVER = "no"
    """No terminal: ``-T``."""


@dataclass(frozen=True, slots=True)
class Share:
    """Some of the hosts of a run.

    :ivar amount: a number of hosts, or percent of all of them.
    :ivar is_percent: which of the two.
    """

    amount: int
    is_percent: bool

    def of(self, total: int) -> int:
        """Return the number of hosts, rounded down.

        :param total: all hosts.
        """
        return total * self.amount // 100 if self.is_percent else self.amount


def _number(text: str, maximum: int) -> int:
    """Read a number from 1 to a maximum; return 0 for any other text."""
    # int() alone would take signs, spaces, underscores and the digits of other scripts.
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(maximum)) else 0
    return number if number <= maximum else 0


def _choice(text: str, choices: dict[str, int], kind: str) -> int:
    for name, value in choices.items():
        if name.lower() == text.lower():
            return value
    raise UsageError(f"not a {kind}: {text!r}: give one of {', '.join(choices)}")


def parse_port(text: str) -> int:
    """Read a TCP port.

    :raises UsageError: the text is not a port.
    """
    port = _number(text, MAX_PORT)
    if not port:
        raise UsageError(f"not a port: {text!r}: give a number from 1 to {MAX_PORT}")
    return port


def parse_seconds(text: str) -> float:
    """Read a time of more than 0 seconds.

    :raises UsageError: the text is not such a time.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (0 < seconds < math.inf):
        raise UsageError(f"not a time: {text!r}: give seconds, more than 0, such as 2.5")
    return seconds


def parse_interval(text: str) -> float | None:
    """Read a time as ssh writes it: seconds, or ``1h30m``.

    :returns: seconds; ``None`` for 0 and for ``none``, which both mean the default.
    :raises UsageError: the text is not a time, or the time is longer than :data:`MAX_INTERVAL_SECONDS`.
    """
    if text.lower() == "none":
        return None
    seconds = 0
    if text and len(text) <= MAX_INTERVAL_CHARACTERS and re.fullmatch(r"(?:[0-9]+[smhdwSMHDW])*[0-9]*", text):
        for number, unit in re.findall(r"([0-9]+)([a-zA-Z]?)", text):
            seconds += int(number) * _TIME_UNITS[unit.lower() or "s"]
        if seconds <= MAX_INTERVAL_SECONDS:
            return float(seconds) or None
    raise UsageError(f"not a time: {text!r}: give seconds, or a time such as 1m30s")


def parse_count(text: str) -> int:
    """Read a number of signs of life that may be missed; 0 stands for any number.

    :raises UsageError: the text is not a number from 0 to :data:`MAX_COUNT`.
    """
    count = MAX_COUNT if text == "0" else _number(text, MAX_COUNT)
    if not count:
        raise UsageError(f"not a count: {text!r}: give a number from 0 to {MAX_COUNT}")
    return count


def parse_host_count(text: str) -> int:
    """Read a number of hosts.

    :raises UsageError: the text is not a number from 1 to :data:`MAX_HOST_COUNT`.
    """
    count = _number(text, MAX_HOST_COUNT)
    if not count:
        raise UsageError(f"not a number of hosts: {text!r}: give a number from 1 to {MAX_HOST_COUNT}")
    return count


def parse_share(text: str) -> Share:
    """Read a number of hosts, or percent of them.

    :raises UsageError: it is neither.
    """
    is_percent = text.endswith("%")
    digits = text.removesuffix("%")
    amount = 0 if digits == "0" else _number(digits, 100 if is_percent else MAX_HOST_COUNT) or -1
    if amount < 0:
        raise UsageError(f"not a number of hosts: {text!r}: give a number such as 5, or a part such as 25%")
    return Share(amount, is_percent)


def parse_size(text: str) -> int:
    """Read a number of bytes, which ``K``, ``M`` or ``G`` may follow.

    :raises UsageError: the text is not such a number.
    """
    unit = _SIZE_UNITS.get(text[-1:].upper(), 1)
    size = unit * _number(text if unit == 1 else text[:-1], MAX_OFFSET)
    if not 0 < size <= MAX_OFFSET:
        raise UsageError(f"not a size: {text!r}: give bytes, more than 0, such as 4096, 64K, 10M or 2G")
    return size


def parse_descriptor(text: str) -> int:
    """Read the number of a descriptor.

    :raises UsageError: the text is not such a number.
    """
    if text == "0":
        return 0
    number = _number(text, MAX_DESCRIPTOR)
    if not number:
        raise UsageError(f"not a descriptor: {text!r}: give the number of an open one, such as 3")
    return number


def parse_encoding(text: str) -> str:
    """Read the name of a code page; return Python's name for it.

    :raises UsageError: Python knows none of that name.
    """
    try:
        return text_codec(text)
    except LookupError:
        raise UsageError(f"no such code page: {text!r}: give one that Python knows, such as utf-8 or gbk") from None


def parse_disconnection_policy(text: str) -> Disconnection:
    """Read a policy for jobs without a connection.

    :raises UsageError: the text is not a policy.
    """
    try:
        return parse_disconnection(text)
    except ValueError:
        raise UsageError(f"not a policy: {text!r}: give kill, keep, or grace: and seconds, such as grace:600") from None


def parse_host_key_check(text: str) -> bool:
    """Read the value of ``StrictHostKeyChecking``.

    :returns: whether the user is never asked about the key of a server.  No value makes the client trust a key that it
        would not trust without it.
    :raises UsageError: the value is none of ssh's.
    """
    if text.lower() not in _HOST_KEY_CHECKS:
        raise UsageError(f"not a way to check keys: {text!r}: give one of {', '.join(_HOST_KEY_CHECKS)}")
    return _HOST_KEY_CHECKS[text.lower()]


_HOST_KEY_CHECKS = {
    "yes": True,
    "true": True,
    "ask": False,
    "accept-new": False,
    "no": False,
    "off": False,
    "false": False,
}


def parse_flag(text: str) -> bool:
    """Read yes or no.

    :raises UsageError: it is neither.
    """
    if text.lower() not in _FLAGS:
        raise UsageError(f"neither yes nor no: {text!r}")
    return _FLAGS[text.lower()]


def parse_family(text: str) -> int:
    """Read an address family; return 4, 6, or 0 for any.

    :raises UsageError: the text is not a family.
    """
    return _choice(text, _FAMILIES, "family of addresses")


def parse_log_level(text: str) -> int:
    """Read a level of messages; return one of those of :data:`_LOG_LEVELS`.

    :raises UsageError: the text is not a level.
    """
    return _choice(text, _LOG_LEVELS, "log level")


def parse_terminal_wish(text: str) -> TerminalWish:
    """Read the value of ``RequestTTY``.

    :raises UsageError: the text is not such a value.
    """
    for wish in TerminalWish:
        if wish.value == text.lower():
            return wish
    if text.lower() in _FLAGS:
        return TerminalWish.ASKED if _FLAGS[text.lower()] else TerminalWish.NEVER
    raise UsageError(f"not a wish for a terminal: {text!r}: give one of no, yes, force, auto")


def parse_session_type(text: str) -> str:
    """Read the value of ``SessionType``: ``none``, ``subsystem`` or ``default``.

    :raises UsageError: the text is not one of these.
    """
    if text.lower() not in {"none", "subsystem", "default"}:
        raise UsageError(f"not a type of session: {text!r}: give one of none, subsystem, default")
    return text.lower()


def parse_escape(text: str) -> str | None:
    """Read an escape character: one character, ``^`` and a letter, or ``none``.

    :returns: the character; ``None`` for none.
    :raises UsageError: the text is not one of these.
    """
    if text.lower() == "none":
        return None
    if len(text) == 2 and text[0] == "^" and "@" <= text[1].upper() <= "_":
        return chr(ord(text[1].upper()) & 0x1F)
    if len(text) == 1 and text.isascii():
        return text
    raise UsageError(f"not an escape character: {text!r}: give one character, ^ and a letter, or none")
