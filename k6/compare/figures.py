"""The figures of the comparison, and how each is computed from one run."""

import statistics
from collections import Counter
from dataclasses import dataclass

from . import fairness, requests
from .spread import quantile

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p999": 0.999, "max": 1}
SERIES_STEP_MS = 250


@dataclass(frozen=True)
class Figure:
    label: str
    unit: str = ""
    # -1: lower is better. 1: higher is better. 0: neither, it only describes.
    better: int = -1
    absent: str = "not measured"


def _latencies(name, what):
    titles = {"p50": "p50", "p95": "p95", "p99": "p99", "p999": "p99.9", "max": "max"}
    few = "too few requests to tell"
    return {f"{name}_{key}_ms": Figure(f"{what} {title}", "ms", absent=few) for key, title in titles.items()}


FIGURES = {
    "requests": Figure("requests", better=0),
    "accepted_per_second": Figure("accepted", "/s", 1),
    "granted_per_second": Figure("granted", "/s", 1, "nothing was granted"),
    "unsold_coupons": Figure("coupons not issued", absent="every user got one"),
    **_latencies("response", "response"),
    **_latencies("outcome", "outcome"),
    "pipeline_changes": Figure("changes of the pipeline during the run", better=0),
    "failed_requests": Figure("failed requests"),
    "dropped_iterations": Figure("requests not sent, because the load generator was late", better=0),
    "peak_lag_records": Figure("peak lag", "records"),
    "drain_ms": Figure("time to drain after the last response", "ms", absent="nothing was accepted"),
    "skew_percent": Figure("most picked shard above the mean", "%", absent="nothing was accepted"),
    "steals": Figure("coupons from another shard than the picked one"),
    "sold_out_after_ms": Figure("from the last coupon to the first SOLD_OUT", "ms", absent="not sold out"),
    "refused_users": Figure("users without a coupon", better=0),
    "inverted_users": Figure("users without a coupon, although a later one got one"),
    "inversion_median_ms": Figure("how much later, median", "ms", absent="no inversion"),
    "inversion_max_ms": Figure("how much later, max", "ms", absent="no inversion"),
    "displaced_coupons": Figure("coupons that a single queue would have given to others"),
    "lock_waits": Figure("lock waits", absent="not on this backend"),
    "deadlocks": Figure("deadlocks", absent="not on this backend"),
}
# Figures with a part of their name that the run decides: a reason, a hook or a process.
FAMILIES = {
    "refused": Figure("refused, {}", better=0),
    "policy_us": Figure("one call of the {}", "µs"),
    "fuel": Figure("fuel of one call of the {}", absent="not in the policies folder"),
    "cpu_seconds": Figure("CPU of {}", "s"),
    "memory_mib": Figure("peak memory of {}", "MiB"),
}


def describe(name):
    """The figure of this name, such as `drain_ms` or `refused.SOLD_OUT`."""
    family, _, part = name.partition(".")
    if not part:
        return FIGURES[name]
    figure = FAMILIES[family]
    return Figure(figure.label.format(part), figure.unit, figure.better, figure.absent)


def unmentioned(name):
    """The value of a figure that a run does not mention: it refused nobody for this reason, or had no such process."""
    return 0 if name.startswith("refused.") else None


@dataclass
class Observed:
    """All that one run left behind."""

    sent: list
    outcomes: list
    dropped: int
    changes: int
    unsold: int
    shards: int
    lag: list
    memory_mib: dict
    cpu_seconds: dict
    policy_us: dict
    fuel: dict
    locks: dict


