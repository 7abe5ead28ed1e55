"""Samples lag, CPU time and memory while a run lasts."""

import os
import threading
import time

# Short enough to see the peak of a lag that lasts a second; a sample costs the gateway about a millisecond.
INTERVAL_SECONDS = 0.2
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MIB = 1024 * 1024


class Watch(threading.Thread):
    """Samples from `start` until `stop`. `processes` are process ids by name."""

    def __init__(self, admin, processes):
        super().__init__(name="watch", daemon=True)
        self.admin = admin
        self.processes = processes
        self.lag = []
        self.memory_mib = dict.fromkeys(processes, 0.0)
        self.cpu_seconds = {name: -cpu_seconds(pid) for name, pid in processes.items()}
        self._began = time.monotonic()
        self._stopping = threading.Event()

    def run(self):
        while not self._stopping.wait(INTERVAL_SECONDS):
            self._sample()

    def stop(self):
        """From now on `lag` (seconds, records), `memory_mib` (the peak) and `cpu_seconds` (used) are complete."""
        self._stopping.set()
        self.join()
        self._sample()
        for name, pid in self.processes.items():
            self.cpu_seconds[name] += cpu_seconds(pid)

    def _sample(self):
        seconds = time.monotonic() - self._began
        self.lag.append((round(seconds, 2), self.admin.lag_records()))
        for name, pid in self.processes.items():
            self.memory_mib[name] = max(self.memory_mib[name], memory_mib(pid))


def cpu_seconds(pid):
    """User and system time of a process. The name of the process, in parentheses, may contain spaces."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def memory_mib(pid):
    """Resident memory of a process."""
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * PAGE_BYTES / MIB
