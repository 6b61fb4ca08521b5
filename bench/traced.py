"""``python -m bench.traced FILE -m MODULE [word ...]``: run a program of the package and record its calls.

Each line of FILE is one call: the time in nanoseconds on the monotonic clock, which all processes of a machine share;
the file, relative to the package; the function.  ``bench.walks`` defines what a call is.
"""

from __future__ import annotations

import os
import runpy
import sys
import time
from importlib.util import find_spec
from types import CodeType, FrameType
from typing import Any

__all__ = ["PACKAGE", "CallLog", "main"]

PACKAGE = "twisted_rsh"
"""The package whose calls count."""

MODULE_BODY = "<module>"
"""The name of the code that Python runs to import a module."""


class CallLog:
    """Records every call of a function of the package, except those that an import makes.

    :param path: the file to write; it must not exist.
    :raises FileExistsError: it does.
    """

    def __init__(self, path: str) -> None:
        spec = find_spec(PACKAGE)
        assert spec is not None
        assert spec.origin is not None
        self._root = os.path.dirname(spec.origin) + os.sep
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._names: dict[CodeType, bytes] = {}
        self._imports = 0

    def start(self) -> None:
        """Start recording the calls of this thread.  A forked child records nothing."""
        os.register_at_fork(after_in_child=lambda: sys.setprofile(None))
        sys.setprofile(self._profile)

    def _profile(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event not in {"call", "return"}:
            return
        code = frame.f_code
        if code.co_name == MODULE_BODY and frame.f_globals.get("__name__") != "__main__":
            self._imports += 1 if event == "call" else -1
        elif event == "call" and not self._imports:
            name = self._names.get(code)
            if name is None:
                name = self._names[code] = self._name(code)
            if name:
                # Unbuffered: bench.walks takes a file that stops growing for the end of a walk.
                os.write(self._fd, b"%d %s\n" % (time.monotonic_ns(), name))

    def _name(self, code: CodeType) -> bytes:
        """Return the file and the function; nothing for code outside the package."""
        if code.co_name == MODULE_BODY or not code.co_filename.startswith(self._root):
            return b""
        return f"{code.co_filename[len(self._root) :]} {code.co_name}".encode()


def main(path: str, module: str, words: list[str]) -> None:
    """Run a module as ``python -m`` does and record its calls.

    :param path: the file to write; it must not exist.
    :param module: the module's name.
    :param words: the module's command line.
    :raises SystemExit: the program exited.
    """
    log = CallLog(path)
    sys.argv = [module, *words]
    log.start()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[3], sys.argv[4:])
