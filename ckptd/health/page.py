"""Render the metrics as the text that Prometheus and node_exporter read."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ckptd.health.about_daemon import DAEMON, QUEUE, ROOTS
from ckptd.health.about_files import DISKS, FILES, JOBS
from ckptd.health.families import Family, HistogramFamily
from ckptd.health.view import View

FAMILIES: tuple[Family | HistogramFamily, ...] = (*DAEMON, *QUEUE, *ROOTS, *FILES, *JOBS, *DISKS)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Who asks more often gets the same page: it costs a millisecond of the one core that Python has.
KEPT_SECONDS = 1.0


class Page:
    """The page of one place where metrics are read.

    Threading: any thread may render; one does so at a time.

    Args:
        look: gives the present moment.
        with_process: the `process_…` metrics too; node_exporter has its own of these names and would refuse the file.
        monotonic: seconds that nobody sets.
    """

    def __init__(
        self, look: Callable[[], View], *, with_process: bool, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._monotonic = monotonic
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(look))
        if with_process:
            ProcessCollector(registry=self._registry)
        self._lock = threading.Lock()
        self._text = b""
        self._rendered_at = -math.inf

    def render(self) -> bytes:
        """Give the page, at most a second old."""
        with self._lock:
            now = self._monotonic()
            if now - self._rendered_at >= KEPT_SECONDS:
                self._text, self._rendered_at = generate_latest(self._registry), now
            return self._text


class _Collector(Collector):
    def __init__(self, look: Callable[[], View]) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        view = self._look()
        return (family.collect(view) for family in FAMILIES)
