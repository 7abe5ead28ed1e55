"""`k6/run compare` and `k6/run report`. The script k6/run starts the gateway and sets the variables read here."""

import datetime
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from . import answer, command, database, document, figures, fuel, markdown, page, plan, results, run, simulate
from .admin import Admin, AdminError
from .audit import AuditError
from .fuel import FuelError
from .load import LoadError
from .results import ResultsError
from .simulate import SimulateError
from .words import file_name, plain

RESULTS = plan.FOLDER / "results"
# What a run takes besides its load: campaigns, k6, settlement, audit, export. Two gateways need two seconds more.
OVERHEAD_SECONDS = 3


def main(arguments):
    options = command.parse(arguments)
    try:
        _execute(options)
    except (plan.PlanError, ResultsError, AdminError, AuditError, FuelError, LoadError, SimulateError) as error:
        _say(f"k6/run {options.command}: {error}")
        return 1
    return 0


def _execute(options):
    old = results.read(options.against) if options.against else None
    if options.command == "report":
        _write_reports(options.results.parent, results.read(options.results), old)
        return
    chosen = plan.choose_scenarios(plan.load_scenarios(options.full), options.scenarios)
    scenarios = {name: plan.scale(scenario, options.scale) for name, scenario in chosen.items()}
    candidates = plan.load_candidates(options.own, options.groups)
    runs = plan.plan(scenarios, candidates, options.repetitions, options.seed)
    if options.plan:
        minutes = sum(plan.load_seconds(scenarios[planned.scenario]) + OVERHEAD_SECONDS for planned in runs) / 60
        _say(f"{len(runs)} runs of {', '.join(scenarios)}: about {minutes:.0f} min")
        return
    folder, found = _compare(options, scenarios, candidates, runs)
    _write_reports(folder, found, old)


def _compare(options, scenarios, candidates, runs):
    """Runs everything, and returns the results and the folder that they are in. Results that were complete before a
    failure are in that folder too."""
    admin = Admin(os.environ["ADMIN_URL"].split(","))
    began = datetime.datetime.now().replace(microsecond=0)
    folder = RESULTS / began.strftime("%Y-%m-%d-%H%M%S")
    (folder / "dashboards").mkdir(parents=True)
    ledger = database.connect(os.environ.get("SLUICE__LEDGER__URL", ""))
    policies = plan.FOLDER.parent / "policies"
    measured_fuel = {candidate: fuel.measure(_sluice(), policies, candidate) for candidate in candidates}
    stage = run.Stage(admin, ledger, _processes(), os.environ["K6"], folder, options.seed, measured_fuel)
    before = admin.get("/admin/pipeline")["pipeline"]
    records, predictions = [], {}
    try:
        _check_policies(admin, candidates)
        gateways = os.environ["BASE_URL"].count(",") + 1
        predictions = simulate.predict(_sluice(), gateways, folder, scenarios, candidates, options.seed)
        for record in _perform_all(stage, runs, scenarios):
            records.append(record)
    except KeyboardInterrupt:
        if not records:
            raise
        _say("interrupted: the report has only the runs until now")
    finally:
        admin.put("/admin/pipeline", before)
        about = _about(options, began, records, len(runs))
        found = results.collect(about, scenarios, candidates, records, predictions)
        if records:
            results.write(folder / "results.json", found)
    return folder, found


def _about(options, began, records, planned):
    return {
        "began": began.isoformat(" "),
        "seconds": round((datetime.datetime.now() - began).total_seconds()),
        "runs": len(records),
        "planned": planned,
        "requests": sum(measured["requests"] for _, measured, _ in records),
        "repetitions": options.repetitions,
        "seed": options.seed,
        "scale": options.scale,
        "full": options.full,
        "backend": os.environ["BACKEND"],
        "machine": _machine(),
        "commit": _commit(),
    }


def _check_policies(admin, candidates):
    """Activates every pipeline once, so that a wrong name or configuration is an error before the first run."""
    for candidate in candidates:
        for pipeline in candidate.pipelines:
            try:
                admin.put("/admin/pipeline", pipeline)
            except AdminError as error:
                raise plan.PlanError(f"candidate `{candidate.name}`: {error}") from error


def _perform_all(stage, runs, scenarios):
    """The record of each run, once it is complete."""
    # The first run meets cold caches. It is not part of the results.
    run.perform(stage, runs[0], scenarios[runs[0].scenario], "warm-up")
    for number, planned in enumerate(runs, start=1):
        began = time.monotonic()
        name = file_name(f"{planned.scenario} {planned.candidate.name} {planned.repetition}")
        observed = run.perform(stage, planned, scenarios[planned.scenario], name)
        _say(f"{number}/{len(runs)} {name}: {len(observed.sent)} requests, {time.monotonic() - began:.0f} s")
        yield planned, figures.measure(observed), figures.series(observed)


def _write_reports(folder, found, old):
    blocks = document.build(found, old)
    library = Path(os.environ["CHART_LIBRARY"]).read_text()
    (folder / "report.md").write_text(markdown.render(blocks))
    (folder / "report.html").write_text(page.render(blocks, library))
    for line in [*document.answer_lines(results.cells(found)), answer.confidence(results.cells(found))]:
        print(f"- {plain(line)}")
    print(f"report: {folder / 'report.html'}, also report.md and results.json")


def _say(text):
    print(text, file=sys.stderr, flush=True)


def _sluice():
    return os.environ.get("SLUICE", str(plan.FOLDER.parent / "target" / "release" / "sluice"))


def _processes():
    """Process ids by name, from `NAME=PID …`."""
    pairs = (pair.split("=") for pair in os.environ.get("PROCESSES", "").split())
    return {name: int(pid) for name, pid in pairs}


def _machine():
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{os.cpu_count()} processors, {memory_gib:.0f} GiB, {platform.system()} {platform.release()}"


def _commit():
    command_line = ["git", "-C", str(plan.FOLDER), "describe", "--always", "--dirty"]
    described = subprocess.run(command_line, capture_output=True, text=True)
    return described.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
