"""Checks what no schema covers: pinned images, mounted files, names of metrics, tests of alerts.

Its argument is a file to write: all queries of the dashboards, as rules that promtool can check.
"""

import json
import re
import sys
from pathlib import Path

from ruamel.yaml import YAML

HERE = Path(__file__).parent
TELEMETRY = HERE.parent / "gateway/src/telemetry"
# A tag such as `8.4.11` names one release. `latest`, `8` or no tag changes over time.
PINNED = re.compile(r".+:(?:[a-z]+-)?v?\d+(?:\.\d+){1,2}\b|.+:[a-z]+-\d{8}\b|.+@sha256:[0-9a-f]{64}")

complaints: list[str] = []


def read_yaml(path: Path):
    return YAML(typ="safe", pure=True).load(path.read_text())


def check_pinned(where: str, image: str) -> None:
    if not PINNED.match(image):
        complaints.append(f"{where}: the image {image} is not pinned: name one release, such as 8.4.11")


def check_exists(where: str, path: str) -> None:
    # Check the default in ${NAME:-default}.
    path = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", path)
    if path.startswith(".") and not (HERE / path).exists():
        complaints.append(f"{where}: {path} does not exist")


def check_compose() -> None:
    compose = read_yaml(HERE / "compose.yaml")
    for name, service in compose["services"].items():
        if "build" in service:
            context = service["build"]["context"]
            check_exists(name, f"{context}/{service['build']['dockerfile']}")
        else:
            check_pinned(name, service["image"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            check_exists(name, source)
            if not source.startswith((".", "/")) and source not in compose["volumes"]:
                complaints.append(f"{name}: the volume {source} is not declared")
        for port in service.get("ports", []):
            if not port.startswith("127.0.0.1:"):
                complaints.append(f"{name}: port {port} is published to other machines: publish it on 127.0.0.1")
    for name, secret in compose["secrets"].items():
        check_exists(name, secret["file"])
    for line in (HERE / "Dockerfile").read_text().splitlines():
        if line.startswith("FROM "):
            check_pinned("Dockerfile", line.split()[1])


def known_metrics() -> set[str]:
    recorded = re.findall(r"record: (\S+)", "".join(p.read_text() for p in (HERE / "prometheus/rules").glob("*.yml")))
    registered = re.findall(r'"(sluice_\w+)"', "".join(p.read_text() for p in TELEMETRY.glob("*.rs")))
    return set(registered) | set(recorded)


def check_metrics(where: str, query: str, known: set[str]) -> None:
    for name in re.findall(r"\bsluice[_:][\w:]+", query):
        if name not in known and re.sub(r"_(bucket|sum|count)$", "", name) not in known:
            complaints.append(f"{where}: neither gateway/src/telemetry nor a recording rule defines {name}")


def check_rules(known: set[str]) -> None:
    for path in sorted((HERE / "prometheus/rules").glob("*.yml")):
        for group in read_yaml(path)["groups"]:
            for rule in group["rules"]:
                check_metrics(path.name, rule["expr"], known)
                if "alert" in rule and not {"summary", "runbook"} <= rule["annotations"].keys():
                    complaints.append(f"{path.name}: {rule['alert']} needs a summary and a runbook")


def check_alerts_are_tested() -> None:
    """Every alert needs a test in which it fires and one in which it does not."""
    answers: dict[str, set[bool]] = {}
    for path in (HERE / "prometheus/tests").glob("*.yml"):
        for test in read_yaml(path)["tests"]:
            for query in test.get("promql_expr_test", []):
                asked = re.fullmatch(r'count\(ALERTS\{alertname="(\w+)", alertstate="firing"\}\)', query["expr"])
                if asked:
                    answers.setdefault(asked[1], set()).add(bool(query["exp_samples"]))
    alerts = set()
    for path in (HERE / "prometheus/rules").glob("*.yml"):
        alerts |= {rule["alert"] for group in read_yaml(path)["groups"] for rule in group["rules"] if "alert" in rule}
    for alert in sorted(alerts):
        if True not in answers.get(alert, set()):
            complaints.append(f"prometheus/tests: no test expects {alert} to fire")
        if False not in answers.get(alert, set()):
            complaints.append(f"prometheus/tests: no test expects {alert} not to fire")
    for alert in sorted(answers.keys() - alerts):
        complaints.append(f"prometheus/tests: the alert {alert} does not exist")


def jobs_and_roles(path: Path) -> set[tuple[str, str]]:
    jobs = read_yaml(path)["scrape_configs"]
    return {(job["job_name"], str(group.get("labels"))) for job in jobs for group in job["static_configs"]}


def check_scrapes() -> None:
    """Rules and dashboards use jobs and labels, so both configurations must have the same ones."""
    compose, native = HERE / "prometheus/prometheus.yml", HERE / "native/prometheus.yml"
    if difference := jobs_and_roles(compose) ^ jobs_and_roles(native):
        complaints.append(f"prometheus/prometheus.yml and native/prometheus.yml have different jobs or labels: {sorted(difference)}")


def check_dashboards(known: set[str]) -> list[str]:
    datasources = read_yaml(HERE / "grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    uids = {source["uid"] for source in datasources}
    queries = []
    for path in sorted((HERE / "grafana/dashboards").glob("*.json")):
        dashboard = json.loads(path.read_text())
        panels = dashboard["panels"]
        if len({panel["id"] for panel in panels}) != len(panels):
            complaints.append(f"{path.name}: two panels have the same id")
        for variable in dashboard["templating"]["list"]:
            check_metrics(f"{path.name}: {variable['name']}", variable["definition"], known)
        for panel in panels:
            where = f"{path.name}: {panel['title']}"
            if panel["type"] != "row" and panel["datasource"]["uid"] not in uids:
                complaints.append(f"{where}: the datasource does not exist")
            for target in panel.get("targets", []):
                check_metrics(where, target["expr"], known)
                queries.append(target["expr"].replace("$__rate_interval", "1m"))
    return queries


check_compose()
known = known_metrics()
check_rules(known)
check_alerts_are_tested()
check_scrapes()
queries = check_dashboards(known)
rules = [{"record": f"dashboards:query:{number}", "expr": query} for number, query in enumerate(queries)]
# promtool reads YAML, and JSON is valid YAML.
Path(sys.argv[1]).write_text(json.dumps({"groups": [{"name": "dashboards", "rules": rules}]}, indent=1))
if complaints:
    sys.exit("\n".join(complaints))
print(f"{len(queries)} queries of {len(list((HERE / 'grafana/dashboards').glob('*.json')))} dashboards")
