"""What the clients saw: one line for each request, as load.js logs it."""

from collections import Counter
from typing import NamedTuple

ACCEPTED = 202


class Sent(NamedTuple):
    """A request, and what its client learned."""

    began_ms: int
    answered_ms: int
    user_id: int
    coupon_id: int
    status: int
    reason: str
    response_ms: float
    request_id: str
    outcome_ms: float | None

    @property
    def is_accepted(self):
        return self.status == ACCEPTED

    @property
    def has_failed(self):
        """No answer, or a 5xx: an answer that no policy and no stock explains."""
        return self.status == 0 or self.status >= 500


def read(path):
    """All requests of a run."""
    with open(path) as lines:
        return [_parse(line.rstrip("\n")) for line in lines]


def _parse(line):
    began_ms, answered_ms, user_id, coupon_id, status, reason, response_ms, request_id, outcome_ms = line.split(",")
    return Sent(
        int(began_ms),
        int(answered_ms),
        int(user_id),
        int(coupon_id),
        int(status),
        reason,
        float(response_ms),
        request_id,
        float(outcome_ms) if outcome_ms else None,
    )


def refusals(sent, outcomes):
    """Refusals and rejections by reason."""
    refused = Counter(request.reason for request in sent if not request.is_accepted)
    return refused + Counter(outcome["reason"] for outcome in outcomes if outcome["status"] == "REJECTED")
