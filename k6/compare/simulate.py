"""What `sluice simulate` predicts for the shard pickers, by the same definitions as the measured figures."""

import json
import subprocess

# The field of a prediction, and the figure that measures the same.
FIGURES = {
    "skewPercent": "skew_percent",
    "steals": "steals",
    "unsoldCoupons": "unsold_coupons",
    "refusedUsers": "refused_users",
    "invertedUsers": "inverted_users",
    "displacedCoupons": "displaced_coupons",
    "drainMs": "drain_ms",
    "peakLagRecords": "peak_lag_records",
}


class SimulateError(Exception):
    """A simulation that failed."""


def predict(sluice, gateways, folder, scenarios, candidates, seed):
    """The predicted figures of each shard picker, by scenario and candidate. Pickers with a configuration are left
    out."""
    pickers = [candidate.name for candidate in candidates if _is_plain_picker(candidate)]
    path = folder / "scenarios.json"
    path.write_text(json.dumps(scenarios, indent=1))
    system = ["--picker", ",".join(pickers), "--gateways", str(gateways), "--seed", str(seed)]
    return {
        (name, entry["picker"]): _figures(entry["prediction"])
        for name, scenario in scenarios.items()
        if pickers and "pickers" in scenario["compares"]
        for entry in _simulate([sluice, "simulate", str(path), "--scenario", name, *system, "--json"])
    }


def _is_plain_picker(candidate):
    picker = {"policy": candidate.name, "config": {}}
    return candidate.group == "pickers" and candidate.pipelines[0]["shard-picker"] == picker


def _simulate(command):
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode != 0:
        raise SimulateError(f"{' '.join(command)}: {ended.stderr.strip()}")
    return json.loads(ended.stdout)["pickers"]


def _figures(prediction):
    return {figure: prediction[field] for field, figure in FIGURES.items()}
