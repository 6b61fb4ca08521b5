"""Options, markers and fixtures that every test may use."""

from __future__ import annotations

import ctypes
import os
import random
import re
import socket
import sys
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar, overload

import pytest
import pytest_twisted
from _pytest.fixtures import SubRequest
from hypothesis import HealthCheck, settings

from tests.serving import Serving, reactor
from tests.soak_mode import CUT_TESTS, begin_cutting, cutting, use_socket
from tests.stopping import end_run_on_signals, give_signals_back
from twisted_rsh import Connection
from twisted_rsh.trust.home import ConfigFolders

Fixture = TypeVar("Fixture", bound=Callable[..., Any])


class _AsyncFixture(Protocol):
    @overload
    def __call__(self, function: Fixture, /) -> Fixture: ...
    @overload
    def __call__(self, **options: Any) -> Callable[[Fixture], Fixture]: ...


async_fixture: _AsyncFixture = pytest_twisted.async_yield_fixture

PR_SET_CHILD_SUBREAPER = 36
"""From ``linux/prctl.h``."""

KINDS = {
    "exhaustive": "tries every case of something, and takes long: python -m pytest -m exhaustive",
    "real": "runs programs on terminals, tools of others or several processes: python -m pytest -m real",
    "soak": "goes on for long, to find what grows or is rare: python -m pytest -m soak",
}
"""The markers of the tests that a quick run leaves out, and what each says of a test."""

# How long an example takes says something about the machine, and nothing about what is tested.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

_MISSING_TOOL = re.compile(r"(?:Skipped: )?(\S+) is not installed")

_left_out: dict[str, int] = {}
"""How many tests of each kind this run left out."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of soak mode; see :mod:`tests.soak_mode`."""
    parser.addoption(
        "--cut-links",
        metavar="SEED",
        help="soak mode: cut every connection to a server after a few TLS records, drawn from this number, or 'random'",
    )
    parser.addoption(
        "--over-socket", action="store_true", help="let clients reach servers over their Unix sockets, not over TCP"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and begin soak mode if it is asked for."""
    for name, description in KINDS.items():
        config.addinivalue_line("markers", f"{name}: {description}")
    config.addinivalue_line("markers", "uncut(reason): soak mode leaves the test out, for the reason given")
    if config.getoption("over_socket"):
        use_socket()
    seed = config.getoption("cut_links")
    if seed is not None:
        try:
            number = random.SystemRandom().getrandbits(32) if seed == "random" else int(seed)
        except ValueError:
            raise pytest.UsageError(f"--cut-links takes a whole number or 'random', not {seed!r}") from None
        config.option.cut_links = str(number)  # the processes that run the tests must draw from the same number
        begin_cutting(number)
    end_run_on_signals()
    reactor.callWhenRunning(end_run_on_signals)  # the reactor installs its own handlers when it starts


def pytest_report_header() -> list[str]:
    """Show the seed."""
    run = cutting()
    return [] if run is None else [f"soak mode: --cut-links {run.seed}"]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, None, None]:
    """Count the tests of each kind that the run leaves out, and leave those out that soak mode cannot cut."""
    before = list(items)
    yield
    chosen = set(items)
    for item in before:
        for kind in KINDS:
            if item not in chosen and item.get_closest_marker(kind) is not None:
                _left_out[kind] = _left_out.get(kind, 0) + 1
    folder = Path(__file__).parent
    runs_everything = [(config.invocation_params.dir / words).resolve() for words in config.args] == [folder]
    uncut = set()
    for item in items:
        if runs_everything and not any(item.path.is_relative_to(folder / name) for name in CUT_TESTS):
            uncut.add(item)
        for mark in item.iter_markers("uncut"):
            if len(mark.args) != 1 or not mark.args[0]:
                raise pytest.UsageError(f"{item.nodeid}: @pytest.mark.uncut takes the reason, and nothing else")
            uncut.add(item)
    if cutting() is not None and uncut:
        items[:] = [item for item in items if item not in uncut]
        config.hook.pytest_deselected(items=list(uncut))


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object], request: SubRequest) -> Generator[None, object, object]:
    """Remember that a fixture failed or skipped, as pytest does for its own and ``pytest_twisted`` does not.

    Without that, the next test that asks for the fixture breaks inside pytest.
    """
    try:
        return (yield)
    except BaseException as error:
        if fixturedef.cached_result is None:
            fixturedef.cached_result = (None, fixturedef.cache_key(request), (error, error.__traceback__))
        raise


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a soak in which hardly anything was cut fail: it has shown nothing.  A worker hands its counts over."""
    give_signals_back()
    run = cutting()
    worker = getattr(session.config, "workeroutput", None)
    if worker is not None:
        worker["left_out"] = dict(_left_out)
        worker["cutting"] = None if run is None else (run.servers, run.connections, run.cuts)
    elif run is not None and session.exitstatus == pytest.ExitCode.OK and not run.is_enough:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the counts of a worker of pytest-xdist; each of them collects all tests."""
    output = getattr(node, "workeroutput", {})
    _left_out.update(output.get("left_out") or {})
    run = cutting()
    if run is not None and output.get("cutting"):
        servers, connections, cuts = output["cutting"]
        run.servers += servers
        run.connections += connections
        run.cuts += cuts


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say in one line what was left out, and in soak mode how much was cut."""
    tools: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        found = _MISSING_TOOL.match(str(report.longrepr[2]))
        if found is not None:
            tools[found[1]] = tools.get(found[1], 0) + 1
    told = [f"{count} {kind}" for kind, count in sorted(_left_out.items())]
    told += [f"{count} that need {tool}" for tool, count in sorted(tools.items())]
    if told:
        terminalreporter.write_line(f"left out: {', '.join(told)} (CONTRIBUTING.rst says how to run them)")
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


@pytest.fixture(autouse=True)
def _no_subreaper() -> Iterator[None]:
    """Let orphans be init's again behind a test: a stand-alone server inherits them, and reaps none later."""
    yield
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


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


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of another program."""
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        yield squatter.getsockname()[1]
