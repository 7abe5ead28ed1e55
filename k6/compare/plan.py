"""What to run: every candidate in every scenario that compares its group, in an order shuffled for each repetition."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent
HOOK_OF_GROUP = {"pickers": "shard-picker", "shapers": "rate-shaper", "limits": "user-limit"}
GROUPS = (*HOOK_OF_GROUP, "changes")
# Every candidate replaces one hook of this pipeline. The token bucket passes 50,000 requests a second: all of them.
BASE = {
    "rate-shaper": {"policy": "token-bucket", "config": {}},
    "user-limit": {"policy": "quota", "config": {}},
    "shard-picker": {"policy": "random", "config": {}},
}
# They answer the question of a drop within ten minutes.
FIRST_SCENARIOS = ("drop", "last-hundred")
# What grows with the load: the arrival rate, the users of the ramp, the crowd, the coupons.
SCALED = ("rate", "target", "users", "total")
DEFAULTS = {"campaigns": 1, "perUserLimit": 1, "waitingOneOf": 5}


class PlanError(Exception):
    """A scenario, group or policy that does not exist."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A pipeline under test, or several that replace each other during a run."""

    group: str
    name: str
    pipelines: tuple
    every_seconds: float = 0.0


@dataclass(frozen=True)
class Run:
    repetition: int
    scenario: str
    candidate: Candidate


def load_scenarios(full):
    """The scenarios of scenarios.json by name; `full` takes their long form."""
    written = json.loads((FOLDER / "scenarios.json").read_text())
    return {name: _resolve(written, name, full) for name in written}


def _resolve(written, name, full):
    own = dict(written[name])
    parent = _resolve(written, own.pop("extends"), full) if "extends" in own else DEFAULTS
    long_form = own.pop("full", {})
    return {**parent, **own, **(long_form if full else {})}


def choose_scenarios(scenarios, wanted):
    """The scenarios named in `wanted`, or all for `all`; without names the first ones."""
    if wanted == ["all"]:
        return scenarios
    _check("scenario", wanted, scenarios)
    return {name: scenarios[name] for name in wanted or FIRST_SCENARIOS}


def load_candidates(own, groups):
    """The candidates of candidates.json and the user's own, (group, policy, config) each, in the named groups."""
    _check("group", groups, GROUPS)
    written = json.loads((FOLDER / "candidates.json").read_text())
    for group, policy, config in own:
        written[group][policy] = {HOOK_OF_GROUP[group]: {"policy": policy, "config": config}}
    return [_candidate(written, group, name) for group in groups for name in written[group]]


def _candidate(written, group, name):
    description = written[group][name]
    if "inTurn" not in description:
        return Candidate(group, name, (_pipeline(description),))
    others = written[description["inTurn"]].values()
    return Candidate(group, name, tuple(_pipeline(hooks) for hooks in others), description["everySeconds"])


def _pipeline(hooks):
    return {**BASE, **{hook: {"config": {}, **chosen} for hook, chosen in hooks.items()}}


def plan(scenarios, candidates, repetitions, seed):
    """All runs. Each repetition has its own order, so that a slow minute of the machine does not hit one candidate."""
    shuffle = random.Random(seed)
    runs = []
    for repetition in range(1, repetitions + 1):
        batch = [
            Run(repetition, name, candidate)
            for name, scenario in scenarios.items()
            for candidate in candidates
            if candidate.group in scenario["compares"]
        ]
        shuffle.shuffle(batch)
        runs += batch
    if not runs:
        raise PlanError("none of these scenarios compares these groups")
    return runs


def scale(scenario, share):
    """The scenario with a share of its rates, users and coupons, and the same duration."""
    if isinstance(scenario, dict):
        return {key: _scaled(value, share) if key in SCALED else scale(value, share) for key, value in scenario.items()}
    return [scale(value, share) for value in scenario] if isinstance(scenario, list) else scenario


def _scaled(number, share):
    return max(1, round(number * share)) if number else number


def load_seconds(scenario):
    """How long the load of a scenario lasts."""
    stages = scenario["load"].get("stages") or [scenario["load"]]
    return sum(_seconds(stage["duration"]) for stage in stages)


def _seconds(duration):
    number, unit = int(duration[:-1]), duration[-1]
    return number * {"s": 1, "m": 60}[unit]


def _check(kind, wanted, known):
    for name in wanted:
        if name not in known:
            raise PlanError(f"unknown {kind} `{name}`: choose from {', '.join(known)}")
