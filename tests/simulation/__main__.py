"""``python -m tests.simulation --seeds 200``: worlds from seeds, each with all that may go wrong in it.

They are of each kind in turn (``plan.py``); ``--kind`` is for those of one kind alone. With ``--real``, a
real server is asked what the simulated one was, and is to answer the same.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Sequence

from tbcache.models.error import TbcacheWarning
from tbcache.testing.simulated.attach import attached
from tests.server import Server
from tests.simulation.differential import differences, live
from tests.simulation.plan import COMPARED, PLANS, Plan, any_plan_of
from tests.simulation.run import Report, run
from tests.simulation.shrink import shrink


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many worlds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="this one alone, with its trace")
    parser.add_argument("--steps", help="only these steps of it, by their numbers: 3,7,9")
    parser.add_argument("--show", type=int, default=60, help="so many lines of its trace")
    parser.add_argument("--quick", action="store_true", help="do not look for fewer steps")
    parser.add_argument("--all", action="store_true", help="go on after the first that fails")
    parser.add_argument("--kind", choices=[kind for kind in PLANS if kind], help="worlds of this kind alone")
    parser.add_argument("--real", action="store_true", help="compare the answers with a real server's")
    parser.add_argument("--digests", action="store_true", help="only the digests of a few worlds")
    options = parser.parse_args()
    plan = PLANS[options.kind or ""]
    hunted = plan if options.kind else any_plan_of
    # A fleet may have processes of different limits, which each of them says.
    warnings.simplefilter("ignore", TbcacheWarning)
    with attached():
        if options.digests:
            print(*(run(any_plan_of(seed)).hash for seed in COMPARED))
            return 0
        if options.seed is not None:
            chosen = None if options.steps is None else [int(one) for one in options.steps.split(",") if one]
            return _replay(plan(options.seed), chosen, options.show)
        seeds = range(options.first, options.first + options.seeds)
        if options.real:
            return _compare(hunted, seeds)
        return _hunt(hunted, seeds, go_on=options.all, quick=options.quick)


def _compare(plan_of: Callable[[int], Plan], seeds: range) -> int:
    server, commands, different = Server(always_answers=True).start(), 0, 0
    try:
        for seed in seeds:
            lived = live(plan_of(seed))
            found = differences(lived, server.client)
            commands += len(lived.asked)
            different += len(found)
            if found:
                print(
                    f"seed {seed}: {len(found)} answers differ; {plan_of(seed).line}\n  {found[0]}",
                    flush=True,
                )
    finally:
        server.close()
    print(f"{len(seeds)} seeds, {commands} commands, {different} answers differ")
    return 1 if different else 0


def _hunt(plan_of: Callable[[int], Plan], seeds: range, *, go_on: bool, quick: bool) -> int:
    began, commands, failed = time.monotonic(), 0, 0
    for seed in seeds:
        plan = plan_of(seed)
        report = run(plan)
        commands += report.commands
        if report.failure is not None:
            failed += 1
            print(f"seed {seed}: {report.failure[:300]}")
            print(f"  {plan.line}" if quick else f"  {replay_line(plan, report)}", flush=True)
            if not go_on:
                break
    seconds = time.monotonic() - began
    print(f"{len(seeds)} seeds, {commands} commands, {failed} failed, {seconds:.1f} s")
    return 1 if failed else 0


def replay_line(plan: Plan, report: Report, most: int = 150) -> str:
    """The command that shows it again, with as few steps as break the same promise; see :func:`shrink`."""
    steps = shrink(range(len(plan.steps)), lambda some: run(plan, some).promise == report.promise, most)
    return f"{plan.line} --steps {','.join(map(str, steps))}"


def _replay(plan: Plan, chosen: Sequence[int] | None, show: int) -> int:
    report = run(plan, chosen)
    print("\n".join(report.trace[-show:]))
    print(f"seed {plan.seed}: {report.failure or 'well'}; {report.commands} commands, hash {report.hash}")
    return 1 if report.failure else 0


if __name__ == "__main__":
    sys.exit(main())
