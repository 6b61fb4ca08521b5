"""R-06: a process without a descriptor can still look at what it has to end."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from twisted.internet.task import Clock

from twisted_rsh.execution.trees.table import ProcessTable, SpareDescriptor


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Use up all descriptors while a block lasts, in which the collector frees none that an earlier test has left."""
    gc.collect()
    gc.disable()
    taken = [os.open(os.devnull, os.O_RDONLY)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 20, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.dup(taken[0]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)
        gc.enable()


def open_something() -> int:
    """Open a file."""
    return os.open("/", os.O_RDONLY)


def test_it_is_lent() -> None:
    """R-06: with a spare descriptor one more can be opened, again and again."""
    spare = SpareDescriptor()
    spare.keep()
    with no_descriptors():
        for _ in range(3):
            os.close(spare.open("/"))
            spare.renew()
            assert "dev" in spare.list_folder("/")
        with pytest.raises(OSError, match="Too many open files"):
            open_something()


def test_without_one() -> None:
    """Nothing is lent that was not to be had, and no other error is looked at."""
    spare = SpareDescriptor()
    with no_descriptors():
        spare.keep()
        with pytest.raises(OSError, match="Too many open files"):
            spare.open("/")
        with pytest.raises(OSError, match="Too many open files"):
            spare.list_folder("/")
    spare.keep()
    with pytest.raises(FileNotFoundError):
        spare.open("/no/such/file")


def test_it_is_given_back() -> None:
    """It is closed with the object that kept it, if it was kept."""
    unused = SpareDescriptor()
    del unused
    before = os.open(os.devnull, os.O_RDONLY)
    os.close(before)
    spare = SpareDescriptor()
    spare.keep()
    assert os.fstat(before)
    del spare
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(before)


def test_the_process_table() -> None:
    """R-06: the process table still sees the processes of the machine."""
    table = ProcessTable(Clock())
    if not table.is_supported:
        pytest.skip("this system has no /proc")
    table.records(0)
    table.keep_descriptor()
    with no_descriptors():
        for _ in range(3):
            assert os.getpid() in table.records(0)
            assert table.read(os.getppid()) is not None
            with pytest.raises(OSError, match="Too many open files"):
                open_something()  # what was free for a moment is taken again
            table.children()
    assert table.looks == 4
