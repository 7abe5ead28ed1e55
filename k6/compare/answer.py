"""Which candidate for which scenario: by how much, and with what confidence."""

import itertools
from dataclasses import dataclass

from .fairness import TOLERANCE_MS
from .figures import describe
from .spread import differs, odds_of_chance
from .words import all_of, amount, any_of, change, measured

# The first figure in which candidates differ decides, and the next one decides among those that remain. Promises come
# before speed: a coupon that nobody gets and a coupon out of order cannot be made up for by a fast response.
DECIDING = (
    "failed_requests",
    "unsold_coupons",
    "displaced_coupons",
    "outcome_p99_ms",
    "response_p99_ms",
    "steals",
)
# Of the planned requests.
DROPPED_SHARE_MAX = 0.02
QUESTION = {"pickers": "shard picker", "shapers": "rate shaper", "limits": "user limit"}


@dataclass(frozen=True)
class Step:
    """A figure that rules candidates out."""

    figure: str
    best: object
    worse: tuple


def recommend(cells):
    """The candidates that no deciding figure rules out, and the steps that ruled the others out."""
    remaining, steps = list(cells), []
    for figure in DECIDING:
        best = best_of(remaining, figure)
        worse = tuple(cell for cell in remaining if best and is_worse(cell, best, figure))
        if worse:
            remaining = [cell for cell in remaining if cell not in worse]
            steps.append(Step(figure, best, worse))
    return remaining, steps


def best_of(cells, figure):
    """The candidate with the best median, or None if the figure was measured for none or has no better direction."""
    better = describe(figure).better
    known = [cell for cell in cells if cell.spreads.get(figure)]
    return max(known, key=lambda cell: better * cell.median(figure)) if known and better else None


def is_worse(cell, best, figure):
    """Whether a candidate is measurably worse than the best one."""
    found = cell.spreads.get(figure)
    return found is not None and differs(found, best.spreads[figure])


def sentence(cells, scenario, group):
    """The answer for one scenario and hook."""
    question = f"**{scenario}**, {QUESTION[group]}"
    kept, steps = recommend(cells)
    if not steps:
        return f"{question}: any. No deciding figure differed by more than its spread."
    names = any_of(f"`{cell.candidate}`" for cell in kept)
    tie = ", between which no deciding figure differed by more than its spread" if len(kept) > 1 else ""
    return f"{question}: {names}{tie}. {' '.join(_explain(step) for step in steps)}"


def _explain(step):
    figure = describe(step.figure)
    label = figure.label[0].upper() + figure.label[1:]
    ranked = sorted(step.worse, key=lambda cell: -figure.better * cell.median(step.figure))
    text = f"{label}: {measured(step.best.spreads[step.figure], figure.unit)} with `{step.best.candidate}`, "
    text += f"against {_compare(ranked[0], step)}"
    return f"{text}, up to {_compare(ranked[-1], step)}." if len(ranked) > 1 else f"{text}."


def _compare(cell, step):
    own, best, unit = cell.spreads[step.figure], step.best.spreads[step.figure], describe(step.figure).unit
    return f"{measured(own, unit)} with `{cell.candidate}` ({change(best.median, own.median, unit)})"


def difference(cells, figure):
    """Which candidates are best in a figure and by how much the worst is behind, or that there is no difference."""
    best = best_of(cells, figure)
    if len(cells) < 2 or best is None:
        return ""
    worse = [cell for cell in cells if is_worse(cell, best, figure)]
    if not worse:
        return "none"
    better = describe(figure).better
    worst = min(worse, key=lambda cell: better * cell.median(figure))
    names = ", ".join(f"`{cell.candidate}`" for cell in cells if cell.spreads.get(figure) and cell not in worse)
    return f"{names}; worst {change(best.median(figure), worst.median(figure), describe(figure).unit)}"


def about_order(cells):
    """How far the pickers depart from the order of arrival, at worst."""
    known = [cell for cell in cells if cell.group == "pickers" and cell.median("refused_users")]
    if not known:
        return "**Order of arrival**: every user got a coupon, so no order can be judged."
    worst = max(known, key=lambda cell: cell.median("displaced_coupons"))
    if not worst.median("displaced_coupons"):
        return (
            f"**Order of arrival**: with every shard picker, no coupon of a median run went to a user who arrived more "
            f"than {TOLERANCE_MS} ms after all those whom a single queue would have served."
        )
    coupons = amount(worst.median("displaced_coupons"), "")
    return (
        f"**Order of arrival**: with any shard picker, at most {coupons} coupons of a run went to users who arrived "
        f"more than {TOLERANCE_MS} ms after all those whom a single queue would have served (`{worst.candidate}` in "
        f"{worst.scenario}). The best achievable is 0."
    )


def about_control(cells):
    """How often equal pipelines differ: what chance does in this very comparison. Nothing if no two are equal."""
    pairs = [
        (one, other)
        for one, other in itertools.combinations(cells, 2)
        if one.scenario == other.scenario and one.pipelines == other.pipelines
    ]
    both = [
        (one.spreads[figure], other.spreads[figure])
        for one, other in pairs
        for figure in one.spreads.keys() & other.spreads.keys()
        if describe(figure).better and one.spreads[figure] and other.spreads[figure]
    ]
    if not both:
        return []
    names = all_of(dict.fromkeys(f"`{cell.candidate}`" for pair in pairs for cell in pair))
    by_chance = sum(differs(one, other) for one, other in both)
    return [
        f"**Control**: {names} are one pipeline. {by_chance} of {len(both)} figures differ between them, by chance."
    ]


def about_generator(cells):
    """Whether the load was the planned one. Nothing to say if it was."""
    late = {cell: dropped for cell in cells if (dropped := _dropped_share(cell)) > DROPPED_SHARE_MAX}
    if not late:
        return []
    share = amount(100 * max(late.values()), "%")
    return [
        f"**Load generator**: too late for up to {share} of the requests, in {len(late)} of {len(cells)} columns. "
        "Their load was smaller than planned, because the machine was too busy."
    ]


def _dropped_share(cell):
    dropped = cell.median("dropped_iterations")
    return dropped / (dropped + cell.median("requests"))


def confidence(cells):
    """What chance alone does."""
    repetitions = min(len(cell.spreads["failed_requests"].values) for cell in cells)
    if repetitions < 2:
        return "One repetition has no spread, so no difference is reported. Run at least three."
    odds = odds_of_chance(repetitions)
    return (
        f"Values are the median of {repetitions} repetitions, with the lowest and the highest. A difference counts if "
        "it is larger than the spread, and if every repetition of one candidate is better than every repetition of the "
        f"other. Equal candidates differ like this in at most one of {odds} comparisons, so read one row with care."
    )


def about_changes(changed, still):
    """What changes of the pipeline during a run cost, next to a run without."""
    return [_about_change(cell, still) for cell in changed]


def _about_change(cell, still):
    changes, failed = (amount(cell.median(name), "") for name in ("pipeline_changes", "failed_requests"))
    text = f"**{cell.scenario}**, {cell.candidate}: {changes} changes during a run, {failed} failed requests."
    own, other = (found and found.spreads.get("response_p99_ms") for found in (cell, still))
    if not own or not other:
        return text
    verdict = change(other.median, own.median, "ms") if differs(own, other) else "no difference"
    return f"{text} Response p99: {measured(own, 'ms')}, without changes {measured(other, 'ms')}: {verdict}."
