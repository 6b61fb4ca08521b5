"""Fixtures that every test may use."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytest_twisted

from tests.serving import Serving
from tests.soak_mode import begin_cutting, cutting
from twisted_rsh import Connection
from twisted_rsh.trust.home import ConfigFolders

Fixture = TypeVar("Fixture", bound=Callable[..., Any])

async_fixture: Callable[[Fixture], Fixture] = pytest_twisted.async_yield_fixture


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of soak mode; see :mod:`tests.soak_mode`."""
    parser.addoption(
        "--cut-links",
        metavar="SEED",
        help="soak mode: cut every connection to a server after a few TLS records, drawn from this number, or 'random'",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin soak mode, if it is asked for."""
    config.addinivalue_line("markers", "uncut(reason): soak mode leaves the test out, for a reason that is told")
    seed = config.getoption("cut_links")
    if seed is not None:
        try:
            begin_cutting(random.SystemRandom().getrandbits(32) if seed == "random" else int(seed))
        except ValueError:
            raise pytest.UsageError(f"--cut-links takes a whole number or 'random', not {seed!r}") from None


def pytest_report_header() -> list[str]:
    """Show the seed."""
    run = cutting()
    return [] if run is None else [f"soak mode: --cut-links {run.seed}"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Check that whoever leaves a test out of soak mode says why, and in soak mode leave it out."""
    uncut = []
    for item in items:
        for mark in item.iter_markers("uncut"):
            if len(mark.args) != 1 or not mark.args[0]:
                raise pytest.UsageError(f"{item.nodeid}: @pytest.mark.uncut takes the reason, and nothing else")
            uncut.append(item)
    if cutting() is not None and uncut:
        items[:] = [item for item in items if item not in uncut]
        config.hook.pytest_deselected(items=uncut)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a soak in which hardly anything was cut fail: it has shown nothing."""
    run = cutting()
    if run is not None and session.exitstatus == pytest.ExitCode.OK and not run.is_enough:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show how much was cut."""
    run = cutting()
    if run is not None:
        terminalreporter.write_line(f"soak mode: {run}", red=not run.is_enough)
        if not run.is_enough:
            terminalreporter.write_line("soak mode: fewer cuts than servers: these tests have shown nothing", red=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let no test be skipped where ``CI`` is set: a check that did not run is not one that passed.

    In soak mode a failure shows the seed.
    """
    report = yield
    run = cutting()
    if report.failed and run is not None:
        report.sections.append(("soak mode", f"--cut-links {run.seed}"))
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
    return report


@pytest.fixture
def config(tmp_path: Path) -> ConfigFolders:
    """The folders of a user who has never run anything."""
    return ConfigFolders.at(str(tmp_path / "home"))


@async_fixture
async def serving(config: ConfigFolders) -> AsyncIterator[Serving]:
    """A running server."""
    serving = Serving(config)
    await serving.start()
    yield serving
    await serving.stop()


@async_fixture
async def connection(serving: Serving) -> AsyncIterator[Connection]:
    """A shell connected to a running server."""
    yield await serving.connect()
