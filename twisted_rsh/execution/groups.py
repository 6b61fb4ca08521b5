"""The process groups of a job: its leader's own, and on a terminal the one that is in the foreground there."""

from __future__ import annotations

import os
from collections.abc import Callable

__all__ = ["ProcessGroups"]


class ProcessGroups:
    """Signals all of a job that can be named by group.

    A shell with job control puts each command into a group of its own, and the one in the foreground is what the keys
    of its terminal signal; the shell's own group alone would be only half of the job.

    :param leader: the group, and the session, of the job's first process.
    :param foreground: says which group is in the foreground of the job's terminal, ``None`` for none.
    """

    def __init__(self, leader: int, foreground: Callable[[], int | None]) -> None:
        self._leader = leader
        self._foreground = foreground
        self._known = [leader]

    def signal(self, number: int) -> None:
        """Send a signal now.

        :param number: a signal's number, or 0 to ask only.
        :raises ProcessLookupError: there is nobody left.
        :raises PermissionError: nobody of those who are left may be signalled: they became another user, as with
            ``sudo``.
        """
        problems = [_send(group, number) for group in self._with_foreground([self._leader])]
        if None not in problems:
            raise next((e for e in problems if isinstance(e, PermissionError)), ProcessLookupError())

    def reach(self, number: int) -> bool:
        """Send a signal to whatever is left, a group that has been in the foreground at an earlier call included.

        To be asked again at short intervals or not at all: once a group has gone, its number is anybody's.

        :param number: a signal's number, or 0 to ask only.
        :returns: whether any of it was still there.
        """
        # What may not be signalled is there all the same: a set-user-id program.
        self._known = [
            group
            for group in self._with_foreground(self._known)
            if not isinstance(_send(group, number), ProcessLookupError)
        ]
        return bool(self._known)

    def _with_foreground(self, groups: list[int]) -> list[int]:
        """Put the foreground first: once the leader has died nobody could tell which it was."""
        group = self._foreground() if groups else None
        if group is None or group in groups or not self._is_ours(group):
            return groups
        return [group, *groups]

    def _is_ours(self, group: int) -> bool:
        """Whether a group is not one of another session that got the number of one of ours that has ended."""
        try:
            return os.getsid(group) == self._leader
        except OSError:
            return True  # the first process of a pipeline has ended, and the others are there


def _send(group: int, number: int) -> OSError | None:
    """Send a signal to a group, and return what was wrong."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError) as e:
        return e
    return None
