"""The measuring process's end of its conversation with ``bench.run``: one JSON object a line, each answered by a line.

An event says how far the work is; ``bench.run`` looks at the server and lets the work go on.  The figures come last.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

__all__ = ["answer", "beside_figures", "latencies", "rate", "reach", "stream_rate"]

MEGA = 1e6
"""Bytes of a megabyte, as everywhere in these figures."""


def reach(event: str) -> None:
    """Say that the work has come to a point, and wait until it may go on.

    :param event: ``"ready"`` when the connection is there and warm; ``"stalling"`` while nobody reads;
        ``"done"`` when the connection is about to end, which need not be said where the server does not end with it.
    :raises EOFError: nobody is there to go on for.
    """
    print(json.dumps({"event": event}), flush=True)
    if not sys.stdin.readline():
        raise EOFError("bench.run is gone")


def answer(figures: Mapping[str, float]) -> None:
    """Give the figures, the last thing that this process does."""
    print(json.dumps({"figures": figures}), flush=True)


def latencies(seconds: Sequence[float]) -> dict[str, float]:
    """Describe how long each of many things took that were done one after another.

    :param seconds: of each.
    :returns: the median, the 99th percentile and the number done in a second.
    """
    ordered = sorted(seconds)
    return {
        "p50_us": ordered[len(ordered) // 2] * 1e6,
        "p99_us": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1e6,
        "per_s": len(ordered) / sum(ordered),
    }


def beside_figures(alone: Sequence[float], beside: Sequence[float]) -> dict[str, float]:
    """Describe how long things took, with nothing else on their connection and beside a stream.

    :param alone: seconds of each.
    :param beside: the same, beside the stream.
    :returns: medians and 99th percentiles, and how much longer the latter takes beside the stream.
    """
    without, with_it = latencies(alone), latencies(beside)
    return {
        "alone_p50_us": without["p50_us"],
        "alone_p99_us": without["p99_us"],
        "p50_us": with_it["p50_us"],
        "p99_us": with_it["p99_us"],
        "p99_ratio": with_it["p99_us"] / without["p99_us"],
    }


def rate(count: int, seconds: float) -> dict[str, float]:
    """Describe how many things were done in a time."""
    return {"per_s": count / seconds}


def stream_rate(size: int, seconds: float) -> dict[str, float]:
    """Describe how fast a stream went.

    :param size: bytes.
    """
    return {"mb_per_s": size / seconds / MEGA}
