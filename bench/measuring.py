"""Runs one measuring process, and looks at the server while it works."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import IO

from bench.processes import Usage, usage
from bench.surroundings import ROOT, environment
from bench.task import Task

__all__ = ["MeasurementFailed", "measure"]

MEASUREMENT_SECONDS = 180.0
"""Seconds after which a measurement is given up: fifty times what the longest should take."""

END_SECONDS = 10.0
"""Seconds that a measuring process has to end after it has answered."""


class MeasurementFailed(Exception):
    """There are no figures; the text is one line that says why."""


def measure(client: str, task: Task, server: int | None) -> dict[str, float]:
    """Measure once.

    :param client: the module of ``bench.clients`` that does it.
    :param task: what it is to do.
    :param server: the process id of the server, to look at, or ``None``.
    :returns: what it answered, and what was seen of the server: ``server_cpu_s``, seconds of processor time; for a
        stall also ``growth_mb``, MB by which its memory grew at most, and ``stall_cpu_percent``, the processor time of
        the stall as a share of one core.
    :raises MeasurementFailed: it failed or took too long.
    """
    errors_path = os.path.join(task.folder, f"client-{client}.log")
    command = [sys.executable, "-m", f"bench.clients.{client}", task.to_json()]
    pipe = subprocess.PIPE
    with (
        open(errors_path, "w+b") as errors,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(task.folder),
            stdin=pipe,
            stdout=pipe,
            stderr=errors,
            start_new_session=True,
        ) as process,
    ):
        late = threading.Timer(MEASUREMENT_SECONDS, _end_group, [process])
        late.start()
        try:
            figures = _converse(process, server, task.sizes.stall_seconds)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
        finally:
            late.cancel()
            # Also when it ended well: a master of ssh's may have outlived a failure.
            _end_group(process)
        if figures is None:
            raise MeasurementFailed(_reason(errors))
        return figures


def _converse(process: subprocess.Popen[bytes], server: int | None, stall_seconds: int) -> dict[str, float] | None:
    assert process.stdin is not None
    assert process.stdout is not None
    seen: dict[str, list[Usage]] = {}
    for line in process.stdout:
        said = json.loads(line)
        now = None if server is None else usage(server)
        if "figures" in said:
            return {**said["figures"], **_server_figures(seen, now, stall_seconds)}
        if now is not None:
            seen.setdefault(said["event"], []).append(now)
        process.stdin.write(b"\n")
        process.stdin.flush()
    return None


def _server_figures(seen: Mapping[str, list[Usage]], last: Usage | None, stall_seconds: int) -> dict[str, float]:
    if last is None or "ready" not in seen:
        return {}
    ready, last = seen["ready"][0], seen.get("done", [last])[0]
    figures = {"server_cpu_s": last.cpu_s - ready.cpu_s}
    if "stalling" in seen:
        stalled = seen["stalling"]
        figures["growth_mb"] = max(look.memory_mb for look in stalled) - ready.memory_mb
        figures["stall_cpu_percent"] = (stalled[-1].cpu_s - ready.cpu_s) / stall_seconds * 100
    return figures


def _end_group(process: subprocess.Popen[bytes]) -> None:
    # Its group is its own, with its number; an empty group is no error.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _reason(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else f"it was given up after {MEASUREMENT_SECONDS:.0f} s, or was killed"
