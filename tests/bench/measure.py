"""Figures: what was measured, how often, and how it compares with what it should be."""

import dataclasses
import statistics
import time
from typing import Optional


@dataclasses.dataclass
class Figure:
    """
    Samples of one thing, in ``unit``; ``limit`` is what their median may be at most.

    A ratio is a figure, too: its samples are ratios of what was measured side by side.
    """

    name: str
    samples: list
    unit: str = "ms"
    limit: Optional[float] = None

    @property
    def median(self):
        return statistics.median(self.samples)

    @property
    def good(self):
        return self.limit is None or self.median <= self.limit

    def as_data(self):
        return {
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "least": min(self.samples),
            "most": max(self.samples),
            "samples": len(self.samples),
            "limit": self.limit,
            "good": self.good,
        }


def timed(function):
    """Return how long a call takes, in milliseconds."""
    began = time.perf_counter()
    function()
    return (time.perf_counter() - began) * 1000


def ratio(name, figure, base, limit=None):
    """Compare two figures that were sampled in turn: the n-th of one with the n-th of the other."""
    pairs = zip(figure.samples, base.samples)
    return Figure(name, [one / other for one, other in pairs], "times", limit)


def table(figures):
    """Return the figures as lines of text."""
    rows = [("", "median", "least", "most", "limit", "")]
    for figure in figures:
        numbers = (figure.median, min(figure.samples), max(figure.samples))
        limit = "" if figure.limit is None else f"{figure.limit:g}"
        verdict = "" if figure.limit is None else "ok" if figure.good else "TOO MUCH"
        unit = f"{figure.name} ({figure.unit}, {len(figure.samples)} samples)"
        rows.append((unit, *(f"{number:.2f}" for number in numbers), limit, verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
