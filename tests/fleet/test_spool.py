"""The outputs of many hosts: complete, compared by what they are, and bounded in memory."""

from __future__ import annotations

import os
import tracemalloc

import pytest

from twisted_rsh.fleet.spool import MAX_MEMORY_BYTES, PIECE_BYTES, Capture, Spool


def kept(capture: Capture) -> bytes:
    """Return everything that was captured."""
    return b"".join(capture.pieces())


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES + 7])
def test_everything_comes_back(size: int) -> None:
    """What two outputs have written by turns comes back as it was, from memory and from the file."""
    spool = Spool()
    outputs = [os.urandom(size), os.urandom(size)]
    captures = [Capture(spool), Capture(spool)]
    for start in range(0, size, 1000):
        for data, capture in zip(outputs, captures, strict=True):
            capture.append(data[start : start + 1000])
    assert [kept(capture) for capture in captures] == outputs
    assert [capture.size for capture in captures] == [size, size]
    assert all(len(piece) <= PIECE_BYTES for capture in captures for piece in capture.pieces())
    spool.close()
    spool.close()


def test_identity() -> None:
    """Outputs are the same if their bytes are, in whatever pieces they came."""
    spool = Spool()
    one, other, third = Capture(spool), Capture(spool), Capture(spool)
    one.append(b"abc")
    other.append(b"a")
    other.append(b"bc")
    third.append(b"abd")
    assert one.identity == other.identity != third.identity


def test_memory_is_bounded() -> None:
    """However many outputs there are, no more than the bound and one piece stays in memory."""
    spool = Spool(max_memory=100_000)
    captures = [Capture(spool) for _ in range(100)]
    for number, capture in enumerate(captures):
        for _ in range(3):
            capture.append(bytes([number]) * 1000)
            assert spool.in_memory <= 100_000
    assert all(kept(capture) == bytes([number]) * 3000 for number, capture in enumerate(captures))
    spool.close()


def test_default_bound_holds() -> None:
    """200 hosts that write 300 KB each take little more than the bound, by Python's own count."""
    spool = Spool()
    data = bytes(10_000)
    tracemalloc.start()
    captures = [Capture(spool) for _ in range(400)]
    for _ in range(15):
        for capture in captures:
            capture.append(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    spool.close()
    assert peak < 1.5 * MAX_MEMORY_BYTES
