"""``python -m bench.profile_server``: where a server spends its time while one work runs.

The profiler makes calls of Python slower and those of C hardly, so the shares mislead about small functions: they say
where to look, and only ``python -m bench.run`` says what a change was worth.
"""

from __future__ import annotations

import argparse
import os
import pstats
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace

from bench.measuring import measure
from bench.servers.starting import OURS, Site, running
from bench.surroundings import clean_up_when_ended, prepare, user_name
from bench.task import FULL, QUICK, Task
from bench.works import WORKS

__all__ = ["main"]

DEFAULT_LINES = 30
"""Functions that are shown: what lies below takes less than a hundredth each."""


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    measurable = [name for name, work in WORKS.items() if work.contestants[0].server == OURS]
    parser = argparse.ArgumentParser(prog="python -m bench.profile_server", description=__doc__)
    parser.add_argument("--work", choices=measurable, default="W1")
    parser.add_argument("--commands", type=int, help=f"commands of W1, W1t and W2 [{FULL.commands}]")
    parser.add_argument("--sort", choices=["tottime", "cumtime", "ncalls"], default="tottime")
    parser.add_argument("--lines", type=int, default=DEFAULT_LINES, help=f"functions to show [{DEFAULT_LINES}]")
    parser.add_argument("--shell", default="/bin/sh")
    parser.add_argument("--quick", action="store_true", help="only try it out")
    parser.add_argument("--save", metavar="FILE", help="keep the profile, for pstats and others")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a work against a server under cProfile, and print where the server's time went.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :raises bench.measuring.MeasurementFailed: the work could not be done.
    :raises RuntimeError: the server did not start.
    """
    options = _options(arguments)
    sizes = QUICK if options.quick else FULL
    if options.commands is not None:
        sizes = replace(sizes, commands=options.commands)
    work = WORKS[options.work]
    clean_up_when_ended()
    contestant = work.contestants[0]
    with tempfile.TemporaryDirectory(prefix="rshbench-") as folder:
        prepare(folder)
        profile = os.path.abspath(options.save) if options.save else os.path.join(folder, "profile")
        site = Site(folder=folder, shell=options.shell, python_options=["-m", "cProfile", "-o", profile])
        with running(OURS, site) as (pid, port):
            task = Task(
                work=work.name,
                variant=contestant.variant,
                port=port,
                folder=folder,
                user=user_name(),
                shell=options.shell,
                sizes=sizes,
            )
            figures = measure(contestant.client, task, pid)
        # The server has ended, and written its profile as the last thing.
        print(f"{work.name}  {work.title}, with the profiler: {work.value(figures):.1f} {work.unit}")
        pstats.Stats(profile, stream=sys.stdout).strip_dirs().sort_stats(options.sort).print_stats(options.lines)


if __name__ == "__main__":
    main()
