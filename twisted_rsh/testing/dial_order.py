"""Which connections are overtaken by which, and when that has happened."""

from __future__ import annotations

from collections.abc import Callable

from twisted_rsh.testing.faults import Late

__all__ = ["DialOrder"]


class DialOrder:
    """Knows the connections that wait to be overtaken."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[Late, Callable[[], None]]] = {}

    def hold(self, index: int, late: Late, release: Callable[[], None]) -> None:
        """Let a connection wait.

        :param index: its number.
        :param late: for what.
        :param release: called when that has come to pass.
        """
        self._waiting[index] = (late, release)

    def delivered(self, index: int, total: int) -> None:
        """Note that a connection has delivered so many bytes to the server so far, and let go who waited for that.

        :param index: its number.
        """
        for held, (late, release) in list(self._waiting.items()):
            if index == held + late.overtakers and total >= late.overtaking_bytes:
                del self._waiting[held]
                release()
