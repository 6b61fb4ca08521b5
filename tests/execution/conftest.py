"""The process transports that the same tests run over."""

from __future__ import annotations

import pytest

from tests.execution import owners
from twisted_rsh.execution.portable import spawn_portably
from twisted_rsh.execution.processes.transport import spawn_process
from twisted_rsh.execution.transports import StartProcess

TRANSPORTS: dict[str, StartProcess] = {"posix_spawn": spawn_process, "portable": spawn_portably}


@pytest.fixture(params=list(TRANSPORTS))
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> StartProcess:
    """Run a test over each transport: the one that `owners.start_job` uses meanwhile."""
    chosen = TRANSPORTS[request.param]
    monkeypatch.setattr(owners, "start_process", chosen)
    return chosen
