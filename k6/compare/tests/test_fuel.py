import json
import tempfile
import unittest
from pathlib import Path

from compare import fuel, plan

SIZES = [{"shards": 4, "fuel": 300}, {"shards": 12, "fuel": 400}]


class Fuel(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "mine.wasm").touch()

    def bench(self, script):
        """A program in the place of sluice."""
        program = self.folder / "sluice"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return str(program)

    def measure(self, script, policy="mine", group="pickers"):
        hook = plan.HOOK_OF_GROUP.get(group, "shard-picker")
        pipeline = {**plan.BASE, hook: {"policy": policy, "config": {}}}
        return fuel.measure(self.bench(script), self.folder, plan.Candidate(group, policy, (pipeline,)))

    def test_a_picker_is_measured_with_twelve_shards(self):
        self.assertEqual(self.measure(f"echo '{json.dumps(SIZES)}'"), {"shard-picker": 400})

    def test_other_hooks_have_one_size(self):
        self.assertEqual(self.measure('echo \'[{"fuel": 7}]\'', group="limits"), {"user-limit": 7})

    def test_an_uploaded_policy_and_a_change_during_a_run_have_none(self):
        self.assertEqual(self.measure("exit 1", policy="uploaded"), {})
        self.assertEqual(self.measure("exit 1", group="changes"), {})

    def test_a_policy_that_cannot_be_measured_is_an_error(self):
        with self.assertRaisesRegex(fuel.FuelError, "needs more"):
            self.measure("echo needs more >&2; exit 1")
