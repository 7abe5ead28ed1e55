import random
import unittest

from ..fairness import Fairness, measure
from ..requests import Sent


def fairness(arrived_ms, served):
    found = Fairness()
    found.add(arrived_ms, served)
    return found


class Inversions(unittest.TestCase):
    def test_a_single_queue_has_none(self):
        arrivals = random.Random(7)
        arrived_ms = {user: arrivals.randrange(5000) for user in range(1000)}
        first = sorted(arrived_ms, key=arrived_ms.get)[:300]
        found = fairness(arrived_ms, set(first))
        self.assertEqual((found.refused_users, found.inversions_ms, found.displaced_coupons), (700, [], 0))

    def test_a_refused_user_is_inverted_if_a_later_one_was_served(self):
        # Users a and b got nothing, although d came 300 and 200 ms later.
        found = fairness({"a": 0, "b": 100, "c": 200, "d": 300}, {"c", "d"})
        self.assertEqual(sorted(found.inversions_ms), [200, 300])
        self.assertEqual(found.refused_users, 2)

    def test_arrivals_within_the_tolerance_have_no_order(self):
        self.assertEqual(fairness({"a": 0, "b": 50}, {"b"}).inversions_ms, [])
        self.assertEqual(fairness({"a": 0, "b": 51}, {"b"}).inversions_ms, [51])

    def test_a_coupon_is_displaced_if_a_single_queue_would_have_given_it_to_another(self):
        # The queue would have served a and b. User c came 60 ms after b, d 50 ms: only c is outside of the tolerance.
        arrived_ms = {"a": 0, "b": 100, "d": 150, "c": 160}
        self.assertEqual(fairness(arrived_ms, {"a", "c"}).displaced_coupons, 1)
        self.assertEqual(fairness(arrived_ms, {"a", "d"}).displaced_coupons, 0)

    def test_nobody_is_inverted_if_nobody_was_served(self):
        found = fairness({"a": 0, "b": 100}, set())
        self.assertEqual((found.refused_users, found.inversions_ms), (2, []))

    def test_campaigns_add_up(self):
        found = Fairness()
        found.add({"a": 0, "b": 100}, {"b"})
        found.add({"a": 0, "b": 200}, {"b"})
        self.assertEqual((found.refused_users, found.inversions_ms, found.displaced_coupons), (2, [100, 200], 2))


class Arrivals(unittest.TestCase):
    def test_a_user_arrives_with_its_first_request(self):
        def sent(began_ms, user_id):
            return Sent(began_ms, began_ms + 1, user_id, 104, 202, "", 1.0, "", None)

        # User 1 retries late and is served. It has not overtaken user 2.
        requests = [sent(500, 1), sent(0, 1), sent(100, 2)]
        found = measure(requests, [{"status": "ISSUED", "couponId": 104, "userId": 1}])
        self.assertEqual((found.refused_users, found.inversions_ms), (1, []))
