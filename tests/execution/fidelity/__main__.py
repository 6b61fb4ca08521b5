"""Compare a plain shell with ours and print what differs: ``python -m tests.execution.fidelity SHELL [WORDS]``."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.python.failure import Failure

from tests.execution.fidelity.comparison import Comparison, PlainCache, compare
from tests.execution.fidelity.differences import load_differences
from tests.execution.fidelity.outcomes import MODES
from tests.execution.fidelity.sequences import load_sequences


def main() -> None:
    """Compare, and print each difference and the numbers."""
    parser = argparse.ArgumentParser(prog="python -m tests.execution.fidelity", description=__doc__)
    parser.add_argument("shell", choices=["bash", "dash", "zsh"])
    parser.add_argument("words", nargs="*", help="only sequences in whose name one of these words is")
    parser.add_argument("--mode", action="append", help="only this mode: pipe-one, pipe-split, tty-one, tty-split")
    parser.add_argument("--cache", type=Path, help="file for what the plain shell says, so that it runs once")
    parser.add_argument("--all", action="store_true", help="print what is the same, too")
    parser.add_argument("--text", action="store_true", help="print the commands of what is printed")
    options = parser.parse_args()
    words = options.words or [""]
    sequences = [one for one in load_sequences(options.shell) if any(word in one.name for word in words)]
    modes = [mode for mode in MODES if options.mode is None or str(mode) in options.mode]
    cache = PlainCache(options.cache)
    allowed = load_differences()
    same: Counter[str] = Counter()
    total: Counter[str] = Counter()
    differing: set[str] = set()

    def tell(comparison: Comparison) -> None:
        name = comparison.sequence.name
        total[str(comparison.mode)] += 1
        same[str(comparison.mode)] += comparison.is_same
        if not comparison.is_same:
            differing.add(name)
        if options.all or not comparison.is_same:
            known = " (listed)" if (options.shell, name, str(comparison.mode)) in allowed else ""
            print("same" if comparison.is_same else f"DIFFERENT{known}", comparison, flush=True)
            if options.text:
                print("   | " + "\n---\n".join(comparison.sequence.commands).replace("\n", "\n   | "))

    async def run() -> None:
        await compare(options.shell, sequences, modes, cache, tell)
        cache.save()
        for mode in total:
            print(f"{mode}: {same[mode]} of {total[mode]} the same")
        print(f"{len(sequences) - len(differing)} of {len(sequences)} sequences the same in all of these modes")

    def begin() -> None:
        ensureDeferred(run()).addErrback(Failure.printTraceback, sys.stderr).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()


if __name__ == "__main__":
    main()
