r"""The ways in which a text is given to bash, and the choice among them.

A text that is typed must be complete, or bash would take the next text for its rest.  A row of simple commands on one
line is known to be complete from its characters.  Of any other text, bash itself has to say so, in a process beside the
session (:mod:`twisted_rsh.execution.shells.syntax_check`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["MAX_TYPED_BYTES", "Way", "is_plainly_complete", "is_nothing", "is_typable", "is_verbose", "noticed_names", "watches", "way_of", "whole_check"]

MAX_TYPED_BYTES = 32 * 1024
"""Bytes of a text that is typed; a longer one is read from a file, which is quicker than a second parse."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a text is given to the shell.

    :ivar in_file: whether it is read from a file by the dot command.  In there a bash behaves as in a script: it takes
        one line after another, prints no notices of its own, and takes the end of the file for the end of an
        unfinished text.  Otherwise it is typed as a group, and must be complete.
    :ivar takes_input: whether the group takes the input for good, and bash takes its own back at the next prompt, so
        that no descriptor of the shell's own is in use meanwhile.  Otherwise the input is a redirection of the group.
    """

    in_file: bool = False
    takes_input: bool = False


_WORD = (
    rb"""(?:[\w./=,+@%:~^*?\[\]-]|[^\x00-\x7f]|'[^']*'|"[^"`$\\!]*"|(?<=[\w./=,+@%:~-])\#|"?\$(?:[\w?@#*!$-]\w*|\{\w+\})"?)+"""
)
_COMMAND = (
    rb"(?!(?:if|then|else|elif|fi|for|select|while|until|do|done|case|esac|function|time|coproc|alias|unalias|shopt|in|\[\[)"
    rb"(?![\w./=-]))%b(?:[ \t]+(?:%b|!(?=[ \t]))|[ \t]*[<>]>?(?![<>&|(])[ \t]*%b|[ \t]*[12]?>&[12]\b)*" % (_WORD, _WORD, _WORD)
)
_PLAIN = re.compile(rb"[ \t]*%b(?:[ \t]*(?:;|&&|\|\|?)[ \t]*%b)*[ \t]*;?[ \t]*" % (_COMMAND, _COMMAND))

_OWN_DESCRIPTORS = re.compile(rb"[<>]&\s*-|[<>]&\$\w*-|\}\s*[<>]|(?<![\w$])\d\d+\s*[<>]")
"""What may touch a descriptor of 10 or more, where bash keeps its input during a group."""

_BACKGROUND = re.compile(rb"(?<![&<>|])&(?![&>])|\bcoproc\b")
"""A background process, of which an interactive bash prints the number."""

_LEAVING = re.compile(rb"(?:^|[;&|{\n]|\bthen|\bdo|\belse)\s*(?:exit|logout)\b")
"""A command that leaves the shell, unless it stands in a subshell; an interactive bash prints its name."""

_TRACES = re.compile(rb"\bset\s+[-+]\w*[xT]|\bxtrace\b|\bfunctrace\b|\bextdebug\b")
"""What makes bash show a file of commands as one more level."""

_WATCHES = re.compile(rb"\bDEBUG\b|\bRETURN\b|\bBASH_SOURCE\b|\bFUNCNAME\b|\bcaller\b")
"""What makes the session see a command of the server's: a trap, or what tells where a command stands."""

_VERBOSE = re.compile(rb"\bset\s+[-+]\w*v|\bverbose\b")
"""What makes bash print the lines of a file as it reads them."""

_NAMES = re.compile(rb"(?:^|[\s;&|])(?:function[ \t]+([\w-]+)|([\w-]+)[ \t]*\(\s*\))")
"""The name of a function that is defined."""

_NOTHING = re.compile(rb"(?:[ \t]*(?:#[^\n]*)?(?:\n|\Z))*")
"""Blanks and remarks."""

_RETURNS = re.compile(rb"\breturn\b")
_FUNCTION = re.compile(rb"\(\s*\)|\bfunction\b")
_EVALUATES = re.compile(rb"\beval\b")
"""In a text that is evaluated, an option of line editing would make an interactive bash read its input again."""


def is_plainly_complete(text: bytes) -> bool:
    """Return whether a text is a row of simple commands on one line."""
    return _PLAIN.fullmatch(text) is not None


def whole_check(text: bytes) -> bytes:
    """Return what a bash with ``-n`` accepts if, and only if, the text is complete and a group may contain it."""
    return b"%b\n{ %b\n}\n" % (text, text)


def is_typable(text: bytes) -> bool:
    """Return whether each byte of a text stands for itself while bash edits its lines."""
    return re.search(rb"[^\n -~]", text) is None


def is_nothing(text: bytes) -> bool:
    """Return whether a text has only blanks and remarks."""
    return _NOTHING.fullmatch(text) is not None


def is_verbose(text: bytes) -> bool:
    """Return whether a text may make bash print what it reads."""
    return _VERBOSE.search(text) is not None


def way_of(text: bytes, *, flags: bytes, is_watched: bool, noticed: frozenset[bytes] = frozenset()) -> Way:
    """Choose the way for a text.

    :param text: the text.
    :param flags: the shell's options, as in ``$-``.
    :param is_watched: whether the session may see commands of the server's: :func:`watches` was true of a text.
    :param noticed: the names of functions that make bash print a notice, from :func:`noticed_names`.
    """
    takes_input = _OWN_DESCRIPTORS.search(text) is not None
    if len(text) > MAX_TYPED_BYTES:
        return Way(in_file=True, takes_input=takes_input)
    is_seen = is_watched or set(flags) & set(b"xT") or _TRACES.search(text)
    if is_seen or (_RETURNS.search(text) and not _FUNCTION.search(text)):
        return Way(takes_input=takes_input)
    in_file = b"\n" in text or _EVALUATES.search(text) is not None or _is_noticed(text)
    if not in_file and noticed:
        in_file = not noticed.isdisjoint(re.findall(rb"[\w-]+", text))
    return Way(in_file=in_file, takes_input=takes_input)


def noticed_names(text: bytes) -> frozenset[bytes]:
    """Return the names of the functions that a text defines, if it has what an interactive bash prints a notice of."""
    if not _is_noticed(text):
        return frozenset()
    return frozenset(one or other for one, other in _NAMES.findall(text))


def watches(text: bytes) -> bool:
    """Return whether a text may make the session see a command of the server's."""
    return _WATCHES.search(text) is not None


def _is_noticed(text: bytes) -> bool:
    """Return whether an interactive bash would print a notice of its own."""
    if _BACKGROUND.search(text):
        return True
    return any(text.count(b"(", 0, end) <= text.count(b")", 0, end) for end in map(re.Match.start, _LEAVING.finditer(text)))
