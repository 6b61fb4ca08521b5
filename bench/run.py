"""``python -m bench.run``: measure a server next to others, and next to what the machine does without one.

See README.rst.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.measuring import MeasurementFailed, measure
from bench.plot import draw
from bench.report import Results, panels, table
from bench.servers.starting import CROWDED, Site, crowd_size, running
from bench.surroundings import clean_up_when_ended, login_shell, prepare, user_name
from bench.task import FULL, QUICK, Sizes, Task
from bench.works import CONTESTANTS, WORKS, Contestant, Work, missing_parts

__all__ = ["main"]

DEFAULT_ROUNDS = 5
"""Rounds of each measurement: enough for a median that one disturbance does not move."""

MAX_ROUNDS = 100
"""Rounds that may be asked for: about a day."""

MAX_FAILURES = 2
"""Failures after which a measurement is not tried in later rounds."""


@dataclass(frozen=True, slots=True)
class _Cell:
    work: Work
    contestant: Contestant

    @property
    def name(self) -> str:
        return f"{self.work.name} {self.contestant.name}"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--rounds", type=_rounds, default=DEFAULT_ROUNDS, help=f"1 to {MAX_ROUNDS} [{DEFAULT_ROUNDS}]")
    parser.add_argument("--works", type=_names(WORKS), default=list(WORKS), help=f"of {','.join(WORKS)} [all]")
    parser.add_argument("--only", type=_names(CONTESTANTS), default=list(CONTESTANTS), help="contestants [all]")
    parser.add_argument("--shell", default="/bin/sh", help="what runs commands; sshd uses the login shell [/bin/sh]")
    parser.add_argument("--crowd", type=int, help=f"connections of W1c and W2c [{FULL.crowd}]")
    parser.add_argument("--quick", action="store_true", help="try everything out; the figures mean nothing")
    parser.add_argument("--json", metavar="FILE", help="write all figures to a file")
    parser.add_argument("--plot", metavar="FILE", help="draw them, as SVG")
    return parser.parse_args(arguments)


def _rounds(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MAX_ROUNDS:
        raise argparse.ArgumentTypeError(f"rounds are from 1 to {MAX_ROUNDS}")
    return number


def _names(known: Mapping[str, object]) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!a} is none of {', '.join(known)}")
        return names

    return read


def _sizes(options: argparse.Namespace) -> Sizes:
    sizes = QUICK if options.quick else FULL
    return replace(sizes, crowd=crowd_size(options.crowd or sizes.crowd))


class _Run:
    """One run of the whole.

    :param options: what was asked for.
    :param folder: a temporary folder.
    """

    def __init__(self, options: argparse.Namespace, folder: str) -> None:
        self._sizes = _sizes(options)
        self._rounds = options.rounds
        self._site = Site(folder=folder, shell=options.shell, crowd=self._sizes.crowd)
        self.results = Results.begin(self._sizes, options.shell, login_shell(), options.rounds)
        cells = [_Cell(WORKS[name], contestant) for name in options.works for contestant in WORKS[name].contestants]
        cells = [cell for cell in cells if cell.contestant.name in options.only]
        self.results.missing = missing_parts(cell.contestant for cell in cells)
        self._cells = [cell for cell in cells if cell.contestant.name not in self.results.missing]
        self._failures: Counter[str] = Counter()

    def measure_all(self) -> None:
        """Measure everything: first what needs no crowd, then the rest, so that its memory disturbs nobody else."""
        for cell in self._cells:
            self.results.figures.setdefault(cell.work.name, {})[cell.contestant.name] = []
        crowded = {cell.work.name for cell in self._cells if cell.contestant.server == CROWDED}
        for group in (
            [cell for cell in self._cells if cell.work.name not in crowded],
            [cell for cell in self._cells if cell.work.name in crowded],
        ):
            with self._servers(group) as servers:
                for number in range(self._rounds):
                    for cell in random.sample(group, len(group)):
                        self._measure(cell, number, servers)

    @contextlib.contextmanager
    def _servers(self, group: Sequence[_Cell]) -> Iterator[dict[str, tuple[int, int]]]:
        """Start the servers that a group of cells shares: all are there all the time, so that no cell has fewer."""
        servers: dict[str, tuple[int, int]] = {}
        with contextlib.ExitStack() as stack:
            for kind in dict.fromkeys(cell.contestant.server for cell in group):
                if kind is not None:
                    try:
                        servers[kind] = stack.enter_context(running(kind, self._site))
                    except RuntimeError as error:
                        self.results.failures.append(f"the server {kind}: {error}")
            yield servers

    def _measure(self, cell: _Cell, number: int, servers: dict[str, tuple[int, int]]) -> None:
        kind = cell.contestant.server
        figures: dict[str, float] | None = None
        if self._failures[cell.name] < MAX_FAILURES and (kind is None or kind in servers):
            try:
                with contextlib.ExitStack() as stack:
                    server = None if kind is None else servers[kind]
                    if kind is not None and cell.work.fresh_server:
                        server = stack.enter_context(running(kind, self._site))
                    figures = self._measure_at(cell, server)
            except (MeasurementFailed, RuntimeError) as error:
                self._failures[cell.name] += 1
                self.results.failures.append(f"{cell.name}, round {number + 1}: {error}")
        self.results.figures[cell.work.name][cell.contestant.name].append(figures)

    def _measure_at(self, cell: _Cell, server: tuple[int, int] | None) -> dict[str, float]:
        pid, port = (None, 0) if server is None else server
        task = Task(
            work=cell.work.name,
            variant=cell.contestant.variant,
            port=port,
            folder=self._site.folder,
            user=user_name(),
            shell=self._site.shell,
            sizes=self._sizes,
        )
        print(cell.name, file=sys.stderr, flush=True)
        return measure(cell.contestant.client, task, pid)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :returns: the exit status: 1 when something failed, though what did not is reported.
    """
    options = _options(arguments)
    clean_up_when_ended()
    with tempfile.TemporaryDirectory(prefix="rshbench-") as folder:
        prepare(folder)
        run = _Run(options, folder)
        run.measure_all()
    sys.stdout.write(table(run.results))
    if options.json:
        run.results.save(options.json)
    if options.plot:
        Path(options.plot).write_text(draw(panels(run.results)), encoding="utf-8")
    return 1 if run.results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
