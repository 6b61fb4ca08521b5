"""``python -m bench.counted FILE -m MODULE [word ...]``: run a program of the package and count its calls.

FILE always holds the number, eight bytes in the machine's order.  ``bench.calls`` defines what a call is.
"""

from __future__ import annotations

import mmap
import os
import runpy
import struct
import sys
from types import FrameType
from typing import Any

__all__ = ["NUMBER", "CallCount", "main"]

NUMBER = struct.Struct("=Q")
"""The number in the file."""


class CallCount:
    """Counts the calls of this thread, in a file that other processes may read.

    :param path: the file; it is made or overwritten.
    """

    def __init__(self, path: str) -> None:
        with open(path, "w+b") as file:
            file.truncate(NUMBER.size)
            self._shared = mmap.mmap(file.fileno(), NUMBER.size)
        self.calls = 0

    def start(self) -> None:
        """Start counting.  A forked child counts nothing."""
        os.register_at_fork(after_in_child=lambda: sys.setprofile(None))
        sys.setprofile(self._profile)

    def _profile(self, _frame: FrameType, event: str, _argument: Any) -> None:
        if event in {"call", "c_call"}:
            self.calls += 1
            NUMBER.pack_into(self._shared, 0, self.calls)


def main(path: str, module: str, words: list[str]) -> None:
    """Run a module as ``python -m`` does and count its calls.

    :param path: the file of the number.
    :param module: the module's name.
    :param words: the module's command line.
    :raises SystemExit: the program exited.
    """
    sys.argv = [module, *words]
    CallCount(path).start()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[3], sys.argv[4:])
