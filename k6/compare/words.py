"""Numbers and lists, as the report writes them."""

import re


def amount(value, unit):
    """A number with its unit: three significant digits, but whole numbers in full."""
    if float(value).is_integer() or abs(value) >= 100:
        text = f"{round(value):,}"
    else:
        text = f"{value:.3g}"
    separator = "" if unit in ("", "/s", "%") else " "
    return f"{text}{separator}{unit}"


def measured(spread, unit):
    """The median with its range: `41 ms (38–45)`."""
    if spread.width == 0:
        return amount(spread.median, unit)
    return f"{amount(spread.median, unit)} ({amount(spread.low, '')}–{amount(spread.high, '')})"


def change(before, after, unit):
    """How much `after` is above or below `before`: in percent, as a multiple from ten on, or as a number if there is no
    ratio to 0, or if both are percentages already."""
    sign = "+" if after >= before else "−"
    if unit == "%":
        return f"{sign}{amount(abs(after - before), '')} points"
    if before == 0:
        return sign + amount(abs(after), unit)
    ratio = after / before
    return f"×{amount(round(ratio), '')}" if ratio >= 10 else f"{sign}{amount(round(100 * abs(ratio - 1)), '%')}"


def any_of(names):
    """`a`, `b` or `c`."""
    return _join(names, "or")


def all_of(names):
    """`a`, `b` and `c`."""
    return _join(names, "and")


def _join(names, word):
    *others, last = names
    return f"{', '.join(others)} {word} {last}" if others else last


def plain(markup):
    """Text without its marks for code and bold."""
    return re.sub(r"\*\*|`", "", markup)


def file_name(text):
    """Text as the name of a file: `drop-lottery-half-1`."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())
