"""Fuzz the decoders with atheris: ``python fuzz/run.py --seconds N [target ...]``.

Each target runs in a process of its own, because libFuzzer ends the process in which it runs.  Inputs that reach new
code are kept in ``fuzz/corpus``, and inputs that broke a target in ``fuzz/findings``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
INSTALL = "atheris is missing: run  python -m pip install atheris  (CPython on Linux or macOS)"
MAX_INPUT_BYTES = 4096
"""Bytes of one input: as long as a frame before the login."""

ONE_INPUT_SECONDS = 5
"""Seconds after which one input counts as a hang."""


def main(arguments: Sequence[str]) -> int:
    """Fuzz; return the number of broken targets, or 2 when atheris is missing."""
    parser = argparse.ArgumentParser(prog="fuzz/run.py", description="Fuzz the decoders of twisted-rsh.")
    parser.add_argument("--seconds", type=int, default=60, help="seconds for each target (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="list the names of the targets and exit")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", metavar="target", help="name of a target (default: all targets)")
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(HERE.parent))
    if options.here:
        return fuzz_here(options.targets[0], options.seconds)
    try:
        import atheris  # noqa: F401 - imported only to find out whether it is installed
    except ImportError:
        if not options.list:
            print(INSTALL, file=sys.stderr)
            return 2
    from fuzz.targets import TARGETS

    if options.list:
        print("\n".join(TARGETS))
        return 0
    unknown = [name for name in options.targets if name not in TARGETS]
    if unknown:
        parser.error(f"no such target: {', '.join(unknown)}; --list names them")
    broken = [name for name in options.targets or TARGETS if not fuzz_one(name, options.seconds)]
    print(f"broken: {', '.join(broken) or 'none'}")
    return len(broken)


def fuzz_one(name: str, seconds: int) -> bool:
    """Fuzz one target in a process of its own; tell whether it survived."""
    print(f"== {name}", flush=True)
    command = [sys.executable, str(Path(__file__).resolve()), "--here", "--seconds", str(seconds), name]
    return subprocess.run(command).returncode == 0


def fuzz_here(name: str, seconds: int) -> int:
    """Fuzz one target in this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=["twisted_rsh", "fuzz"]):
        from fuzz.targets import TARGETS
    corpus, findings = HERE / "corpus" / name, HERE / "findings" / name
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(TARGETS[name].seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    libfuzzer = [
        f"-max_total_time={seconds}",
        f"-max_len={MAX_INPUT_BYTES}",
        f"-timeout={ONE_INPUT_SECONDS}",
        f"-artifact_prefix={findings}{os.sep}",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], *libfuzzer, str(corpus)], TARGETS[name].run)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
