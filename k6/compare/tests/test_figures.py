import tempfile
import unittest
from pathlib import Path

from .. import requests
from ..figures import Observed, describe, measure, series

LOG = """\
1000,1003,1,104,202,,2.5,r1,7.5
1100,1104,2,104,202,,3.5,r2,
1200,1202,3,104,202,,1.5,r3,
1300,1301,4,104,409,SOLD_OUT,0.5,,
1400,1401,5,104,503,OVERLOADED,0.5,,
"""


def outcome(request_id, user_id, settled_ms, status="ISSUED", picked=0, **more):
    return {
        "requestId": request_id,
        "couponId": 104,
        "userId": user_id,
        "status": status,
        "pickedShardNo": picked,
        "arrivedAtMs": settled_ms - 10,
        "settledAtMs": settled_ms,
        **more,
    }


def observed(**changes):
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.csv"
        log.write_text(LOG)
        sent = requests.read(log)
    values = {
        "sent": sent,
        "outcomes": [
            outcome("r1", 1, 1010, shardNo=0),
            outcome("r2", 2, 1110, shardNo=1),
            outcome("r3", 3, 1210, status="REJECTED", reason="SOLD_OUT", picked=3),
        ],
        "dropped": 4,
        "changes": 0,
        "unsold": 0,
        "shards": 4,
        "lag": [(0.2, 3), (0.4, 8), (0.6, 0)],
        "memory_mib": {"gateway": 50.0},
        "cpu_seconds": {"gateway": 0.5},
        "policy_us": {"shard-picker": 1.5},
        "fuel": {"shard-picker": 338},
        "locks": {},
    }
    return Observed(**{**values, **changes})


class Measure(unittest.TestCase):
    def test_requests_are_counted_by_what_became_of_them(self):
        found = measure(observed())
        self.assertEqual(found["refused.SOLD_OUT"], 2)
        self.assertEqual(found["refused.OVERLOADED"], 1)
        self.assertEqual(found["failed_requests"], 1)
        self.assertEqual(found["dropped_iterations"], 4)

    def test_rates_last_from_the_first_request(self):
        found = measure(observed())
        # Three accepted requests until the last response at 1401; two coupons until the last one was settled at 1110.
        self.assertAlmostEqual(found["accepted_per_second"], 3000 / 401)
        self.assertAlmostEqual(found["granted_per_second"], 2000 / 110)

    def test_latencies_are_those_of_the_clients(self):
        found = measure(observed())
        self.assertEqual((found["response_p50_ms"], found["response_max_ms"]), (1.5, 3.5))
        self.assertEqual(found["outcome_max_ms"], 7.5)
        self.assertIsNone(found["response_p99_ms"])

    def test_a_coupon_from_another_shard_than_the_picked_one_is_a_steal(self):
        self.assertEqual(measure(observed())["steals"], 1)

    def test_the_skew_compares_the_most_picked_shard_with_the_mean(self):
        # Shard 0 was picked twice, shard 3 once; the mean of four shards is 0.75.
        self.assertAlmostEqual(measure(observed())["skew_percent"], 100 * (2 / 0.75 - 1))

    def test_sold_out_is_known_from_the_first_rejection_or_refusal(self):
        # The last coupon was settled at 1110, the first rejection at 1210, the first refusal answered at 1301.
        self.assertEqual(measure(observed())["sold_out_after_ms"], 100)
        issued = observed().outcomes[:2]
        self.assertEqual(measure(observed(outcomes=issued))["sold_out_after_ms"], 191)

    def test_the_drain_begins_with_the_last_response(self):
        self.assertEqual(measure(observed())["drain_ms"], 0)
        late = [*observed().outcomes, outcome("r4", 9, 1501, shardNo=0)]
        self.assertEqual(measure(observed(outcomes=late))["drain_ms"], 100)

    def test_what_a_backend_does_not_have_is_absent_and_not_zero(self):
        found = measure(observed())
        self.assertIsNone(found["deadlocks"])
        self.assertEqual(describe("deadlocks").absent, "not on this backend")
        self.assertEqual(measure(observed(locks={"deadlocks": 0}))["deadlocks"], 0)

    def test_unsold_coupons_count_only_if_a_user_went_without(self):
        self.assertEqual(measure(observed(unsold=7))["unsold_coupons"], 7)
        sent = observed().sent[:2]
        self.assertIsNone(measure(observed(unsold=7, sent=sent, outcomes=observed().outcomes[:2]))["unsold_coupons"])

    def test_every_figure_has_a_description(self):
        for name in measure(observed()):
            self.assertTrue(describe(name).label)


class Series(unittest.TestCase):
    def test_the_skew_accumulates_over_time(self):
        # Shard 0 alone is 300 % above the mean of four shards. After half a second shard 3 is picked as well.
        outcomes = [*observed().outcomes[:2], outcome("r3", 3, 1510, picked=3, status="REJECTED", reason="SOLD_OUT")]
        skew = series(observed(outcomes=outcomes))["skew_percent"]
        self.assertEqual([(seconds, round(percent)) for seconds, percent in skew], [(0.0, 300), (0.5, 167)])
