"""Sessions of random pipelines, started, interrupted, stopped, cancelled, for an hour on an autojump clock and ten minutes on the real one.

    python -m soak [--seed N] [--minutes M] [--real-minutes R] [--sessions K] [--only NAME]

What must hold: every frame that was accepted comes out, unless an interrupt or a cancel made it stale, or a part of the
pipeline says that it has dropped it; nothing comes out twice; observers keep their promises; each session ends as its script says; after each round no Trio task, no object of a session and no warning is left, the runner's roster is
empty, and memory is flat. Each session is drawn from its name, `SEED/NUMBER`; `--only SEED/NUMBER` runs that one alone.

A table goes to stderr, JSON to stdout. Exit code 1 when something did not hold.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys

import attrs
import trio
import trio.testing

from trio_pipes import PipelineRunner

from .phase import Report, seed_trio, session, soak


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", default=None, help="repeat the sessions of this seed; default: a new one")
    parser.add_argument("--minutes", type=float, default=60, help="on the autojump clock")
    parser.add_argument("--real-minutes", type=float, default=10, help="on the real clock")
    parser.add_argument("--sessions", type=int, default=1000, help="on the autojump clock at least so many")
    parser.add_argument("--only", help="run the session of this name alone, on the autojump clock")
    options = parser.parse_args(arguments)
    if options.only:
        reports = [only(options.only)]
    else:
        seed = options.seed or secrets.token_hex(4)
        tell(f"seed {seed}")
        reports = []
        if options.minutes:
            reports.append(soak("autojump", seed, 60 * options.minutes, options.sessions, tell))
        if options.real_minutes:
            reports.append(soak("real", f"{seed}r", 60 * options.real_minutes, 0, tell))
    for report in reports:
        tell(table(report))
    print(json.dumps([attrs.asdict(report) for report in reports]))
    return 1 if any(report.problems for report in reports) else 0


def only(name: str) -> Report:
    """One session by itself."""
    report = Report("autojump", name)

    async def run() -> None:
        seed_trio(name)
        runner = PipelineRunner(handle_sigint=False)
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: runner.run(auto_end=False, task_status=task_status))
            await session(name, report, runner)
            runner.end()

    report.sessions = 1
    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    return report


def table(report: Report) -> str:
    memory = report.resident or [0]
    rows = {
        "clock": report.clock,
        "seed": report.seed,
        "sessions": f"{report.sessions:,} ({', '.join(f'{n:,} {state}' for state, n in sorted(report.states.items()))})",
        "time": f"{report.seconds / 60:.1f} min on its clock, {report.real_seconds / 60:.1f} min real",
        "frames accepted": f"{report.frames:,}",
        "frames out": f"{report.out:,}",
        "interrupts": f"{report.interrupts:,}",
        "resident memory": f"{memory[0]} MiB after the first round, {max(memory)} at most, {memory[-1]} at the end",
        "growth a session": f"{report.blocks_a_session:+.3f} blocks, {report.kib_a_session:+.4f} KiB",
        "logged": "; ".join(f"{n} x {text}" for text, n in report.logged.most_common()) or "nothing",
        "problems": str(len(report.problems)),
    }
    lines = [f"{name:>16}  {value}" for name, value in rows.items()]
    return "\n".join([*lines, *(f"  - {problem}" for problem in report.problems)]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
