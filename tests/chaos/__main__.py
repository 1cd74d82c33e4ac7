"""Real faults between real processes: workers on machines that are network namespaces, a real broker, and what becomes of the messages.

    python -m chaos [--broker redis|postgres] [--only SCENARIO] [--times N] [example]

What must hold in each scenario: nothing hangs; every message that was sent comes once and in the order of its sender, or its loss is
told (`verdict.py`). One line for each on standard error, with figures; JSON on standard output. `example` runs the example of three
machines alone. Exit code 1 when something did not hold; 3 when the machine cannot do this at all, and in CI that is 1 as well.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from time import perf_counter

import attrs
import trio

from . import bridges, calm, deaths, example, links, storm  # noqa: F401 # they put their scenarios into the table
from .brokers import BROKERS
from .network import Network, in_network
from .process import Hung
from .rights import lacking
from .scenario import SCENARIOS, Report, Scenario, Stage

CANNOT = 3
INTERRUPTED = 130


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("example", nargs="?", choices=["example"], help="the example of three machines alone")
    parser.add_argument("--broker", choices=BROKERS, help="with this one only")
    parser.add_argument("--only", choices=SCENARIOS, help="this scenario alone")
    parser.add_argument("--times", type=int, default=1, help="each so many times")
    options = parser.parse_args(arguments)
    missing = lacking()
    if missing:
        in_ci = os.environ.get("CI") == "true"
        tell(
            f"chaos: {'cannot' if in_ci else 'nothing was run: cannot'} make machines here, for want of {'; '.join(missing)}"
        )
        return 1 if in_ci else CANNOT
    reports: list[Report] = []
    interrupted = False
    try:
        for _ in range(options.times):
            for name, scenario in SCENARIOS.items():
                if name.startswith("example") if options.example else name == (options.only or name):
                    for broker in scenario.brokers:
                        if options.broker in (None, broker):
                            reports.append(trio.run(one, broker, scenario))
    except* KeyboardInterrupt:
        interrupted = True
    print(json.dumps([attrs.asdict(report) for report in reports]))
    failed = [f"{report.scenario} ({report.broker})" for report in reports if report.problems]
    tell(f"did not hold: {', '.join(failed)}" if failed else "interrupted" if interrupted else "all is well")
    if interrupted:
        return INTERRUPTED
    return 1 if failed else 0


async def one(broker: str, scenario: Scenario) -> Report:
    """One scenario on machines of its own; it tells its line."""
    report = Report(scenario.name, broker)
    began = perf_counter()

    async def body(network: Network) -> None:
        stage = Stage(
            network,
            BROKERS[broker](await network.machine("broker", wall_shift=scenario.broker_shift), network.folder),
            report,
        )
        await stage.broker.start()
        try:
            with trio.fail_after(scenario.within):
                await scenario.act(stage)
        except trio.TooSlowError:
            last = "; ".join(f"{name}: {member.lines[-1:]}" for name, member in stage.members.items())
            report.problems.append(f"it hung: not over within {scenario.within} s; the last words of {last}")
        if report.problems:
            raise Failed(f"{len(report.problems)} problems")

    try:
        await in_network(body)
    except Failed as error:
        report.problems.extend(error.__notes__)
    except Hung as error:
        report.problems.extend([str(error), *error.__notes__])
    except Exception as error:
        report.problems.append("".join(traceback.format_exception(error)))
    report.seconds = round(perf_counter() - began, 1)
    tell(str(report))
    return report


class Failed(Exception):
    """Something did not hold; its note tells where to look."""


if __name__ == "__main__":
    sys.exit(main())
