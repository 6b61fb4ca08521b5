"""The options before a key in ``authorized_keys``: sshd's language, and this server's own words in it.

An option that is not known, that is there twice, or whose value is wrong makes the whole line one that grants nothing:
what it was meant to forbid must not be allowed.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from typing import Any

from twisted_rsh.core.limits import MAX_ENVIRONMENT_VALUE_BYTES, MAX_OFFSET
from twisted_rsh.core.values import dataclass
from twisted_rsh.trust.addresses import parse_addresses
from twisted_rsh.trust.policy import LIMITS, UNRESTRICTED, KeyPolicy

__all__ = ["MAX_COUNT", "MIN_MEMORY_BYTES", "BadOptions", "KeyOptions", "end_of_options", "parse_options"]

MAX_COUNT = 2**22
"""Sessions, jobs or processes that an option may allow: as many as Linux can have processes (``PID_MAX_LIMIT``)."""

MAX_CPU_SECONDS = 10**9
"""Seconds of processor time that an option may allow: thirty years."""

MIN_MEMORY_BYTES = 2**20
"""Bytes of memory that an option must allow: with less no program could begin."""

# A backslash means something before a quote only, as in sshd.
_OPTION = re.compile(r'(?P<name>[A-Za-z0-9-]+)(?:="(?P<value>(?:\\"|[^"\\]|\\(?!"))*)")?(?P<end>,|\Z)')
_END = re.compile(rb'(?:\\"|[^ \t"\\]|\\(?!")|"(?:\\"|[^"\\]|\\(?!"))*")*')
_SHOWN = 60
"""Characters of a wrong text that a line of the log repeats."""

_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?(Z?)", re.ASCII)
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.ASCII | re.DOTALL)
_VARIABLE_PATTERN = re.compile(r"[A-Za-z0-9_*?]+", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,19})([KMG]?)", re.ASCII)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


class BadOptions(ValueError):
    """The options of a line are wrong.  ``str()`` says what, as a phrase."""


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """The options of one line.

    :ivar policy: what the key may do, or what a key may do that it certifies.
    :ivar is_authority: whether the key is that of a certificate authority, which itself logs in nowhere.
    :ivar principals: the names of which a certificate must have one; ``None`` for the account's own.
    """

    policy: KeyPolicy = UNRESTRICTED
    is_authority: bool = False
    principals: tuple[str, ...] | None = None


def end_of_options(line: bytes) -> int:
    """Return where the options at the beginning of a line end: at the first blank outside of quotes.

    :param line: the line, without blanks before it.
    """
    match = _END.match(line)
    assert match is not None  # of any text, if only of nothing
    return match.end()


def parse_options(text: str) -> KeyOptions:
    """Read options, separated by commas.

    :param text: all of them, without blanks outside of quotes; bytes that are not UTF-8 are surrogate escapes.
    :raises BadOptions: one of them is not known, is there twice, or is wrong.
    """
    found: dict[str, Any] = {}
    position = 0
    while True:
        match = _OPTION.match(text, position)
        if match is None:
            raise BadOptions(f"{_shown(text[position:])} is no option")
        name, value = match["name"].lower(), match["value"]
        if value is None:
            _read_flag(name, found)
        else:
            _read_value(name, value.replace('\\"', '"'), found)
        position = match.end()
        if not match["end"]:
            return _combine(found)


def _read_flag(name: str, found: dict[str, Any]) -> None:
    subject, setting = _FLAGS.get(name, ("", False))
    if not subject:
        known = name in _VALUES
        raise BadOptions(f'{name} needs a value, {name}="..."' if known else f"the option {_shown(name)} is not known")
    _put(found, subject, setting, name)
    if name == "restrict" and "pty" in found:
        found["pty"] = False  # as in sshd, only a `pty` after it counts


def _read_value(name: str, value: str, found: dict[str, Any]) -> None:
    reader = _VALUES.get(name)
    if reader is None:
        problem = "takes no value" if name in _FLAGS else "is not known"
        raise BadOptions(f"the option {_shown(name)} {problem}")
    try:
        read = reader(value)
    except (ValueError, OverflowError) as error:
        raise BadOptions(f"{name}= {error}") from None
    if name == "environment":
        variable, content = read
        variables = found.setdefault("environment", {})
        _put(variables, variable, content, f"environment= of {variable}")
    else:
        _put(found, name, read, f"{name}=")


def _put(found: dict[str, Any], subject: str, value: Any, shown: str) -> None:
    if subject in found:
        raise BadOptions(f"{shown} is there twice, or against another option")
    found[subject] = value


def _combine(found: dict[str, Any]) -> KeyOptions:
    """Make the value of the options, which may depend on each other."""
    is_restricted = "restrict" in found
    is_observer = "observer" in found
    if is_observer and "command" in found:
        raise BadOptions("observer and command= are against each other")
    if "principals" in found and "cert-authority" not in found:
        raise BadOptions("principals= is for a cert-authority")
    accepted = found.get("accept-env")
    if accepted is None and (is_restricted or is_observer or "command" in found):
        accepted = ()
    limits = {name: found[option] for name in LIMITS if (option := name.replace("_", "-")) in found}
    policy = KeyPolicy(
        command=found.get("command"),
        is_observer=is_observer,
        has_terminals=found.get("pty", not is_restricted),
        environment=tuple(found.get("environment", {}).items()),
        accepted_environment=accepted,
        sources=found.get("from"),
        expires=found.get("expiry-time"),
        **limits,
    )
    if policy == UNRESTRICTED:  # the same object, which the start of each job tells in one step
        policy = UNRESTRICTED
    return KeyOptions(policy, "cert-authority" in found, found.get("principals"))


def _command(text: str) -> str:
    if not text.strip() or "\0" in text:
        raise ValueError("is empty")
    return text


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if not all(names):
        raise ValueError("has an empty name")
    return names


def _variable(text: str) -> tuple[str, str]:
    match = _VARIABLE.fullmatch(text)
    if match is None:
        raise ValueError(f"is NAME=value, not {_shown(text)}")
    if len(match[2].encode("utf-8", "surrogateescape")) > MAX_ENVIRONMENT_VALUE_BYTES:
        raise ValueError(f"has more than {MAX_ENVIRONMENT_VALUE_BYTES} bytes")
    return match[1], match[2]


def _variable_patterns(text: str) -> tuple[str, ...]:
    patterns = tuple(text.split(","))
    for pattern in patterns:
        if not _VARIABLE_PATTERN.fullmatch(pattern):
            raise ValueError(f"has {_shown(pattern)}, which is no name of a variable; * and ? are allowed in it")
    return patterns


def _time(text: str) -> float:
    """Read a time as sshd does: in the time zone of this machine, or in UTC with a ``Z``."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"is YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, and Z for UTC, not {_shown(text)}")
    year, month, day, hour, minute, second = (int(number or 0) for number in match.groups()[:6])
    zone = dt.timezone.utc if match[7] else None
    try:
        return dt.datetime(year, month, day, hour, minute, second, tzinfo=zone).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"has no such date or time: {text}") from None


