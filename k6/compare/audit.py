"""Whether the gateway kept its promises in a run."""

import json
import time

SETTLED_WITHIN_SECONDS = 120
POLL_SECONDS = 0.1


class AuditError(Exception):
    """A promise that the gateway broke."""


def await_settled(admin, coupon_ids, sent):
    """Waits for an outcome of every accepted request. The lag alone could be one of before the last request."""
    accepted = len({request.request_id for request in sent if request.is_accepted})
    deadline = time.monotonic() + SETTLED_WITHIN_SECONDS
    while time.monotonic() < deadline:
        audits = [admin.get(f"/admin/coupons/{coupon_id}/audit") for coupon_id in coupon_ids]
        settled = sum(audit[key] for audit in audits for key in ("granted", "soldOut", "userLimit", "invalid"))
        if settled >= accepted and admin.lag_records() == 0:
            return
        time.sleep(POLL_SECONDS)
    raise AuditError(f"{accepted - settled} requests are not settled {SETTLED_WITHIN_SECONDS} s after the load")


def remaining(admin, coupon_id):
    """The coupons that are left, after an audit that counts every outcome."""
    audit = admin.get(f"/admin/coupons/{coupon_id}/audit?recount=true")
    recount = audit["recount"]
    broken = [
        promise
        for promise, is_kept in {
            "granted + remaining = total": audit["balanced"],
            "the tallies agree with the outcomes": recount["agrees"],
            "no user is over the limit": recount["usersOverLimit"] == 0,
            "nobody is told SOLD_OUT while stock remains": audit["soldOut"] == 0 or audit["remaining"] == 0,
        }.items()
        if not is_kept
    ]
    if broken:
        raise AuditError(f"coupon {coupon_id}: broken promise: {'; '.join(broken)}: {json.dumps(audit)}")
    return audit["remaining"]


def check_complete(sent, outcomes):
    """Every accepted request has an outcome."""
    settled = {outcome["requestId"] for outcome in outcomes}
    lost = [request.request_id for request in sent if request.is_accepted and request.request_id not in settled]
    if lost:
        raise AuditError(f"{len(lost)} accepted requests have no outcome, such as {lost[0]}")
