import os
import stat
import tempfile
import unittest
from pathlib import Path

from .. import load, simulate, watch
from ..admin import Admin, AdminError
from ..figures import describe
from ..plan import load_candidates

# Stands in for k6: writes what load.js would write. The log is the argument after --console-output.
FAKE_K6 = """\
#!/bin/sh
echo "1000,1003,1,104,202,,2.5,r1,7.5" >"$7"
echo "$RUN" | sed 's/.*"summary": "\\([^"]*\\)".*/\\1/' | { read -r summary; echo '{"dropped": 3}' >"$summary"; }
"""


class Load(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def k6(self, script):
        path = self.folder / "k6"
        path.write_text(script)
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
        return str(path)

    def test_it_returns_the_requests_and_leaves_no_files(self):
        sent, dropped = load.send(self.k6(FAKE_K6), self.folder, "run", {})
        self.assertEqual((len(sent), sent[0].user_id, dropped), (1, 1, 3))
        self.assertEqual([path.name for path in self.folder.iterdir()], ["k6"])

    def test_a_failed_k6_is_an_error_with_its_last_words(self):
        with self.assertRaisesRegex(load.LoadError, "code 7:\nno such script"):
            load.send(self.k6("#!/bin/sh\necho no such script >&2\nexit 7\n"), self.folder, "run", {})


class Simulate(unittest.TestCase):
    FIELDS = (
        '{"skewPercent": 1.5, "steals": 7, "unsoldCoupons": 0, "refusedUsers": 3, "invertedUsers": 2,'
        ' "displacedCoupons": 1, "drainMs": 9, "peakLagRecords": 4, "accepted": 5}'
    )

    def predict(self, script):
        with tempfile.TemporaryDirectory() as name:
            sluice = Path(name) / "sluice"
            sluice.write_text(script)
            sluice.chmod(0o755)
            pickers = load_candidates([("pickers", "mine", {"key": 1})], ["pickers", "shapers"])
            scenarios = {"drop": {"compares": ["pickers"]}, "other": {"compares": ["limits"]}}
            return simulate.predict(str(sluice), 1, Path(name), scenarios, pickers, 1)

    def test_a_prediction_has_the_names_of_the_measured_figures(self):
        answer = f'{{"pickers": [{{"picker": "random", "prediction": {self.FIELDS}}}]}}'
        found = self.predict(
            f"#!/bin/sh\n[ $6 = random,hash-user,round-robin,power-of-two,weighted ] && echo '{answer}'\n"
        )
        self.assertEqual(list(found), [("drop", "random")])
        self.assertEqual(found["drop", "random"]["steals"], 7)
        for name in found["drop", "random"]:
            self.assertTrue(describe(name).label)

    def test_a_failed_simulation_is_an_error_with_its_cause(self):
        with self.assertRaisesRegex(simulate.SimulateError, "--scenario drop .*: no such picker"):
            self.predict("#!/bin/sh\necho no such picker >&2\nexit 1\n")


class Processes(unittest.TestCase):
    def test_a_process_has_used_time_and_memory(self):
        sum(range(10**6))
        self.assertGreater(watch.cpu_seconds(os.getpid()), 0)
        self.assertGreater(watch.memory_mib(os.getpid()), 1)


class Gateway(unittest.TestCase):
    def test_a_gateway_that_does_not_run_is_an_error_with_its_address(self):
        with self.assertRaisesRegex(AdminError, "GET http://127.0.0.1:1/livez: .*: is the gateway running?"):
            Admin(["http://127.0.0.1:1"]).get("/livez")
