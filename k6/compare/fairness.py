"""How far the outcomes of a campaign depart from "first come, first served".

A user arrives when the client begins its first request, before the network and the gateway. Two arrivals less than
TOLERANCE_MS apart have no order: the gateway may well have received them the other way round. A single queue in the
order of arrival would serve the first users and no others. So it has no inversions and no displaced coupons, and 0 is
the best achievable value of both.
"""

from dataclasses import dataclass, field

TOLERANCE_MS = 50


@dataclass
class Fairness:
    """The sums over campaigns."""

    refused_users: int = 0
    # For each user who got nothing although somebody who arrived later was served: how much later, in ms.
    inversions_ms: list = field(default_factory=list)
    # Coupons of users who arrived after all those whom a single queue would have served.
    displaced_coupons: int = 0

    def add(self, arrived_ms, served):
        """Adds a campaign: the arrivals by user, and the set of the users who got a coupon."""
        served = served & arrived_ms.keys()
        self.refused_users += len(arrived_ms) - len(served)
        if not served:
            return
        last_served_ms = max(arrived_ms[user] for user in served)
        leads = (last_served_ms - arrived for user, arrived in arrived_ms.items() if user not in served)
        self.inversions_ms += [lead for lead in leads if lead > TOLERANCE_MS]
        last_in_queue_ms = sorted(arrived_ms.values())[len(served) - 1]
        self.displaced_coupons += sum(arrived_ms[user] > last_in_queue_ms + TOLERANCE_MS for user in served)


def measure(sent, outcomes):
    """The fairness of a run: its requests, and its outcomes."""
    arrived_ms = {}
    for request in sent:
        arrivals = arrived_ms.setdefault(request.coupon_id, {})
        arrivals[request.user_id] = min(request.began_ms, arrivals.get(request.user_id, request.began_ms))
    served = {coupon_id: set() for coupon_id in arrived_ms}
    for outcome in outcomes:
        if outcome["status"] == "ISSUED":
            served[outcome["couponId"]].add(outcome["userId"])
    fairness = Fairness()
    for coupon_id, arrivals in arrived_ms.items():
        fairness.add(arrivals, served[coupon_id])
    return fairness
