import json
import tempfile
import unittest
from pathlib import Path

from .. import document, markdown, page, results
from ..admin import Metrics
from ..figures import measure, series
from ..plan import Candidate, Run
from ..results import ResultsError
from ..spread import spread
from ..words import amount, change, file_name, measured
from .test_figures import observed

ABOUT = {
    "began": "2026-01-01 00:00:00",
    "seconds": 61,
    "runs": 4,
    "planned": 4,
    "requests": 20,
    "repetitions": 2,
    "seed": 1,
    "scale": 0.5,
    "full": False,
    "backend": "embedded",
    "machine": "a machine",
    "commit": "abc",
}
SCENARIOS = {"drop": {"about": "A <drop>.", "shards": 4}}
PICKERS = [Candidate("pickers", name, ({},)) for name in ("random", "weighted")]


def collected(predictions=None, **changes):
    records = [
        (Run(repetition, "drop", picker), measure(run := observed(**changes)), series(run))
        for repetition in (1, 2)
        for picker in reversed(PICKERS)
    ]
    return results.collect(ABOUT, SCENARIOS, PICKERS, records, predictions or {})


class Results(unittest.TestCase):
    def test_they_are_the_same_after_they_were_stored(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.json"
            results.write(path, collected())
            read = results.read(path)
        self.assertEqual([cell.candidate for cell in results.cells(read)], ["random", "weighted"])
        self.assertEqual(results.cells(read)[0].spreads, results.cells(collected())[0].spreads)

    def test_another_file_is_an_error_that_names_it(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "other.json"
            for text in ("", "[]", "{}", '{"format": 99}'):
                path.write_text(text)
                with self.assertRaisesRegex(ResultsError, "other.json holds no results of a comparison"):
                    results.read(path)


class Report(unittest.TestCase):
    def test_it_begins_with_the_answer(self):
        text = markdown.render(document.build(collected()))
        self.assertTrue(
            text.startswith("# Policies compared\n\n## The answer\n\n- **drop**, shard picker: any."), text[:200]
        )

    def test_an_absent_figure_is_said_to_be_absent(self):
        text = markdown.render(document.build(collected()))
        self.assertIn("| deadlocks | not on this backend | not on this backend |  |", text)

    def test_the_page_needs_no_network(self):
        text = page.render(document.build(collected()), "/* the library */")
        self.assertNotRegex(text, r"(?:src|href)=|https?://|@import|url\(")
        self.assertIn("A &lt;drop&gt;.", text)

    def test_every_chart_has_a_canvas_and_its_data(self):
        text = page.render(document.build(collected()), "")
        data = text.split('type="application/json">')[1].split("</script>")[0]
        self.assertEqual(len(json.loads(data)), text.count("<canvas>"))

    def test_two_comparisons_are_compared(self):
        slower = collected(sent=[request._replace(response_ms=9.0) for request in observed().sent])
        text = markdown.render(document.build(slower, collected()))
        self.assertIn("| drop | `random` | response p50 | 1.5 ms | 9 ms | +500%, worse |", text)

    def test_a_prediction_stands_next_to_its_measurement(self):
        self.assertNotIn("Predicted", markdown.render(document.build(collected())))
        found = collected({("drop", "random"): {"steals": 2}})
        self.assertIn("| 2 | 1 | +100% |", markdown.render(document.build(found)))


class Words(unittest.TestCase):
    def test_a_number_has_three_digits_or_is_whole(self):
        self.assertEqual(
            [amount(value, "ms") for value in (0.1234, 12.34, 123.4, 5.0, 12345)],
            ["0.123 ms", "12.3 ms", "123 ms", "5 ms", "12,345 ms"],
        )

    def test_a_range_is_left_out_if_it_is_empty(self):
        self.assertEqual(measured(spread([3, 3, 3]), "ms"), "3 ms")
        self.assertEqual(measured(spread([2, 3, 7]), "/s"), "3/s (2–7)")

    def test_a_change_from_zero_has_no_percentage(self):
        self.assertEqual([change(10, 15, ""), change(10, 5, ""), change(0, 7, "ms")], ["+50%", "−50%", "+7 ms"])
        self.assertEqual(change(10, 12.5, "%"), "+2.5 points")
        self.assertEqual([change(2, 19, ""), change(2, 20, "")], ["+850%", "×10"])

    def test_every_name_of_a_candidate_is_the_name_of_a_file(self):
        self.assertEqual(file_name("drop token-bucket, 1,000/s 2"), "drop-token-bucket-1-000-s-2")


class ReadMetrics(unittest.TestCase):
    def test_series_are_summed_by_name_and_labels(self):
        text = '# HELP a b\na_total{hook="x",v="1"} 2\na_total{hook="x",v="2"} 3\na_total{hook="y"} 9\nb 1.5e3\n'
        self.assertEqual(Metrics(text).sum("a_total", hook="x"), 5)
        self.assertEqual(Metrics(text).sum("b"), 1500)
