"""What one metric is: a name, what it says, its labels, and where its samples come from.

Every family is shown at all times, also while it has no samples, so that docs/ops/metrics.md can be held against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from ckptd.health.figures import BUCKETS, Durations
from ckptd.health.view import View
from ckptd.text import escape

#: Label values and the number; as many label values as the family has labels.
Sample = tuple[tuple[str, ...], float]
#: Characters of a label's value; paths of the settings are the longest.
_MOST_LABEL = 4_096


@dataclass(frozen=True, slots=True)
class Family:
    """One metric; a name that ends with `_total` is a counter, any other a gauge."""

    name: str
    text: str
    read: Callable[[View], Iterable[Sample]]
    labels: tuple[str, ...] = ()

    def collect(self, view: View) -> Metric:
        """Give its samples at one moment."""
        metric: CounterMetricFamily | GaugeMetricFamily
        if self.name.endswith("_total"):
            metric = CounterMetricFamily(self.name.removesuffix("_total"), self.text, labels=self.labels)
        else:
            metric = GaugeMetricFamily(self.name, self.text, labels=self.labels)
        for values, number in self.read(view):
            metric.add_metric([clean(value) for value in values], number)
        return metric


@dataclass(frozen=True, slots=True)
class HistogramFamily:
    """One metric with the buckets of `figures.BUCKETS` and one label."""

    name: str
    text: str
    read: Callable[[View], Iterable[tuple[str, Durations]]]
    label: str

    @property
    def labels(self) -> tuple[str, ...]:
        """Give the names of its labels, but for that of the bucket."""
        return (self.label,)

    def collect(self, view: View) -> Metric:
        """Give its samples at one moment."""
        metric = HistogramMetricFamily(self.name, self.text, labels=[self.label])
        for value, durations in self.read(view):
            metric.add_metric([clean(value)], _cumulate(durations), durations.seconds)
        return metric


def clean(value: str) -> str:
    """Make a label's value of a configured name: bytes that are no UTF-8 would break the page."""
    return escape(value, _MOST_LABEL)


def one(number: float | None) -> list[Sample]:
    """Give one sample without labels; none where there is no number."""
    return [] if number is None else [((), float(number))]


def states(value: str | None, known: Iterable[str], *labels: str) -> list[Sample]:
    """Give a sample for each state there is: 1 for the one that holds, 0 for the others."""
    return [((*labels, state), float(state == value)) for state in known]


def _cumulate(durations: Durations) -> list[tuple[str, float]]:
    total, buckets = 0, []
    for end, count in zip((*map(_bound, BUCKETS), "+Inf"), durations.counts, strict=True):
        total += count
        buckets.append((end, float(total)))
    return buckets


def _bound(seconds: float) -> str:
    return f"{seconds:.1f}"
