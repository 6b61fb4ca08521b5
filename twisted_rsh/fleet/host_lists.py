"""Lists of hosts: names, ranges such as ``web[01-12]``, groups such as ``@db``, and exclusions such as ``!web03``.

A list is a text of parts with commas between them.  A part is a host, as a user types it for one command
(``user@host:port``), in which brackets stand for numbers; or ``@`` and the name of a group.  ``!`` before a part takes
its hosts out of the list, wherever it stands.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from twisted_rsh import Error

__all__ = [
    "MAX_GROUP_DEPTH",
    "MAX_HOSTS",
    "MAX_NUMBER_DIGITS",
    "BadHostList",
    "ListPart",
    "fold_hosts",
    "parse_groups",
    "read_host_file",
    "resolve_hosts",
    "split_parts",
]

MAX_HOSTS = 10_000
"""Hosts of one list at most: a mistyped range must not fill the memory, and each host takes some kilobytes of it."""

MAX_GROUP_DEPTH = 16
"""Groups that may contain each other in a row, as many as files of the configuration that may include each other."""

MAX_NUMBER_DIGITS = 9
"""Digits of a number in a range: more than any name of a host needs, and little work to compare."""

_RANGE = re.compile(r"([0-9]+)(?:-([0-9]+))?")
_BRACKETS = re.compile(r"(\[[^\[\]]*\])")
_GROUP_LINE = re.compile(r"([A-Za-z0-9_.-]+)\s*:(.*)")
_DIGITS = re.compile(r"([0-9]+)")


class BadHostList(Error, ValueError):
    """A list of hosts is wrong; the text is one line that names the part."""


@dataclass(frozen=True, slots=True)
class ListPart:
    """One part of a list.

    :ivar text: the part: a host with ranges, or a group after ``@``; either may have a ``!`` before it.
    :ivar where: the file and the line that it is from; empty for the command line.
    """

    text: str
    where: str = ""

    def error(self, text: str) -> BadHostList:
        """Return an error that names the place of this part."""
        return BadHostList(f"{self.where}: {text}" if self.where else text)


def split_parts(text: str, where: str = "") -> list[ListPart]:
    """Split a list at the commas that are not within brackets.

    :param text: the list; a comma at its end is of no account.
    :param where: the file and the line that it is from.
    :raises BadHostList: a part is empty, or a bracket is not closed.
    """
    parts = [""]
    is_within = False
    for character in text:
        if character == "," and not is_within:
            parts.append("")
            continue
        is_within = character == "[" or (is_within and character != "]")
        parts[-1] += character
    words = [part.strip() for part in parts]
    if len(words) > 1 and not words[-1]:
        words.pop()
    whole = ListPart(text, where)
    if is_within:
        raise whole.error(f"a bracket is not closed: {text!r}")
    if not all(words):
        raise whole.error(f"a host without a name: {text!r}")
    return [ListPart(word, where) for word in words]


def read_host_file(lines: Iterable[str], path: str) -> list[ListPart]:
    """Read a file of hosts: a list in each line; ``#`` begins a comment.

    :param lines: the lines.
    :param path: the file's path, for errors.
    :raises BadHostList: a line is wrong.
    """
    parts: list[ListPart] = []
    for number, line in enumerate(lines, 1):
        text = _uncommented(line)
        if text:
            parts += split_parts(text, f"{_shown(path)} line {number}")
    return parts


def parse_groups(lines: Iterable[str], path: str) -> dict[str, list[ListPart]]:
    """Read a file of groups: lines ``NAME: LIST``; ``#`` begins a comment.

    :param lines: the lines.  Several lines of one name add up.
    :param path: the file's path, for errors.
    :returns: the parts of each group.
    :raises BadHostList: a line is wrong.
    """
    groups: dict[str, list[ListPart]] = {}
    for number, line in enumerate(lines, 1):
        text = _uncommented(line)
        if not text:
            continue
        where = f"{_shown(path)} line {number}"
        match = _GROUP_LINE.fullmatch(text)
        if match is None:
            raise BadHostList(f"{where}: not a group: {text!r}: write NAME: HOST, HOST")
        groups.setdefault(match[1], []).extend(split_parts(match[2].strip(), where))
    return groups


def _uncommented(line: str) -> str:
    # A list that an office program has written begins with a byte-order mark, and may stand after another in one file.
    line = line.removeprefix("\ufeff")
    return re.sub(r"(^|\s)#.*", "", line, flags=re.DOTALL).strip()


def _shown(path: str) -> str:
    return path if path.isprintable() else repr(path)


def resolve_hosts(parts: Sequence[ListPart], groups: Mapping[str, Sequence[ListPart]]) -> tuple[str, ...]:
    """Return the hosts of a list, each once, in the order of the list.

    :param parts: the parts of the list.
    :param groups: the parts of each group.
    :raises BadHostList: a part is wrong, a group is not known or contains itself, an excluded host is not in the list,
        no host is left, or there are more than :data:`MAX_HOSTS`.
    """
    hosts = _Groups(groups).resolve(parts, ())
    if not hosts:
        raise BadHostList("no host is left in the list")
    return tuple(hosts.values())


class _Groups:
    """Resolves lists, and each group once.  The hosts of a list are its values, by names that compare."""

    def __init__(self, groups: Mapping[str, Sequence[ListPart]]) -> None:
        self._groups = groups
        self._resolved: dict[str, dict[str, str]] = {}

    def resolve(self, parts: Sequence[ListPart], outer: tuple[str, ...]) -> dict[str, str]:
        hosts: dict[str, str] = {}
        for part in parts:
            if not part.text.startswith("!"):
                hosts |= {key: host for key, host in self._hosts_of(part, outer).items() if key not in hosts}
                if len(hosts) > MAX_HOSTS:
                    raise part.error(f"more than {MAX_HOSTS} hosts: {part.text!r}")
        for part in parts:
            if part.text.startswith("!"):
                self._exclude(part, hosts, outer)
        return hosts

    def _exclude(self, part: ListPart, hosts: dict[str, str], outer: tuple[str, ...]) -> None:
        named = ListPart(part.text[1:].strip(), part.where)
        found = self._hosts_of(named, outer)
        excluded = [key for key in hosts if key in found or _host_of(key) in found]
        # A host that was to be spared must not be hit because of a typing error; a group may well be empty of them.
        if not excluded and not named.text.startswith("@"):
            raise part.error(f"{part.text!r} is none of the hosts")
        for key in excluded:
            del hosts[key]

    def _hosts_of(self, part: ListPart, outer: tuple[str, ...]) -> dict[str, str]:
        if not part.text.startswith("@"):
            return {_key(host): host for host in _expand(part)}
        name = part.text[1:]
        if name in outer:
            raise part.error(f"the group {name!r} contains itself")
        if len(outer) >= MAX_GROUP_DEPTH:
            raise part.error(f"more than {MAX_GROUP_DEPTH} groups contain each other")
        if name not in self._groups:
            raise part.error(f"no such group: {name!r}")
        if name not in self._resolved:
            self._resolved[name] = self.resolve(self._groups[name], (*outer, name))
        return self._resolved[name]


def _key(host: str) -> str:
    """Return a name that compares: capitals count in users, and not in hosts."""
    user, at, address = host.rpartition("@")
    return user + at + address.lower()


def _host_of(key: str) -> str:
    """Return the host alone, without user and port."""
    address = key.rpartition("@")[2]
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address if address.count(":") > 1 else address.partition(":")[0]


def _expand(part: ListPart) -> list[str]:
    """Return the hosts that the ranges of a part stand for; the brackets of an IPv6 address are no range."""
    choices: list[Sequence[str]] = []
    numbers: list[list[tuple[int, int, int]]] = []
    pieces = _BRACKETS.split(part.text)
    for piece in pieces:
        is_range = piece.startswith("[") and ":" not in piece
        if not is_range and ":" not in piece and ("[" in piece or "]" in piece):
            raise part.error(f"a bracket without another: {part.text!r}")
        numbers.append(_ranges(part, piece) if is_range else [])
    # Counted before anything is made: a range of a thousand million must cost nothing.
    count = math.prod(sum(last - first + 1 for first, last, _ in found) for found in numbers if found)
    if count > MAX_HOSTS:
        raise part.error(f"more than {MAX_HOSTS} hosts: {part.text!r}")
    for piece, found in zip(pieces, numbers, strict=True):
        choices.append(
            [str(number).zfill(width) for first, last, width in found for number in range(first, last + 1)] or [piece]
        )
    return ["".join(words) for words in product(*choices)]


def _ranges(part: ListPart, piece: str) -> list[tuple[int, int, int]]:
    """Read what stands in brackets: first and last numbers, and digits at least."""
    found = []
    for text in piece[1:-1].split(","):
        match = _RANGE.fullmatch(text.strip())
        first, last = (match[1], match[2] or match[1]) if match else ("", "")
        if not match or max(len(first), len(last)) > MAX_NUMBER_DIGITS:
            raise part.error(f"not a range: {part.text!r}: write numbers, such as web[01-12,15]")
        if int(first) > int(last) or (last.startswith("0") and len(last) != len(first)):
            raise part.error(f"not a range: {part.text!r}: {first}-{last} does not go upwards with as many digits")
        found.append((int(first), int(last), len(first)))
    return found


def fold_hosts(hosts: Iterable[str]) -> str:
    """Write hosts as a short list, with numbers as ranges; reading it gives the same hosts.

    :param hosts: the hosts.
    """
    entries: list[tuple[str | frozenset[str], ...]] = []
    plain: list[str] = []
    for host in dict.fromkeys(hosts):
        if "[" in host or host.count(":") > 1:  # an address of IPv6, whose brackets are no range
            plain.append(host)
        else:
            entries.append(tuple(frozenset([word]) if word[:1].isdigit() else word for word in _words_of(host)))
    longest = max(map(len, entries), default=0)
    for at in reversed(range(longest)):
        entries = _merge(entries, at)
    return ",".join([*("".join(map(_written, entry)) for entry in entries), *plain])


def _words_of(host: str) -> list[str]:
    # A number with more digits than a range may have is part of the name.
    words = _DIGITS.split(host)
    return [word if len(word) <= MAX_NUMBER_DIGITS or not word.isdigit() else f"\0{word}" for word in words]


def _merge(entries: Iterable[tuple[str | frozenset[str], ...]], at: int) -> list[tuple[str | frozenset[str], ...]]:
    """Join the entries that differ in one number alone."""
    merged: dict[object, tuple[str | frozenset[str], ...]] = {}
    for entry in entries:
        numbers = entry[at] if at < len(entry) else ""
        if not isinstance(numbers, frozenset):
            merged[entry] = entry
            continue
        rest = (*entry[:at], None, *entry[at + 1 :])
        before = merged.get(rest)
        known = frozenset[str]() if before is None else before[at]
        assert isinstance(known, frozenset)
        merged[rest] = (*entry[:at], known | numbers, *entry[at + 1 :])
    return list(merged.values())


def _written(word: str | frozenset[str]) -> str:
    if isinstance(word, str):
        return word.removeprefix("\0")
    numbers = sorted(word, key=lambda text: (len(text), text))
    if len(numbers) == 1:
        return numbers[0]
    runs: list[list[str]] = []
    for number in sorted(numbers, key=lambda text: (int(text), len(text))):
        if runs and number == str(int(runs[-1][-1]) + 1).zfill(len(runs[-1][0])):
            runs[-1].append(number)
        else:
            runs.append([number])
    return "[" + ",".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs) + "]"
