r"""The ways in which a text is given to bash, and the choice among them.

A text that is typed must be complete, or bash would take the next text for its rest.  A row of simple commands on one
line is known to be complete from its characters.  Of any other text, bash itself has to say so, in a process beside the
session (:mod:`twisted_rsh.execution.shells.syntax_check`).
"""

from __future__ import annotations

import enum
import re

__all__ = ["MAX_TYPED_BYTES", "Way", "is_plainly_complete", "is_typable", "reacts_of", "way_of", "whole_check"]

MAX_TYPED_BYTES = 32 * 1024
"""Bytes of a text that is typed; a longer one is read from a file, which is quicker than a second parse."""


class Way(enum.Enum):
    """How a text is given to the shell."""

    GROUP = enum.auto()
    """Typed as a group, with the input as the group's redirection."""

    REPLACED_INPUT = enum.auto()
    """Typed as a group that takes the input first and keeps it: no descriptor of the shell's own is in use meanwhile."""

    FILE = enum.auto()
    """Read from a file by the dot command, inside of which a bash behaves as in a script: it prints no notices of its
    own, runs what stands before a syntax error, and takes the end of the file for the end of an unfinished text."""


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

_BACKGROUND = re.compile(rb"(?<![&<>|])&(?![&>])")
"""A background process, of which an interactive bash prints the number."""

_LEAVING = re.compile(rb"(?:^|[;&|{\n]|\bthen|\bdo|\belse)\s*(?:exit|logout)\b")
"""A command that leaves the shell, unless it stands in a subshell; an interactive bash prints its name."""

_CHANGES_PARSING = re.compile(rb"\b(?:alias|unalias|shopt)\b[^\n]*\n|\bposix\b[^\n]*\n")
"""What changes how the lines behind it are parsed."""

_REACTS = re.compile(rb"\b(?:DEBUG|ERR|RETURN|BASH_SOURCE|FUNCNAME|caller|return)\b")
"""What makes a text, or one of the next, notice that it runs in a file."""


def is_plainly_complete(text: bytes) -> bool:
    """Return whether a text is a row of simple commands on one line."""
    return _PLAIN.fullmatch(text) is not None


def whole_check(text: bytes) -> bytes:
    """Return what a bash with ``-n`` accepts if, and only if, the text is complete and a group may contain it."""
    return b"%b\n{ %b\n}\n" % (text, text)


def is_typable(text: bytes) -> bool:
    """Return whether each byte of a text stands for itself while bash edits its lines."""
    return re.search(rb"[^\n -~]", text) is None


def way_of(text: bytes, *, is_on_terminal: bool, flags: bytes, reacts: bool) -> Way:
    """Choose the way for a text, provided that it is complete.

    :param text: the text.
    :param is_on_terminal: whether the shell has a terminal, where bash's notices are wanted.
    :param flags: the shell's options, as in ``$-``.
    :param reacts: whether the session has had a text that :func:`reacts_of` tells of.
    """
    if len(text) > MAX_TYPED_BYTES or _CHANGES_PARSING.search(text):
        return Way.FILE
    if _OWN_DESCRIPTORS.search(text):
        return Way.REPLACED_INPUT
    if not is_on_terminal and not reacts and not set(flags) & set(b"exvTE") and _is_noticed(text):
        return Way.FILE
    return Way.GROUP


def _is_noticed(text: bytes) -> bool:
    """Return whether an interactive bash would print a notice of its own."""
    if _BACKGROUND.search(text):
        return True
    return any(text.count(b"(", 0, found.start()) <= text.count(b")", 0, found.start()) for found in _LEAVING.finditer(text))


def reacts_of(text: bytes) -> bool:
    """Return whether a text may make the session react to commands of ours: by a trap, by what it reads back."""
    return _REACTS.search(text) is not None