def _count(text: str) -> int:
    return _whole_number(text, 1, MAX_COUNT)


def _seconds(text: str) -> int:
    return _whole_number(text, 1, MAX_CPU_SECONDS)


def _whole_number(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and least <= int(text) <= most):
        raise ValueError(f"is a whole number from {least} to {most}, not {_shown(text)}")
    return int(text)


def _output(text: str) -> int:
    return _size(text, 1)


def _memory(text: str) -> int:
    return _size(text, MIN_MEMORY_BYTES)


def _size(text: str, least: int) -> int:
    match = _SIZE.fullmatch(text)
    size = int(match[1]) * _UNITS[match[2]] if match else -1
    if not least <= size <= MAX_OFFSET:
        raise ValueError(f"is a number of bytes of at least {least}, such as 512M, not {_shown(text)}")
    return size


def _shown(text: str) -> str:
    return ascii(text[:_SHOWN])


_FLAGS: dict[str, tuple[str, bool]] = {
    "restrict": ("restrict", True),
    "pty": ("pty", True),
    "no-pty": ("pty", False),
    "observer": ("observer", True),
    "cert-authority": ("cert-authority", True),
    # This server has none of these, whether a line allows or forbids them.
    "port-forwarding": ("port-forwarding", True),
    "no-port-forwarding": ("port-forwarding", False),
    "agent-forwarding": ("agent-forwarding", True),
    "no-agent-forwarding": ("agent-forwarding", False),
    "x11-forwarding": ("x11-forwarding", True),
    "no-x11-forwarding": ("x11-forwarding", False),
    "user-rc": ("user-rc", True),
    "no-user-rc": ("user-rc", False),
}
"""What an option without a value is about, and which way.  Two about the same are against each other."""

_VALUES: dict[str, Callable[[str], Any]] = {
    "command": _command,
    "from": parse_addresses,
    "expiry-time": _time,
    "environment": _variable,
    "accept-env": _variable_patterns,
    "principals": _names,
    "max-sessions": _count,
    "max-jobs": _count,
    "max-processes": _count,
    "max-cpu": _seconds,
    "max-output": _output,
    "max-memory": _memory,
}
"""How the value of each option is read."""
