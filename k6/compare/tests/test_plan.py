import unittest
from collections import Counter

from ..plan import GROUPS, PlanError, choose_scenarios, load_candidates, load_scenarios, plan, scale


class Scenarios(unittest.TestCase):
    def test_a_scenario_extends_another_and_keeps_its_own_values(self):
        found = load_scenarios(full=False)
        self.assertEqual(found["shards-64"]["shards"], 64)
        self.assertEqual(found["shards-64"]["load"], found["drop"]["load"])

    def test_full_takes_the_long_form(self):
        self.assertEqual(load_scenarios(full=True)["ramp"]["load"]["stages"][2], {"duration": "1m", "target": 2000})
        self.assertEqual(load_scenarios(full=True)["shards-64"]["total"], 10000)

    def test_every_campaign_of_a_drop_has_three_users_for_a_coupon(self):
        for full in (False, True):
            found = load_scenarios(full)
            for name in ("drop", "shards-1", "shards-64"):
                self.assertEqual(found[name]["crowd"]["users"], 3 * found[name]["total"], name)

    def test_a_share_of_the_load_has_a_share_of_its_users_and_coupons(self):
        found = load_scenarios(full=False)
        drop, ramp = scale(found["drop"], 0.1), scale(found["ramp"], 0.1)
        self.assertEqual((drop["load"]["rate"], drop["crowd"]["users"], drop["total"]), (150, 750, 250))
        self.assertEqual((drop["load"]["duration"], drop["shards"]), ("5s", 12))
        self.assertEqual([stage["target"] for stage in ramp["load"]["stages"]], [5, 10, 20, 0])
        self.assertEqual(scale(found["last-hundred"], 0.001)["total"], 1)

    def test_an_unknown_scenario_is_an_error_that_lists_the_known_ones(self):
        with self.assertRaisesRegex(PlanError, "unknown scenario `dorp`: choose from drop, last-hundred, "):
            choose_scenarios(load_scenarios(full=False), ["dorp"])


class Candidates(unittest.TestCase):
    def test_a_policy_of_your_own_joins_the_others_of_its_hook(self):
        found = load_candidates([("pickers", "mine", {"key": 1})], ["pickers"])
        self.assertEqual(found[-1].name, "mine")
        self.assertEqual(found[-1].pipelines[0]["shard-picker"], {"policy": "mine", "config": {"key": 1}})
        self.assertEqual(found[-1].pipelines[0]["user-limit"]["policy"], "quota")

    def test_pickers_in_turn_are_all_pickers(self):
        found = load_candidates([("pickers", "mine", {})], ["changes"])
        policies = [pipeline["shard-picker"]["policy"] for pipeline in found[0].pipelines]
        self.assertEqual(policies[-1], "mine")
        self.assertEqual(len(policies), 6)

    def test_an_unknown_group_is_an_error(self):
        with self.assertRaisesRegex(PlanError, "unknown group `picker`"):
            load_candidates([], ["picker"])


class Plan(unittest.TestCase):
    def setUp(self):
        self.scenarios = choose_scenarios(load_scenarios(full=False), [])
        self.candidates = load_candidates([], GROUPS)

    def test_every_candidate_runs_once_in_every_repetition(self):
        runs = plan(self.scenarios, self.candidates, 3, 1)
        counts = Counter((run.repetition, run.scenario, run.candidate.group, run.candidate.name) for run in runs)
        self.assertEqual(set(counts.values()), {1})
        self.assertEqual(sorted({run.repetition for run in runs}), [1, 2, 3])

    def test_the_seed_decides_the_order(self):
        def order(seed):
            return [(run.scenario, run.candidate.name) for run in plan(self.scenarios, self.candidates, 2, seed)]

        self.assertEqual(order(1), order(1))
        self.assertNotEqual(order(1), order(2))
        half = len(order(1)) // 2
        self.assertNotEqual(order(1)[:half], order(1)[half:])
