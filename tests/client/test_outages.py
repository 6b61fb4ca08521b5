"""A session whose links are lost, on a clock: it is looked for, found, or given up, and nothing is left behind."""

from __future__ import annotations

from twisted_rsh.client import RemoteJob
from twisted_rsh.core.endings import JobEnd


def ends_of(job: RemoteJob) -> list[JobEnd]:
    ends: list[JobEnd] = []
    job.wait().addCallback(ends.append)
    return ends
