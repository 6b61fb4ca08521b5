"""The beginning of each installed program: while its modules are loaded, Ctrl-C simply ends it.

Python's own handler would print a traceback of the imports, which take up to half a second.
"""

from __future__ import annotations

import importlib
import signal
import sys
from typing import Any, NoReturn

__all__ = ["start_client", "start_manager", "start_trshctl"]


def start_client() -> NoReturn:
    """Run ``trsh``."""
    _load("twisted_rsh.cli.__main__").run()
    raise AssertionError("the client ends its process")


def start_manager() -> NoReturn:
    """Run ``twisted-rsh``."""
    sys.exit(_load("twisted_rsh.manage.__main__").main())


def start_trshctl() -> NoReturn:
    """Run ``trshctl``."""
    sys.exit(_load("twisted_rsh.trshctl.__main__").main())


def _load(name: str) -> Any:
    """Import the module of a program; afterwards Ctrl-C has the handler that it had before."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return importlib.import_module(name)
    finally:
        signal.signal(signal.SIGINT, handler)
