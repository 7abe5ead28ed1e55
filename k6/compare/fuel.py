"""The fuel of a policy's call, as `sluice policy bench` measures it: neither load nor machine change it."""

import json
import subprocess

from .plan import HOOK_OF_GROUP

# A shard picker is measured with several numbers of shards. The default system has as many partitions.
SHARDS = 12


class FuelError(Exception):
    """A policy that could not be measured."""


def measure(sluice, policies, candidate):
    """The fuel of one call by hook: of the hook that a candidate replaces. Empty for an uploaded policy, which is not in
    the folder, and for a candidate of several pipelines."""
    hook = HOOK_OF_GROUP.get(candidate.group)
    if hook is None:
        return {}
    chosen = candidate.pipelines[0][hook]
    component = policies / f"{chosen['policy']}.wasm"
    if not component.exists():
        return {}
    command = [sluice, "policy", "bench", str(component), "--config", json.dumps(chosen["config"]), "--json"]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode != 0:
        raise FuelError(f"{' '.join(command)}: {ended.stderr.strip()}")
    sizes = json.loads(ended.stdout)
    return {hook: next(size["fuel"] for size in sizes if size.get("shards", SHARDS) == SHARDS)}
