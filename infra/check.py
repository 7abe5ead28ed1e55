"""What no schema knows of infra/: pinned images, mounted files, and metrics that exist.

Takes the file that gets every query of the dashboards, as rules that promtool can read.
"""

import json
import re
import sys
from pathlib import Path

from ruamel.yaml import YAML

HERE = Path(__file__).parent
TELEMETRY = HERE.parent / "gateway/src/telemetry.rs"
# A tag that begins with a number names one release; `latest`, `8` or none moves.
PINNED = re.compile(r".+:(?:[a-z]+-)?v?\d+(?:\.\d+){1,2}\b|.+:[a-z]+-\d{8}\b|.+@sha256:[0-9a-f]{64}")

complaints: list[str] = []


def read_yaml(path: Path):
    return YAML(typ="safe", pure=True).load(path.read_text())


def check_pinned(where: str, image: str) -> None:
    if not PINNED.match(image):
        complaints.append(f"{where}: the image {image} is not pinned to a release")


def check_exists(where: str, path: str) -> None:
    # ${NAME:-default} stands for its default.
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
                complaints.append(f"{name}: port {port} is published beyond the loopback")
    for name, secret in compose["secrets"].items():
        check_exists(name, secret["file"])
    for line in (HERE / "Dockerfile").read_text().splitlines():
        if line.startswith("FROM "):
            check_pinned("Dockerfile", line.split()[1])


def known_metrics() -> set[str]:
    recorded = re.findall(r"record: (\S+)", "".join(p.read_text() for p in (HERE / "prometheus/rules").glob("*.yml")))
    return set(re.findall(r'"(sluice_\w+)"', TELEMETRY.read_text())) | set(recorded)


def check_metrics(where: str, query: str, known: set[str]) -> None:
    for name in re.findall(r"\bsluice[_:][\w:]+", query):
        if name not in known and re.sub(r"_(bucket|sum|count)$", "", name) not in known:
            complaints.append(f"{where}: {name} is no metric of the gateway and no rule")


def check_rules(known: set[str]) -> None:
    for path in sorted((HERE / "prometheus/rules").glob("*.yml")):
        for group in read_yaml(path)["groups"]:
            for rule in group["rules"]:
                check_metrics(path.name, rule["expr"], known)
                if "alert" in rule and not {"summary", "runbook"} <= rule["annotations"].keys():
                    complaints.append(f"{path.name}: {rule['alert']} has no summary or no runbook")


def check_dashboards(known: set[str]) -> list[str]:
    datasources = read_yaml(HERE / "grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    uids = {source["uid"] for source in datasources}
    queries = []
    for path in sorted((HERE / "grafana/dashboards").glob("*.json")):
        dashboard = json.loads(path.read_text())
        panels = dashboard["panels"]
        if len({panel["id"] for panel in panels}) != len(panels):
            complaints.append(f"{path.name}: two panels have one id")
        for variable in dashboard["templating"]["list"]:
            check_metrics(f"{path.name}: {variable['name']}", variable["definition"], known)
        for panel in panels:
            where = f"{path.name}: {panel['title']}"
            if panel["type"] != "row" and panel["datasource"]["uid"] not in uids:
                complaints.append(f"{where}: no such datasource")
            for target in panel.get("targets", []):
                check_metrics(where, target["expr"], known)
                queries.append(target["expr"].replace("$__rate_interval", "1m"))
    return queries


check_compose()
known = known_metrics()
check_rules(known)
queries = check_dashboards(known)
rules = [{"record": f"dashboards:query:{number}", "expr": query} for number, query in enumerate(queries)]
# JSON is YAML, too.
Path(sys.argv[1]).write_text(json.dumps({"groups": [{"name": "dashboards", "rules": rules}]}, indent=1))
if complaints:
    sys.exit("\n".join(complaints))
print(f"{len(queries)} queries of {len(list((HERE / 'grafana/dashboards').glob('*.json')))} dashboards")
