"""The text that Prometheus reads: https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4.

By hand, since it is this little: Litestar's plugin counts HTTP requests alone, in registries of the whole process, for
more time a request than all that is counted here, and would want the client library besides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import NamedTuple

from cavvy.coordinator.meter import Histogram

__all__ = ["MEDIA_TYPE", "Family", "Sample", "counter", "gauge", "histogram", "render"]

MEDIA_TYPE = "text/plain; version=0.0.4"  # Litestar adds the charset

#: A value, or one for each value of a label.
Values = float | Mapping[str, float]


class Sample(NamedTuple):
    """One line. `suffix` is what its name has beyond the family's."""

    value: float
    labels: Mapping[str, str] = {}
    suffix: str = ""


class Family(NamedTuple):
    """One metric with all its labels."""

    name: str
    kind: str
    help: str
    samples: Iterable[Sample]


def gauge(name: str, about: str, values: Values, label: str = "") -> Family:
    """What is now."""
    return Family(name, "gauge", about, _samples(values, label))


def counter(name: str, about: str, values: Values, label: str = "") -> Family:
    """What only grows."""
    return Family(name, "counter", about, _samples(values, label))


def histogram(name: str, about: str, found: Histogram) -> Family:
    """How values are spread."""
    bounds = [*(f"{bound:g}" for bound in found.bounds), "+Inf"]
    counts = list(accumulate(found.counts))
    buckets = [Sample(count, {"le": bound}, "_bucket") for bound, count in zip(bounds, counts, strict=True)]
    totals = Sample(found.total, suffix="_sum"), Sample(counts[-1], suffix="_count")
    return Family(name, "histogram", about, [*buckets, *totals])


def render(families: Iterable[Family]) -> str:
    """All of them, each with its help and its type."""
    return "".join(f"{line}\n" for family in families for line in _lines(family))


def _samples(values: Values, label: str) -> list[Sample]:
    if isinstance(values, Mapping):
        return [Sample(value, {label: name}) for name, value in values.items()]
    return [Sample(values)]


def _lines(family: Family) -> Iterable[str]:
    yield f"# HELP {family.name} {family.help}"
    yield f"# TYPE {family.name} {family.kind}"
    for one in family.samples:
        labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in one.labels.items())
        yield f"{family.name}{one.suffix}{f'{{{labels}}}' if labels else ''} {_number(one.value)}"


def _number(value: float) -> str:
    return repr(int(value)) if value == int(value) else repr(value)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
