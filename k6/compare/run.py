"""One run, from its campaigns to its outcomes."""

import datetime
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import audit, load
from .figures import Observed
from .watch import Watch

POLICY_ID = 21
# A limit may count all requests of a user, whatever the coupon. So every run has users of its own.
USERS_PER_RUN = 1_000_000
FLOOD_TOTAL = 10_000_000
# A change that is made on one gateway reaches the others within this time.
PROPAGATED_WITHIN_SECONDS = 2


@dataclass
class Stage:
    """Where the runs take place."""

    admin: object
    database: object
    processes: dict
    k6: str
    folder: Path
    seed: int
    # Of each candidate, the fuel of a call by hook.
    fuel: dict


def perform(stage, run, scenario, name):
    """Runs a scenario with a candidate, and returns all that it left behind. `name` is that of its files."""
    admin = stage.admin
    admin.put("/admin/pipeline", run.candidate.pipelines[0])
    campaigns = _create_campaigns(admin, scenario)
    if len(admin.addresses) > 1:
        time.sleep(PROPAGATED_WITHIN_SECONDS)
    before = _Counters(stage)
    watch = Watch(admin, stage.processes)
    watch.start()
    sent, dropped, changes = _load(stage, run, scenario, campaigns, name)
    audit.await_settled(admin, campaigns.coupon_ids, sent)
    watch.stop()
    policy_us, locks = _Counters(stage).since(before)
    unsold = sum(audit.remaining(admin, coupon_id) for coupon_id in campaigns.coupon_ids)
    outcomes = [_outcome(line) for coupon_id in campaigns.coupon_ids for line in admin.outcomes(coupon_id)]
    audit.check_complete(sent, outcomes)
    for coupon_id in campaigns.all():
        admin.post(f"/admin/coupons/{coupon_id}/close")
    return Observed(
        sent=sent,
        outcomes=outcomes,
        dropped=dropped,
        changes=changes,
        unsold=unsold,
        shards=scenario["shards"],
        lag=watch.lag,
        memory_mib=watch.memory_mib,
        cpu_seconds=watch.cpu_seconds,
        policy_us=policy_us,
        fuel=stage.fuel[run.candidate],
        locks=locks,
    )


@dataclass
class _Campaigns:
    """The campaigns of a run. The number of its first user is also that of its first coupon."""

    first_user: int
    coupon_ids: list
    flood_id: int | None

    def all(self):
        return [*self.coupon_ids, *([self.flood_id] if self.flood_id else [])]


def _create_campaigns(admin, scenario):
    first_user = int(time.time()) * USERS_PER_RUN
    coupon_ids = list(range(first_user, first_user + scenario["campaigns"]))
    for coupon_id in coupon_ids:
        _create(admin, coupon_id, scenario)
    flood_id = coupon_ids[-1] + 1 if "flood" in scenario else None
    if flood_id:
        _create(admin, flood_id, {"total": FLOOD_TOTAL, "shards": 1, "perUserLimit": 1})
    return _Campaigns(first_user, coupon_ids, flood_id)


def _create(admin, coupon_id, scenario):
    campaign = {key: scenario[key] for key in ("total", "shards", "perUserLimit")}
    admin.post("/admin/coupons", {"couponId": coupon_id, "policyId": POLICY_ID, **campaign})


def _load(stage, run, scenario, campaigns, name):
    """All requests, the number of dropped ones, and the number of changes of the pipeline meanwhile."""
    description = {
        "scenario": scenario,
        "couponIds": campaigns.coupon_ids,
        "floodCouponId": campaigns.flood_id,
        "firstUser": campaigns.first_user,
        # The same crowd for all candidates of a repetition.
        "seed": stage.seed + run.repetition * USERS_PER_RUN,
    }
    stopping = threading.Event()
    with ThreadPoolExecutor(max_workers=1) as pool:
        changing = pool.submit(_change_in_turn, stage.admin, run.candidate, stopping)
        try:
            sent, dropped = load.send(stage.k6, stage.folder, name, description)
        finally:
            stopping.set()
    return sent, dropped, changing.result()


def _change_in_turn(admin, candidate, stopping):
    """Activates the pipelines of a candidate in turn until `stopping` is set, and returns the number of changes."""
    changes = 0
    while len(candidate.pipelines) > 1 and not stopping.wait(candidate.every_seconds):
        changes += 1
        admin.put("/admin/pipeline", candidate.pipelines[changes % len(candidate.pipelines)])
    return changes


class _Counters:
    """Totals since the processes started. What a run adds is the difference."""

    def __init__(self, stage):
        metrics = stage.admin.metrics()
        self.calls = {hook: self._calls(metrics, hook) for hook in ("rate-shaper", "user-limit", "shard-picker")}
        self.locks = stage.database.locks()

    @staticmethod
    def _calls(metrics, hook):
        name = "sluice_policy_call_seconds"
        return tuple(sum(process.sum(f"{name}_{part}", hook=hook) for process in metrics) for part in ("sum", "count"))

    def since(self, before):
        """Microseconds for one policy call by hook, and the locks."""
        policy_us = {}
        for hook, (seconds, calls) in self.calls.items():
            seconds, calls = seconds - before.calls[hook][0], calls - before.calls[hook][1]
            policy_us[hook] = 1e6 * seconds / calls if calls else None
        return policy_us, {name: count - before.locks[name] for name, count in self.locks.items()}


def _outcome(line):
    """A line of the export, with its times in milliseconds since 1970."""
    return {**line, "arrivedAtMs": _milliseconds(line["arrivedAt"]), "settledAtMs": _milliseconds(line["settledAt"])}


def _milliseconds(text):
    return round(datetime.datetime.fromisoformat(text).timestamp() * 1000)
