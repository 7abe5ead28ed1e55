"""All runs of a comparison as one JSON document. Every report is written from it.

about       when, where, and with what options
scenarios   the scenarios, as they were run
results     for each scenario, group and candidate, with its pipelines:
    measured    figures by name: median, low and high over the repetitions, and their values
    series      for each repetition, figures over time
    simulated   figures by name as a simulation predicted them, if there is one
"""

import json
from dataclasses import dataclass

from . import figures
from .spread import spread

FORMAT = 1


class ResultsError(Exception):
    """A file that holds no results."""


def collect(about, scenarios, candidates, records, predictions):
    """The document, from (run, figures, series) of each completed run, and predictions by scenario and candidate."""
    # In the order of scenarios and candidates, not in the shuffled order of the runs.
    by_cell = {(scenario, candidate): [] for scenario in scenarios for candidate in candidates}
    for run, measured, series in sorted(records, key=lambda record: record[0].repetition):
        by_cell[run.scenario, run.candidate].append((measured, series))
    return {
        "format": FORMAT,
        "about": about,
        "scenarios": scenarios,
        "results": [
            {
                "scenario": scenario,
                "group": candidate.group,
                "candidate": candidate.name,
                "pipelines": candidate.pipelines,
                "measured": _summarize([measured for measured, _ in runs]),
                "series": [series for _, series in runs],
                "simulated": predictions.get((scenario, candidate.name)),
            }
            for (scenario, candidate), runs in by_cell.items()
            if runs
        ],
    }


def _summarize(runs):
    names = dict.fromkeys(name for measured in runs for name in measured)
    return {name: _summary([measured.get(name, figures.unmentioned(name)) for measured in runs]) for name in names}


def _summary(values):
    found = spread(values)
    known = {"median": found.median, "low": found.low, "high": found.high} if found else {}
    return {**known, "values": values}


def write(path, document):
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def read(path):
    """The document in a file."""
    try:
        document = json.loads(path.read_text())
        if document["format"] == FORMAT:
            return document
        reason = f"format {document['format']}, expected {FORMAT}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error)
    raise ResultsError(f"{path} holds no results of a comparison: {reason}")


@dataclass(frozen=True, eq=False)
class Cell:
    """The results of one candidate in one scenario."""

    scenario: str
    group: str
    candidate: str
    pipelines: list
    spreads: dict
    series: list
    simulated: dict

    def median(self, figure):
        found = self.spreads.get(figure)
        return found.median if found else None


def cells(document):
    """The results, in the order of the scenarios and candidates."""
    return [_cell(entry) for entry in document["results"]]


def _cell(entry):
    spreads = {name: spread(summary["values"]) for name, summary in entry["measured"].items()}
    keys = (entry[key] for key in ("scenario", "group", "candidate", "pipelines"))
    return Cell(*keys, spreads, entry.get("series", []), entry.get("simulated") or {})
