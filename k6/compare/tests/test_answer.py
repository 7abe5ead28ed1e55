import unittest

from ..answer import about_control, about_generator, difference, recommend, sentence
from ..results import Cell
from ..spread import spread


def cell(name, pipelines=(), **figures):
    measured = {"failed_requests": [0, 0, 0], **figures}
    return Cell(
        "drop",
        "pickers",
        name,
        pipelines or [name],
        {figure: spread(values) for figure, values in measured.items()},
        [],
        {},
    )


def names(cells):
    return [found.candidate for found in cells]


class Recommend(unittest.TestCase):
    def test_the_first_figure_that_differs_decides(self):
        cells = [
            cell("fast", displaced_coupons=[9, 9, 9], response_p99_ms=[1, 1, 1]),
            cell("fair", displaced_coupons=[0, 0, 0], response_p99_ms=[5, 5, 5]),
        ]
        kept, steps = recommend(cells)
        self.assertEqual(names(kept), ["fair"])
        self.assertEqual([step.figure for step in steps], ["displaced_coupons"])

    def test_later_figures_decide_among_those_that_remain(self):
        cells = [
            cell("a", displaced_coupons=[0, 1, 2], response_p99_ms=[10, 11, 12]),
            cell("b", displaced_coupons=[1, 1, 2], response_p99_ms=[20, 21, 22]),
            cell("c", displaced_coupons=[50, 51, 52], response_p99_ms=[1, 1, 1]),
        ]
        kept, steps = recommend(cells)
        self.assertEqual(names(kept), ["a"])
        self.assertEqual([names(step.worse) for step in steps], [["c"], ["b"]])

    def test_candidates_within_the_spread_all_remain(self):
        cells = [cell("a", response_p99_ms=[10, 12, 14]), cell("b", response_p99_ms=[11, 13, 15])]
        kept, steps = recommend(cells)
        self.assertEqual((names(kept), steps), (["a", "b"], []))
        self.assertIn("any", sentence(cells, "drop", "pickers"))

    def test_a_figure_that_was_not_measured_rules_nobody_out(self):
        cells = [cell("a", outcome_p99_ms=[None, None, None]), cell("b", outcome_p99_ms=[1, 1, 1])]
        self.assertEqual(names(recommend(cells)[0]), ["a", "b"])

    def test_the_sentence_says_by_how_much(self):
        cells = [
            cell("a", response_p99_ms=[10, 10, 10]),
            cell("b", response_p99_ms=[14, 15, 16]),
            cell("c", response_p99_ms=[30, 30, 30]),
        ]
        self.assertEqual(
            sentence(cells, "drop", "pickers"),
            "**drop**, shard picker: `a`. Response p99: 10 ms with `a`, against 15 ms (14–16) with `b` (+50%), up to "
            "30 ms with `c` (+200%).",
        )


class Control(unittest.TestCase):
    def test_equal_pipelines_show_how_often_chance_alone_differs(self):
        cells = [
            cell("a", ["one"], steals=[1, 1, 1], drain_ms=[5, 5, 5]),
            cell("b", ["one"], steals=[9, 9, 9], drain_ms=[5, 5, 5]),
            cell("c", ["two"], steals=[1, 1, 1]),
        ]
        self.assertEqual(
            about_control(cells),
            ["**Control**: `a` and `b` are one pipeline. 1 of 3 figures differ between them, by chance."],
        )
        self.assertEqual(about_control(cells[1:]), [])


class LoadGenerator(unittest.TestCase):
    def test_a_load_that_was_smaller_than_planned_is_reported(self):
        on_time = cell("a", requests=[1000, 1000, 1000], dropped_iterations=[0, 5, 10])
        late = cell("b", requests=[900, 900, 900], dropped_iterations=[100, 100, 100])
        self.assertEqual(about_generator([on_time]), [])
        self.assertIn("up to 10% of the requests, in 1 of 2 columns", about_generator([on_time, late])[0])


class Difference(unittest.TestCase):
    def test_it_names_the_best_and_how_far_the_worst_is_behind(self):
        cells = [
            cell("a", accepted_per_second=[100, 100, 100]),
            cell("b", accepted_per_second=[99, 100, 101]),
            cell("c", accepted_per_second=[50, 50, 50]),
        ]
        self.assertEqual(difference(cells, "accepted_per_second"), "`a`, `b`; worst −50%")

    def test_it_is_none_within_the_spread(self):
        cells = [cell("a", steals=[1, 2, 3]), cell("b", steals=[2, 3, 4])]
        self.assertEqual(difference(cells, "steals"), "none")

    def test_a_figure_that_only_describes_has_no_best(self):
        cells = [cell("a", refused_users=[1, 1, 1]), cell("b", refused_users=[9, 9, 9])]
        self.assertEqual(difference(cells, "refused_users"), "")
