import unittest

from ..spread import differs, odds_of_chance, quantile, spread


class Quantile(unittest.TestCase):
    def test_it_is_the_smallest_value_that_the_share_does_not_exceed(self):
        values = list(range(1, 101))
        self.assertEqual([quantile(values, share) for share in (0.5, 0.95, 0.99, 1)], [50, 95, 99, 100])

    def test_the_order_of_the_values_does_not_matter(self):
        self.assertEqual(quantile([30, 10, 20], 0.5), 20)

    def test_it_is_unknown_while_there_are_too_few_values(self):
        self.assertIsNone(quantile(range(999), 0.999))
        self.assertEqual(quantile(range(1000), 0.999), 998)
        self.assertIsNone(quantile(range(99), 0.99))
        self.assertIsNone(quantile([], 1))

    def test_the_maximum_needs_one_value(self):
        self.assertEqual(quantile([7], 1), 7)


class Spread(unittest.TestCase):
    def test_it_is_the_median_and_the_range(self):
        found = spread([10, 40, 20])
        self.assertEqual((found.median, found.low, found.high, found.width), (20, 10, 40, 30))

    def test_it_leaves_out_what_was_not_measured(self):
        self.assertEqual(spread([None, 4, 2]).median, 3)
        self.assertIsNone(spread([None, None]))


class Difference(unittest.TestCase):
    def test_a_difference_smaller_than_the_spread_is_none(self):
        self.assertFalse(differs(spread([10, 11, 15]), spread([16, 16, 16])))
        self.assertFalse(differs(spread([15, 15, 15]), spread([12, 13, 14.5])))

    def test_a_difference_larger_than_both_spreads_counts_in_both_directions(self):
        self.assertTrue(differs(spread([10, 11, 12]), spread([14, 15, 16])))
        self.assertTrue(differs(spread([14, 15, 16]), spread([10, 11, 12])))

    def test_repetitions_that_overlap_show_no_difference(self):
        self.assertFalse(differs(spread([0, 0, 10]), spread([2, 12, 12])))

    def test_equal_values_show_no_difference(self):
        self.assertFalse(differs(spread([5, 5, 5]), spread([5, 5, 5])))

    def test_one_repetition_shows_no_difference(self):
        self.assertFalse(differs(spread([1]), spread([100, 100, 100])))

    def test_three_repetitions_lie_apart_by_chance_once_in_ten(self):
        # Of the 20 orders of three and three repetitions, two put one candidate before the other.
        self.assertEqual([odds_of_chance(repetitions) for repetitions in (2, 3, 5)], [3, 10, 126])
