"""The options of the command line."""

import argparse
import functools
import json
from pathlib import Path

from .plan import FIRST_SCENARIOS, GROUPS


def parse(arguments):
    parser = argparse.ArgumentParser(prog="k6/run", description="Compares policies on one running gateway.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_compare(commands.add_parser("compare", help="run the comparison and write the report"))
    report = commands.add_parser("report", help="write the report of earlier results again")
    report.add_argument("results", type=Path, metavar="RESULTS.json")
    _add_against(report)
    return parser.parse_args(arguments)


def _add_compare(parser):
    names = {"type": _names, "metavar": "NAME,…"}
    parser.add_argument("--scenarios", default=[], help=f"or `all`; default: {','.join(FIRST_SCENARIOS)}", **names)
    parser.add_argument("--groups", default=list(GROUPS), help=f"default: {','.join(GROUPS)}", **names)
    for option, group in (("--picker", "pickers"), ("--shaper", "shapers"), ("--limit", "limits")):
        parser.add_argument(
            option,
            action="append",
            dest="own",
            default=[],
            metavar="NAME[=JSON]",
            type=functools.partial(_own, group),
            help=f"also compare this policy with the {group}, with JSON as its configuration",
        )
    parser.add_argument("--repetitions", type=_positive, default=3, metavar="N", help="default: 3")
    parser.add_argument(
        "--seed", type=_positive, default=1, metavar="N", help="decides the order of the runs and the users; default: 1"
    )
    parser.add_argument(
        "--scale", type=_share, default=1, metavar="SHARE", help="of rates, users and coupons; default: 1"
    )
    parser.add_argument("--full", action="store_true", help="the long form of the scenarios, such as the whole ramp")
    parser.add_argument("--plan", action="store_true", help="only check the options, and say what would run")
    _add_against(parser)


def _add_against(parser):
    parser.add_argument(
        "--against", type=Path, metavar="OLD.json", help="also compare with the results of an earlier run"
    )


def _names(text):
    return [name.strip() for name in text.split(",") if name.strip()]


def _positive(text):
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found `{text}`")
    return int(text)


def _share(text):
    try:
        share = float(text)
    except ValueError:
        share = 0
    if not 0 < share <= 100:
        raise argparse.ArgumentTypeError(f"expected a number above 0, up to 100, found `{text}`")
    return share


def _own(group, text):
    """(group, policy, config)"""
    policy, _, config = text.partition("=")
    try:
        config = json.loads(config or "{}")
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"the configuration of `{policy}` is no JSON: {error}") from error
    if not policy or not isinstance(config, dict):
        raise argparse.ArgumentTypeError(f"expected NAME or NAME={{…}}, found `{text}`")
    return group, policy, config
