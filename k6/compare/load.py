"""The load of one run: k6 with load.js."""

import json
import os
import subprocess
from pathlib import Path

from . import requests

SCRIPT = Path(__file__).parent / "load.js"


class LoadError(Exception):
    """k6 could not be run, or failed."""


def send(k6, folder, name, description):
    """Sends the load that `description` tells load.js. Returns all requests, and how many were dropped because k6 was
    late."""
    log, summary = folder / f"{name}.csv", folder / f"{name}.json"
    environment = {
        "RUN": json.dumps({**description, "summary": str(summary)}),
        "K6_WEB_DASHBOARD": "true",
        "K6_WEB_DASHBOARD_PORT": "-1",
        "K6_WEB_DASHBOARD_PERIOD": "1s",
        "K6_WEB_DASHBOARD_EXPORT": str(folder / "dashboards" / f"{name}.html"),
    }
    # k6 prints nothing but the lines that load.js logs.
    options = ["--quiet", "--no-usage-report", "--log-format", "raw", "--console-output", str(log)]
    command = [k6, "run", *options, str(SCRIPT)]
    ended = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    if ended.returncode != 0 or not log.exists():
        raise LoadError(f"k6 ended with code {ended.returncode}:\n{ended.stderr[-2000:]}")
    sent, dropped = requests.read(log), json.loads(summary.read_text())["dropped"]
    log.unlink()
    summary.unlink()
    return sent, dropped
