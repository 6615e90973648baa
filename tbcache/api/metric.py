"""What a metric is: its name, kind and labels as Prometheus has them, and where its samples are read from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from tbcache.fleet import CallerMetrics, Counted, FleetStatus

Kind = Literal["gauge", "counter", "histogram"]


class Seen(NamedTuple):
    """The fleet at one moment, what was counted of each source until then (None while Redis is away), and
    what the callers that ask most have asked today, by caller, then source.
    """

    status: FleetStatus
    counted: Mapping[str, Counted] | None
    callers: Mapping[str, Mapping[str, CallerMetrics]]


class Distribution(NamedTuple):
    """The value of a histogram: how many there are up to each upper end, of which +Inf is the last, and their
    sum.
    """

    up_to: list[tuple[str, float]]
    sum: float


#: The values of the labels, in the order in which they are declared, and the value.
Sample: TypeAlias = tuple[tuple[str, ...], float | Distribution]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; ``read`` gives its samples. ``is_always``: it is known while Redis is away as well.

    No label has values without a bound: each is a word of the program, or a name of the settings.
    """

    name: str
    help: str
    labels: tuple[str, ...]
    read: Callable[[Seen], Iterable[Sample]]
    kind: Kind = "gauge"
    is_always: bool = False

    def family(self, seen: Seen) -> Family | None:
        """Its samples; None where there are none, since a 0 that Redis has not told would read as a reset.

        Of several with the same labels the last one stays: one that came twice would cost the whole scrape.
        """
        is_known = self.is_always or seen.status.server.is_available
        samples = dict(self.read(seen)) if is_known else {}
        return self._made(samples) if samples else None

    def _made(self, samples: Mapping[tuple[str, ...], float | Distribution]) -> Family:
        if self.kind == "histogram":
            histogram = HistogramMetricFamily(self.name, self.help, labels=self.labels)
            for labels, value in samples.items():
                if isinstance(value, Distribution):
                    histogram.add_metric(labels, value.up_to, value.sum)
            return histogram
        kind = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        family = kind(self.name, self.help, labels=self.labels)
        for labels, value in samples.items():
            if not isinstance(value, Distribution):
                family.add_metric(labels, value)
        return family