def measure(run):
    """Every figure of a run by name. None where there is nothing to measure."""
    settled_ms = {outcome["requestId"]: outcome["settledAtMs"] for outcome in run.outcomes}
    issued = [outcome for outcome in run.outcomes if outcome["status"] == "ISSUED"]
    began_ms = min(request.began_ms for request in run.sent)
    ended_ms = max(request.answered_ms for request in run.sent)
    accepted = [request for request in run.sent if request.is_accepted]
    fair = fairness.measure(run.sent, run.outcomes)
    return {
        "requests": len(run.sent),
        "accepted_per_second": 1000 * len(accepted) / (ended_ms - began_ms),
        "granted_per_second": _rate(issued, began_ms),
        "unsold_coupons": run.unsold if fair.refused_users else None,
        **_quantiles("response", [request.response_ms for request in run.sent if request.status]),
        **_quantiles("outcome", [request.outcome_ms for request in run.sent if request.outcome_ms is not None]),
        "pipeline_changes": run.changes,
        "failed_requests": sum(request.has_failed for request in run.sent),
        "dropped_iterations": run.dropped,
        "peak_lag_records": max(records for _, records in run.lag),
        "drain_ms": max(0, max(settled_ms.values()) - ended_ms) if settled_ms else None,
        "skew_percent": _skew([outcome["pickedShardNo"] for outcome in run.outcomes], run.shards),
        "steals": sum(outcome["shardNo"] != outcome["pickedShardNo"] for outcome in issued),
        "sold_out_after_ms": _sold_out_after(run.sent, run.outcomes),
        "refused_users": fair.refused_users,
        "inverted_users": len(fair.inversions_ms),
        "inversion_median_ms": statistics.median(fair.inversions_ms) if fair.inversions_ms else None,
        "inversion_max_ms": max(fair.inversions_ms, default=None),
        "displaced_coupons": fair.displaced_coupons,
        "lock_waits": run.locks.get("lock_waits"),
        "deadlocks": run.locks.get("deadlocks"),
        **_family("refused", requests.refusals(run.sent, run.outcomes)),
        **_family("policy_us", run.policy_us),
        **_family("fuel", run.fuel),
        **_family("cpu_seconds", run.cpu_seconds),
        **_family("memory_mib", run.memory_mib),
    }


def series(run):
    """What changes during a run, as (seconds since its first request, value)."""
    began_ms = min(request.began_ms for request in run.sent)
    response = _steps((request.began_ms - began_ms, request.response_ms) for request in run.sent)
    picked = _steps((outcome["arrivedAtMs"] - began_ms, outcome["pickedShardNo"]) for outcome in run.outcomes)
    skew, so_far = [], []
    for seconds, shards in picked:
        so_far += shards
        skew.append((seconds, _skew(so_far, run.shards)))
    return {
        "lag_records": run.lag,
        "response_p95_ms": [(seconds, quantile(values, 0.95)) for seconds, values in response],
        "skew_percent": skew,
    }


def _steps(points):
    """The values of each step of time, in order."""
    steps = {}
    for milliseconds, value in points:
        steps.setdefault(int(milliseconds // SERIES_STEP_MS), []).append(value)
    return [(step * SERIES_STEP_MS / 1000, steps[step]) for step in sorted(steps)]


def _rate(issued, began_ms):
    if not issued:
        return None
    last_ms = max(outcome["settledAtMs"] for outcome in issued)
    return 1000 * len(issued) / max(1, last_ms - began_ms)


def _quantiles(name, values):
    return {f"{name}_{key}_ms": quantile(values, share) for key, share in QUANTILES.items()}


def _family(family, values):
    return {f"{family}.{part}": value for part, value in values.items()}


def _skew(picked, shards):
    """By how many percent the most picked shard is above the mean of all shards."""
    if not picked:
        return None
    return 100 * (max(Counter(picked).values()) * shards / len(picked) - 1)


def _sold_out_after(sent, outcomes):
    """From the last coupon of a campaign until anybody learned that there are none. The longest of all campaigns."""
    last_issued, first_sold_out = {}, {}
    for outcome in outcomes:
        coupon_id, settled_ms = outcome["couponId"], outcome["settledAtMs"]
        if outcome["status"] == "ISSUED":
            last_issued[coupon_id] = max(settled_ms, last_issued.get(coupon_id, settled_ms))
        elif outcome["reason"] == "SOLD_OUT":
            first_sold_out[coupon_id] = min(settled_ms, first_sold_out.get(coupon_id, settled_ms))
    for request in sent:
        if request.reason == "SOLD_OUT":
            earliest = first_sold_out.get(request.coupon_id, request.answered_ms)
            first_sold_out[request.coupon_id] = min(request.answered_ms, earliest)
    waits = [
        first_sold_out[coupon_id] - last_issued[coupon_id] for coupon_id in first_sold_out.keys() & last_issued.keys()
    ]
    return max(waits, default=None)
