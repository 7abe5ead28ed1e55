"""The admin API and the metrics of the gateways and consumers."""

import json
import re
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 60
SERIES = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class AdminError(Exception):
    """A call that failed: what was called, and the answer."""


class Admin:
    """The first address takes the calls. The metrics are those of all addresses."""

    def __init__(self, addresses):
        self.addresses = addresses

    def get(self, path):
        return self._call("GET", path)

    def post(self, path, body=None):
        return self._call("POST", path, body)

    def put(self, path, body):
        return self._call("PUT", path, body)

    def outcomes(self, coupon_id):
        """Every outcome of a campaign."""
        with _open(self.addresses[0], "GET", f"/admin/coupons/{coupon_id}/outcomes") as lines:
            return [json.loads(line) for line in lines]

    def metrics(self):
        """The metrics of each process, in the order of the addresses."""
        return [self._metrics(address) for address in self.addresses]

    def lag_records(self):
        """A gateway knows the lag of all partitions."""
        return self._metrics(self.addresses[0]).sum("sluice_log_lag_records")

    @staticmethod
    def _metrics(address):
        with _open(address, "GET", "/metrics") as answer:
            return Metrics(answer.read().decode())

    def _call(self, method, path, body=None):
        with _open(self.addresses[0], method, path, body) as answer:
            return json.load(answer)


class Metrics:
    """The series of one process, from the text format of Prometheus."""

    def __init__(self, text):
        self.series = [_series(line) for line in text.splitlines() if line and not line.startswith("#")]

    def sum(self, name, **labels):
        """The sum of the series with this name and these labels."""
        return sum(value for found, has, value in self.series if found == name and labels.items() <= has.items())


def _series(line):
    name, labels, value = SERIES.match(line).groups()
    return name, dict(LABEL.findall(labels or "")), float(value)


def _open(address, method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address + path, data, headers, method=method)
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        raise AdminError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from error
    except urllib.error.URLError as error:
        raise AdminError(f"{method} {address}{path}: {error.reason}: is the gateway running?") from error
