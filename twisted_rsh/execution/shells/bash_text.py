r"""The ways in which a text is given to bash, and the choice among them.

A text that is typed must be complete, or bash would take the next text for its rest.  A row of simple commands on one
line is known to be complete from its characters.  Of any other text, bash itself has to say so, in a process beside the
session (:mod:`twisted_rsh.execution.shells.syntax_check`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

__all__ = [
    "MAX_PLAIN_BYTES",
    "MAX_TYPED_BYTES",
    "Traits",
    "Way",
    "is_nothing",
    "is_plainly_complete",
    "is_typable",
    "is_verbose",
    "substitutes",
    "traits_of",
    "way_of",
    "whole_check",
]

MAX_PLAIN_BYTES = 1024
"""Bytes of a text whose tokens are looked at: 0.2 ms."""

MAX_TYPED_BYTES = 4 * 1024
"""Bytes of a text that is typed.  A longer one is read from a file: to look at it closely takes too long, 1 ms for
4 KiB."""

_REMEMBERED = 256
"""Texts whose ways are remembered."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a text is given to the shell.

    :ivar in_file: whether it is read from a file by the dot command.  In there a bash behaves as in a script: it takes
        one line after another, prints no notices of its own, and takes the end of the file for the end of an
        unfinished text.  Otherwise it is typed as a group, and must be complete.
    :ivar takes_input: whether the group takes the input for good, and bash takes its own back at the next prompt, so
        that no descriptor of the shell's own is in use meanwhile.  Otherwise the input is a redirection of the group.
    :ivar is_group: whether the text is a group in the file, too: one command, of which an error drops the rest.
    :ivar edits: whether the file may switch line editing.  In there bash only notes that, and has to be told again
        after the file.
    """

    in_file: bool = False
    takes_input: bool = False
    is_group: bool = False
    edits: bool = False


_TOKEN = re.compile(
    rb"""
    (?P<blank>[ \t]+)
    | (?P<join>&& | \|\|?)
    | (?P<end>;)
    | (?P<copy>[12]?>&[12](?![\w&-]))
    | (?P<redirection>[<>]>?(?![<>&|(]))
    | (?P<word>
        (?![#])
        (?: [\w./=,+@%:~^*?\[\]\#-] | [^\x00-\x7f] | '[^']*' | "[^"`$\\!]*" | "?\$(?: [\w?@\#*!$-] | \{\w+\} )"? )+
      )
    """,
    re.VERBOSE,
)
"""The tokens of a row of simple commands.  Whatever else there is, the text is not such a row."""

_KEYWORDS = frozenset(
    b"if then else elif fi for select while until do done case esac function time coproc in [[ alias unalias".split()
)
"""Words that begin something else than a simple command, or change how the next line is parsed."""

_OWN_DESCRIPTORS = re.compile(rb"[<>]&\s*-|[<>]&\$\w*-|(?:\}\s*|\$\w+)[<>]|(?<![\w$])\d\d+\s*[<>]")
"""What may touch a descriptor of 10 or more, where bash keeps its input during a group."""

_BACKGROUND = re.compile(rb"(?<![&<>|])&(?![&>])|\bcoproc\b")
"""A background process, of which an interactive bash prints the number."""

_LEAVING = re.compile(rb"(?:^|[;&|{\n]|\bthen|\bdo|\belse)[ \t]*(?:exit|logout)\b")
"""A command that leaves the shell, unless it stands in a subshell; an interactive bash prints its name."""

_MAX_LEAVINGS = 16
"""Leaving commands that are looked at; with more of them, one is taken to be in no subshell."""

_TRACES = re.compile(rb"\bset\s+[-+]\w*[xT]|\bxtrace\b|\bfunctrace\b|\bextdebug\b")
"""What makes bash show a file of commands as one more level."""

_WATCHERS = (b"DEBUG", b"RETURN", b"BASH_SOURCE", b"FUNCNAME", b"caller")
"""What makes the session see a command of the server's: a trap, or what tells where a command stands."""

_STOPS = re.compile(rb"\$\{[\w@*#!]+(?:\[[^\]\n]*\])?:?\?|\bnounset\b|\bset\s+-\w*u")
"""What ends a script if a variable has no value.  In a file of commands an interactive bash would go on after it."""

_VERBOSE = re.compile(rb"\bset\s+[-+]\w*v|\bverbose\b")
"""What makes bash print the lines of a file as it reads them."""

_READ_OTHERWISE = re.compile(rb"\b(?:alias|unalias|shopt|set|source|enable|history|bind)\b|(?:^|[;&|({\s])\.\s")
"""What may change how bash reads the lines after it: they must not be read before it has run."""

_WAITS = re.compile(rb"\bwait\b")
"""What waits for the process of a ``<( )``, which may end only when bash has closed its end."""

_NAMES = re.compile(rb"(?:^|[\s;&|])(?:function[ \t]+([\w-]+)|([\w-]+)[ \t]*\(\s*\))")
"""The name of a function that is defined."""

_SHADOWS = re.compile(rb"\b(?:builtin|command)[ \t]*\(|\b(?:function|enable)\b[^\n]*[ \t](?:builtin|command)\b")
"""What may take the built-in commands ``builtin`` and ``command`` away."""

_NOTHING = re.compile(rb"(?:[ \t]*(?:#[^\n]*)?(?:\n|\Z))*")
"""Blanks and remarks."""

_RETURNS = re.compile(rb"\breturn\b")
_FUNCTION = re.compile(rb"\(\s*\)|\bfunction\b")
_EDITS = re.compile(rb"[-+]o\s+(?:vi|emacs)\b")
"""What switches line editing, which must not happen in a file: bash would not come to a prompt after it."""

_EVALUATES = re.compile(rb"\beval\b")
"""In a text that is evaluated, an option of line editing would make an interactive bash read its input again."""


def is_plainly_complete(text: bytes) -> bool:
    """Return whether a text is a row of simple commands on one line."""
    if len(text) > MAX_PLAIN_BYTES:
        return False
    at = 0
    before = "join"  # what the next token follows: a join wants a command, a redirection wants a word
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            return False
        at = found.end()
        kind = found.lastgroup
        if kind == "blank":
            continue
        is_operator = kind in ("join", "end")
        if kind == "word":
            if before in ("join", "end") and found.group() in _KEYWORDS:
                return False
        elif before == "redirection" or (is_operator and before in ("join", "end")):
            return False
        before = str(kind)
    return before not in ("join", "redirection")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What the server wants to know of a text.

    :ivar text: the text, without a backslash at its end: that would join the next line, and there is none.
    :ivar is_nothing: whether it has only blanks and remarks.
    :ivar is_plain: whether it is a row of simple commands on one line.
    :ivar is_watcher: whether the session may see a command of the server's from now on: by a trap, or by what tells
        where a command stands.
    :ivar has_trap: whether it may set a trap.
    :ivar may_stop: whether it, or a later text that uses its functions and options, may end a script for want of a
        value.
    :ivar noticed: the names of the functions that it defines, if it has what an interactive bash prints a notice of.
    :ivar takers: the same if it may touch a descriptor where bash keeps its input during a group.
    :ivar shadows: whether it may define a function called ``builtin`` or ``command``, or disable these.
    """

    text: bytes
    is_nothing: bool
    is_plain: bool
    is_watcher: bool
    has_trap: bool
    may_stop: bool
    noticed: frozenset[bytes]
    takers: frozenset[bytes]
    shadows: bool


def _looked_at(text: bytes) -> Traits:
    if (len(text) - len(text.rstrip(b"\\"))) % 2:
        text = text[:-1]
    return Traits(
        text=text,
        is_nothing=is_nothing(text),
        is_plain=is_plainly_complete(text),
        is_watcher=any(word in text for word in _WATCHERS),
        has_trap=b"trap" in text,
        may_stop=len(text) <= MAX_TYPED_BYTES and _STOPS.search(text) is not None,
        noticed=_defined_names(text, _is_noticed),
        takers=_defined_names(text, lambda text: _OWN_DESCRIPTORS.search(text) is not None),
        shadows=_SHADOWS.search(text) is not None,
    )


_remembered = functools.lru_cache(_REMEMBERED)(_looked_at)


def traits_of(text: bytes) -> Traits:
    """Look at a text; the traits of short ones are remembered."""
    return _remembered(text) if len(text) <= MAX_TYPED_BYTES else _looked_at(text)


def whole_check(text: bytes) -> bytes:
    """Return what a bash with ``-n`` accepts if, and only if, the text is complete and a group may contain it."""
    return b"%b\n{ %b\n}\n" % (text, text)


def is_typable(text: bytes) -> bool:
    """Return whether each byte of a text stands for itself while bash edits its lines."""
    return len(text) <= MAX_TYPED_BYTES and re.search(rb"[^\n -~]", text) is None


def is_nothing(text: bytes) -> bool:
    """Return whether a text has only blanks and remarks."""
    return len(text) <= MAX_TYPED_BYTES and _NOTHING.fullmatch(text) is not None


def substitutes(text: bytes) -> bool:
    """Return whether a text has a substitution, of which an unfinished one damages bash 5.2 for good."""
    return b"$(" in text or b"<(" in text or b">(" in text


def is_verbose(text: bytes) -> bool:
    """Return whether a text may make bash print what it reads."""
    return b"verbose" in text if len(text) > MAX_TYPED_BYTES else _VERBOSE.search(text) is not None


def way_of(
    text: bytes,
    *,
    flags: bytes,
    is_watched: bool,
    may_stop: bool = False,
    edits: bool = False,
    noticed: frozenset[bytes] = frozenset(),
    takers: frozenset[bytes] = frozenset(),
) -> Way:
    """Choose the way for a text.

    :param text: the text.
    :param flags: the shell's options, as in ``$-``.
    :param is_watched: whether the session may see commands of the server's: a text had :attr:`Traits.is_watcher`.
    :param may_stop: whether a text has had :attr:`Traits.may_stop`: then the text must be one command to bash, of which
        an error drops the rest.  A text that evaluates is none, as what it leaves unfinished would reach beyond it.
    :param edits: whether bash edits its lines.  What is evaluated may then switch that on once more.
    :param noticed: the names of functions that make bash print a notice (:attr:`Traits.noticed`).
    :param takers: the names of functions that may touch a descriptor of bash's own (:attr:`Traits.takers`).
    """
    if len(text) > MAX_TYPED_BYTES:  # patterns would take 30 ms for 1 MB
        return Way(in_file=True, takes_input=b"&-" in text)
    is_one = may_stop and _EVALUATES.search(text) is None
    way = _way_of(text, flags, is_watched, is_one, edits, noticed)
    if takers and not way.takes_input and not takers.isdisjoint(_words(text)):
        way = replace(way, takes_input=True)
    return way


def _words(text: bytes) -> list[bytes]:
    return re.findall(rb"[\w-]+", text)


@functools.lru_cache(_REMEMBERED)
def _way_of(text: bytes, flags: bytes, is_watched: bool, is_one: bool, edits: bool, noticed: frozenset[bytes]) -> Way:
    takes_input = _OWN_DESCRIPTORS.search(text) is not None
    is_seen = is_watched or set(flags) & set(b"xT") or _TRACES.search(text)
    evaluates = _EVALUATES.search(text) is not None
    if _EDITS.search(text) and evaluates and not (is_seen or is_one):
        return Way(in_file=True, takes_input=takes_input, edits=True)
    if is_seen or _EDITS.search(text) or (_RETURNS.search(text) and not _FUNCTION.search(text)):
        return Way(takes_input=takes_input)
    prints = not evaluates and _is_noticed(text)
    if not prints and noticed:
        prints = not noticed.isdisjoint(_words(text))
    if is_one:
        return Way(in_file=prints, takes_input=takes_input, is_group=prints)
    in_file = prints or (not edits if evaluates else b"\n" in text)
    # Between two commands of a file bash keeps the descriptors of process substitutions open, unlike in a group, whose
    # rest an error drops.
    is_group = in_file and not evaluates and b"v" not in flags and _must_close(text)
    return Way(in_file=in_file, takes_input=takes_input, is_group=is_group)


def _must_close(text: bytes) -> bool:
    """Tell whether a process substitution of one command must be closed before the next command runs."""
    if _READ_OTHERWISE.search(text) is not None:
        return False
    return b">(" in text or (b"<(" in text and _WAITS.search(text) is not None)


def _defined_names(text: bytes, is_meant: Callable[[bytes], bool]) -> frozenset[bytes]:
    """Return the names of the functions that a text defines, if the text is meant."""
    if len(text) > MAX_TYPED_BYTES or not is_meant(text):
        return frozenset()
    return frozenset(one or other for one, other in _NAMES.findall(text))


def _is_noticed(text: bytes) -> bool:
    """Return whether an interactive bash would print a notice of its own."""
    if _BACKGROUND.search(text):
        return True
    for number, found in enumerate(_LEAVING.finditer(text)):
        before = text[: found.start()]
        if number == _MAX_LEAVINGS or before.count(b"(") <= before.count(b")"):
            return True
    return False
