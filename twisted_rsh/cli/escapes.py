"""``~.`` and the other escapes: keys that are for the client while a command gets all others."""

from __future__ import annotations

from collections.abc import Callable

from twisted_rsh.core.errors import Error

__all__ = ["ESCAPE_HELP", "EscapeKeys", "Left"]

ESCAPE_HELP = (
    "Escapes, at the beginning of a line:",
    "  ~.      leave: the shell and what it runs are ended",
    "  ~?      show this",
    "  ~^Z     suspend trsh itself (Ctrl-Z behind the tilde)",
    "  ~~      type one tilde",
)
"""The lines that ``~?`` shows."""

_LINE_ENDS = b"\r\n"
_SUSPEND = 0x1A


class Left(Error):
    """The user left with ``~.``."""

    def __init__(self) -> None:
        super().__init__("left by ~.; the shell and what it ran are being ended")


class EscapeKeys:
    """Takes the escapes out of the keys that a person types for a command.

    :param leave: called for ``~.``.
    :param suspend: called for ``~^Z``.
    :param explain: called for ``~?``.
    """

    def __init__(
        self, leave: Callable[[], object], suspend: Callable[[], object], explain: Callable[[], object]
    ) -> None:
        self._actions = {ord("."): leave, _SUSPEND: suspend, ord("?"): explain}
        self._is_line_start = True
        self._has_tilde = False

    def begin(self) -> None:
        """Take note that another command gets the keys, which begin a line."""
        self._is_line_start = True
        self._has_tilde = False

    def feed(self, data: bytes) -> bytes:
        """Look at the next keys, and act on the escapes.

        :param data: the keys; an escape may be cut between two calls.
        :returns: those that are for the command.  A tilde that may begin an escape is held until the next key.
        """
        passed = bytearray()
        for byte in data:
            if self._has_tilde:
                self._has_tilde = False
                action = self._actions.get(byte)
                if action is not None:
                    self._is_line_start = True
                    action()
                    continue
                passed += b"~"
                self._is_line_start = False
                if byte == ord("~"):
                    continue
            elif self._is_line_start and byte == ord("~"):
                self._has_tilde = True
                continue
            passed.append(byte)
            self._is_line_start = byte in _LINE_ENDS
        return bytes(passed)
