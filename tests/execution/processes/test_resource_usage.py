"""The resource usage of a process, in the protocol's units."""

from __future__ import annotations

import os
import resource
import sys

from twisted_rsh.core.endings import ResourceUsage
from twisted_rsh.execution.processes.exits import MAXRSS_UNIT, resource_usage

MIB = 1024 * 1024


def test_a_process_that_takes() -> None:
    """The figures of a real process: memory in bytes, time in seconds."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT
    size = own + 50 * MIB
    script = f"import time; x = bytearray(b'x') * {size}\nwhile time.process_time() < 0.3: pass"
    pid = os.posix_spawn(sys.executable, (sys.executable, "-S", "-c", script), os.environ)
    _, status, usage = os.wait4(pid, 0)
    assert status == 0
    result = resource_usage(1.5, usage)
    assert result == ResourceUsage(wall=1.5, user=usage.ru_utime, system=usage.ru_stime, peak_memory=result.peak_memory)
    assert 0.25 < result.user + result.system < 3
    assert result.peak_memory is not None
    assert size < result.peak_memory < size + 500 * MIB


def test_memory_that_may_be_our_own() -> None:
    """A peak no higher than this process's own may be memory that the child shared with it, and is left out."""
    pid = os.posix_spawn("/bin/sh", ("sh", "-c", ":"), {})
    assert resource_usage(1.0, os.wait4(pid, 0)[2]).peak_memory is None


def test_clock_that_was_set_back() -> None:
    """A job never takes less than no time."""
    pid = os.posix_spawn("/bin/sh", ("sh", "-c", ":"), {})
    assert resource_usage(-1.0, os.wait4(pid, 0)[2]).wall == 0
