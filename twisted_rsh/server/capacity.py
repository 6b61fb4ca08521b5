"""The bounds on what logged-in clients may take of one server: the number of sessions, and the memory of jobs.

A bound is applied when something is opened: a login or a job is refused.  Nothing that was accepted is ever ended
because there is much of it.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed

from twisted_rsh.core.roles import OUTPUTS
from twisted_rsh.core.windows import Reserve
from twisted_rsh.server_events import BoundUse

__all__ = [
    "MAX_KEPT_JOBS",
    "MAX_SESSIONS",
    "MAX_SESSIONS_PER_KEY",
    "MAX_UNREAD_INPUT_BYTES",
    "MAX_UNREAD_OUTPUT_BYTES",
    "MAX_WINDOW_GROWTH_BYTES",
    "Capacity",
]

MAX_SESSIONS_PER_KEY = 32
"""Sessions that one key may have at once: twice OpenSSH's sessions on a connection, and several programs' worth.  A
session that has no link and no job, and only waits to tell how its jobs ended, does not count: clients that were killed
must not keep others out for the ten minutes of its wait."""

MAX_SESSIONS = 4096
"""Sessions that the whole server may have at once, those that only wait included: some 330 MB at the 80 KB that each of
2,000 with a job took (``bench.attacks.one_cut``), without the output that it holds."""

MAX_UNREAD_INPUT_BYTES = 256 * 1024 * 1024
"""Bytes of jobs' input that the whole server may have to hold.  Each job counts with its window, used or not, so that
the bound holds whatever the clients do."""

MAX_UNREAD_OUTPUT_BYTES = 512 * 1024 * 1024
"""Bytes of jobs' output that the whole server may have to hold until the clients have received it.  Each job counts
with the windows of its two outputs, twice its share of :data:`MAX_UNREAD_INPUT_BYTES`; when it has ended, with the
bytes that its client has not received."""

MAX_WINDOW_GROWTH_BYTES = 256 * 1024 * 1024
"""Bytes by which the windows of all sessions may grow together, input and output.  It comes on top of the two bounds
above, so that a stream of a far client keeps no job out: eight sessions may have their whole
:data:`~twisted_rsh.core.limits.SESSION_RESERVE_BYTES`."""

MAX_KEPT_JOBS = 256
"""Jobs that are kept without a client and that the whole server may run at once: a quarter of the jobs that
:data:`MAX_UNREAD_INPUT_BYTES` has room for.  Only their own end makes room for others."""


class Capacity:
    """Counts what one server's jobs may make it hold.

    :param window: bytes of each of its streams that a job may have under way.
    :param max_unread_input: bytes of input that all jobs together may leave unread.
    :param max_unread_output: bytes of output that all clients together may leave unread.
    :param max_kept_jobs: jobs that are kept without a client, at once.
    :param max_window_growth: bytes by which the windows of all sessions may grow.
    :ivar reserve: what they grow out of.
    """

    def __init__(
        self,
        window: int,
        max_unread_input: int = MAX_UNREAD_INPUT_BYTES,
        max_unread_output: int = MAX_UNREAD_OUTPUT_BYTES,
        max_kept_jobs: int = MAX_KEPT_JOBS,
        max_window_growth: int = MAX_WINDOW_GROWTH_BYTES,
    ) -> None:
        self.reserve = Reserve(max_window_growth)
        self._window = window
        self._output_of_job = window * len(OUTPUTS)
        self.set_bounds(max_unread_input, max_unread_output, max_kept_jobs)
        self._jobs = 0
        self._kept = 0
        self._output = 0
        self._waiting: list[Deferred[None]] = []

    def set_bounds(self, max_unread_input: int, max_unread_output: int, max_kept_jobs: int) -> None:
        """Bound further jobs by other numbers; jobs that run are not ended.

        :param max_unread_input: as for the class.
        :param max_unread_output: as for the class.
        :param max_kept_jobs: as for the class.
        """
        self._max_input = max_unread_input
        self._max_jobs = max_unread_input // self._window
        self._max_output = max_unread_output
        self._max_kept = max_kept_jobs

    @property
    def jobs(self) -> int:
        """The jobs that run."""
        return self._jobs

    def bounds(self) -> list[BoundUse]:
        """Return these bounds, and how far each is used."""
        growth = self.reserve.size
        return [
            BoundUse(
                option="--max-unread-input", used=self._jobs * self._window, allowed=self._max_input, unit="bytes"
            ),
            BoundUse(option="--max-unread-output", used=self._output, allowed=self._max_output, unit="bytes"),
            BoundUse(option="--max-kept-jobs", used=self._kept, allowed=self._max_kept, unit="jobs"),
            BoundUse(option="--max-window-growth", used=growth - self.reserve.free, allowed=growth, unit="bytes"),
        ]

    def enter_job(self, *, is_kept: bool = False) -> str | None:
        """Count one more job, if there may be one more.

        :param is_kept: whether the job goes on to its end without a client.
        :returns: ``None`` if there may; then call :meth:`leave_job` once, when the job has ended.  Otherwise one line
            for the client that names the bound.
        """
        if self._jobs >= self._max_jobs:
            bound = f"the server has {self._jobs} jobs, as many as its --max-unread-input has room for"
        elif self._output + self._output_of_job > self._max_output:
            bound = "the server may have to hold as much output as its --max-unread-output allows"
        elif is_kept and self._kept >= self._max_kept:
            bound = f"the server keeps {self._kept} jobs, as many as its --max-kept-jobs allows"
        else:
            self._jobs += 1
            self._kept += is_kept
            self._output += self._output_of_job
            return None
        return f"{bound}; try again later"

    def leave_job(self, unread_output: int = 0, *, is_kept: bool = False) -> None:
        """Count out a job that has ended, but not its output that is still held for the client.

        :param unread_output: bytes of that output; call :meth:`drop_output` with the same number when it is gone.
        :param is_kept: as for :meth:`enter_job`.
        """
        self._kept -= is_kept
        self._output -= self._output_of_job - unread_output
        self._jobs -= 1
        if not self._jobs:
            waiting, self._waiting = self._waiting, []
            for one in waiting:
                one.callback(None)

    def drop_output(self, size: int) -> None:
        """Count out the output of a job that had ended: the client has it, or will never get it.

        :param size: the bytes that the job left with.
        """
        self._output -= size

    def when_idle(self) -> Deferred[None]:
        """Wait until no job runs, not even one of a client that is gone.

        :returns: fires then, at once if none runs now.
        """
        if not self._jobs:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting
