"""What a report consists of. Text may contain `code` and **bold**."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Bullets:
    lines: tuple


@dataclass(frozen=True)
class Table:
    header: tuple
    rows: tuple


@dataclass(frozen=True)
class Ranges:
    """A chart of (low, median, high) for each label."""

    title: str
    unit: str
    labels: tuple
    ranges: tuple


@dataclass(frozen=True)
class Lines:
    """A chart over time: (seconds, value) by name."""

    title: str
    unit: str
    points: dict
