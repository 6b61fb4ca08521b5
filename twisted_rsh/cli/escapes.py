"""``~.`` and the other escapes: keys that are for the client while a command gets all others.

The user may choose another character than ``~``, or none.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted_rsh.client.status import printable
from twisted_rsh.core.errors import Error

__all__ = ["EscapeKeys", "Left", "escape_help"]

_LINE_ENDS = b"\r\n"
_SUSPEND = 0x1A


def escape_help(escape: str | None) -> tuple[str, ...]:
    """Describe the escapes in some lines.

    :param escape: the user's escape character; ``None`` for none.
    """
    if escape is None:
        return ("There is no escape character.",)
    name = printable(escape)
    rows = (
        (f"{name}.", "leave: what runs is ended"),
        (f"{name}?", "show this"),
        (f"{name}^Z", f"suspend trsh itself (Ctrl-Z after {name})"),
        (name * 2, f"type one {name}"),
    )
    return ("Escapes, at the beginning of a line:", *(f"  {keys:<8}{text}" for keys, text in rows))


class Left(Error):
    """The user left with ``~.``.

    :param escape: the user's escape character.
    :param what: what the user has left.
    """

    def __init__(self, escape: str, what: str) -> None:
        super().__init__(f"left by {printable(escape)}.; {what} being ended")


class EscapeKeys:
    """Takes the escapes out of the keys that a person types for a command.

    :param leave: called for ``~.``.
    :param suspend: called for ``~^Z``.
    :param explain: called for ``~?``.
    :param escape: the ASCII character in place of ``~``; ``None`` for none, and then all keys are the command's.
    """

    def __init__(
        self,
        leave: Callable[[], object],
        suspend: Callable[[], object],
        explain: Callable[[], object],
        escape: str | None = "~",
    ) -> None:
        self._actions = {ord("."): leave, _SUSPEND: suspend, ord("?"): explain}
        self._escape = None if escape is None else ord(escape)
        self._is_line_start = True
        self._is_escaped = False

    def begin(self) -> None:
        """Take note that another command gets the keys, which begin a line."""
        self._is_line_start = True
        self._is_escaped = False

    def feed(self, data: bytes) -> bytes:
        """Look at the next keys, and act on the escapes.

        :param data: the keys; an escape may be cut between two calls.
        :returns: those that are for the command.  A character that may begin an escape is held until the next key.
        """
        if self._escape is None:
            return data
        passed = bytearray()
        for byte in data:
            if self._is_escaped:
                self._is_escaped = False
                action = self._actions.get(byte)
                if action is not None:
                    self._is_line_start = True
                    action()
                    continue
                passed.append(self._escape)
                self._is_line_start = False
                if byte == self._escape:
                    continue
            elif self._is_line_start and byte == self._escape:
                self._is_escaped = True
                continue
            passed.append(byte)
            self._is_line_start = byte in _LINE_ENDS
        return bytes(passed)
