"""Metrics of a server for Prometheus, made by the official client library, ``prometheus_client``.

The library is the extra ``metrics`` of this package.  Nothing here imports it before a :class:`Metrics` is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from twisted_rsh.interfaces import IServerObserver
from twisted_rsh.server import (
    Error,
    JobBegan,
    JobFinished,
    Refusal,
    ServerEvent,
    ServerStarted,
    ServerStopped,
    SessionBegan,
    SessionDetached,
    SessionEnded,
    SessionResumed,
)

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

__all__ = ["JOB_SECONDS", "Metrics", "NoMetricsLibrary"]

JOB_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0, 600.0, 3600.0)
"""Bounds of the histogram of how long jobs take: from a built-in to a long build."""

AWAY_SECONDS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 600.0, 3600.0)
"""Bounds of the histogram of how long sessions had no connection: from a cut to a lunch."""


class NoMetricsLibrary(Error):
    """``prometheus_client`` is not installed."""

    def __str__(self) -> str:
        return "metrics need the Python package prometheus_client; install it with: pip install twisted-rsh[metrics]"


@implementer(IServerObserver)
class Metrics:
    """Counts what happens at a server.

    All labels have few values, none of which a client chooses: reasons, kinds, streams and options.

    :param registry: takes the metrics; ``None`` for a registry of its own, with the process's CPU, memory and files.
        It never is the library's global one unless it is given.
    :raises NoMetricsLibrary: the library is missing.
    :ivar registry: as above.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
        except ImportError:
            raise NoMetricsLibrary from None
        if registry is None:
            registry = CollectorRegistry()
            ProcessCollector(registry=registry)
        self.registry = registry
        self._refusals = Counter(
            "twisted_rsh_refusals_total", "Connections that got no session.", ["reason"], registry=registry
        )
        self._logins = Counter("twisted_rsh_logins_total", "Sessions that have begun.", registry=registry)
        self._sessions = Gauge("twisted_rsh_sessions", "Sessions that exist.", ["state"], registry=registry)
        self._losses = Counter(
            "twisted_rsh_detaches_total", "Times that a session lost its connection.", registry=registry
        )
        self._resumes = Counter(
            "twisted_rsh_resumes_total", "Times that a session went on over another connection.", registry=registry
        )
        self._away = Histogram(
            "twisted_rsh_session_away_seconds",
            "Time without a connection until a resume.",
            registry=registry,
            buckets=AWAY_SECONDS,
        )
        self._jobs = Gauge("twisted_rsh_jobs", "Jobs that run.", ["kind"], registry=registry)
        self._ended = Counter(
            "twisted_rsh_jobs_ended_total", "Jobs that have ended.", ["kind", "ending"], registry=registry
        )
        self._took = Histogram(
            "twisted_rsh_job_duration_seconds",
            "Time from the beginning of a job to its end.",
            ["kind"],
            registry=registry,
            buckets=JOB_SECONDS,
        )
        self._bytes = Counter(
            "twisted_rsh_job_bytes_total", "Bytes of the jobs that have ended.", ["stream"], registry=registry
        )
        for state in ("attached", "detached"):
            self._sessions.labels(state)
        self._bounds = _Bounds()
        registry.register(self._bounds)

    def happened(self, event: ServerEvent) -> None:
        """Count an event."""
        match event:
            case JobBegan(request=request):
                self._jobs.labels(request.kind).inc()
            case JobFinished():
                self._count_job(event)
            case Refusal(kind=kind):
                self._refusals.labels(kind.value).inc()
            case ServerStarted(bounds=bounds):
                self._bounds.ask = bounds
            case ServerStopped():
                self._bounds.ask = tuple
            case _:
                self._count_session(event)

    def page(self, accept: str = "") -> tuple[str, bytes]:
        """Return the metrics as Prometheus reads them.

        :param accept: the formats that the reader takes: the header ``Accept`` of its request.
        :returns: the media type, and the page.
        """
        from prometheus_client.exposition import choose_encoder

        encode, kind = choose_encoder(accept)
        return kind, encode(self.registry)

    def _count_job(self, event: JobFinished) -> None:
        kind = event.request.kind
        self._jobs.labels(kind).dec()
        self._ended.labels(kind, event.end.ending.kind).inc()
        self._took.labels(kind).observe(event.seconds)
        for stream in ("stdin", "stdout", "stderr"):
            self._bytes.labels(stream).inc(getattr(event, stream))

    def _count_session(self, event: ServerEvent) -> None:
        attached, detached = self._sessions.labels("attached"), self._sessions.labels("detached")
        match event:
            case SessionBegan():
                self._logins.inc()
                attached.inc()
            case SessionDetached():
                self._losses.inc()
                attached.dec()
                detached.inc()
            case SessionResumed(away=away):
                self._resumes.inc()
                if away is not None:
                    self._away.observe(away)
                    detached.dec()
                    attached.inc()
            case SessionEnded(was_detached=was_detached):
                (detached if was_detached else attached).dec()


class _Bounds:
    """Asks the server for its bounds, and how far they are used, at each scrape."""

    def __init__(self) -> None:
        self.ask: Any = tuple

    def describe(self) -> list[Metric]:
        """Name no metric: the names are known only with the values."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Give two gauges: what is used of each bound, and what is allowed."""
        from prometheus_client.core import GaugeMetricFamily

        used = GaugeMetricFamily("twisted_rsh_bound_used", "What is used of a bound.", labels=["option", "unit"])
        allowed = GaugeMetricFamily("twisted_rsh_bound_allowed", "What a bound allows.", labels=["option", "unit"])
        for bound in self.ask():
            used.add_metric([bound.option, bound.unit], bound.used)
            allowed.add_metric([bound.option, bound.unit], bound.allowed)
        yield used
        yield allowed
