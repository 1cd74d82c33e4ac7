"""The table of frames per second, latencies and memory, beside the peer where it is installed.

    python benchmarks/frames.py [--rows throughput,cancel] [--n 1,10] [--kinds class,sync] [--runs 3]
        [--peer-python PATH --peer-scripts DIR]

The peer is pipecat-ai: an interpreter of an environment of its own that has the version its scripts pin, and the folder
with those scripts, by option or as TRIO_PIPES_PEER_PYTHON and TRIO_PIPES_PEER_SCRIPTS. Without them ratios are missing and
goals that are ratios are "not measured". Every figure is measured in a process of its own, ours and the peer's in turn
(A B A B), and the medians are compared: absolute figures do not carry over to other machines, ratios do.

A table goes to stderr, JSON to stdout. Exit code 1 with `--strict` when a goal was missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KINDS = ("class", "inline", "sync", "block")
KIND_NAMES = {
    "class": "a task per processor",
    "inline": "fused async",
    "sync": "sync functions",
    "block": "blocks",
}

# -- what is compared


@dataclass
class Goal:
    """A limit for one figure of a measurement."""

    text: str
    figure: str
    """`ratio` (ours to the peer's), `ours`, or `limit` (ours to a limit on the same machine)."""
    at_least: float | None = None
    at_most: float | None = None


@dataclass
class Comparison:
    """One line of the table."""

    row: str
    what: str
    unit: str
    ours: list[str]
    """Arguments of `ours.py`."""
    peer: list[str] | None = None
    """A script of the peer's, and its arguments."""
    peer_figure: Callable[[dict[str, Any]], float] = lambda record: record["value"]
    limit: list[str] | None = None
    """A measurement of `ours.py` that tells what the machine could do."""
    goals: list[Goal] = field(default_factory=list)
    extra: str | None = None
    """A further figure of ours that is shown."""


def ratio(least: float) -> Goal:
    return Goal(f">= {least:g} x the peer", "ratio", at_least=least)


def share(part: int) -> Goal:
    return Goal(f"<= 1/{part} of the peer", "ratio", at_most=1 / part)


# Of N=10 for each kind, and of the other lengths for all kinds.
TEN = {"class": 40, "inline": 90, "sync": 200, "block": 40}
OTHERS = {1: 25, 5: 25, 50: 30}


def throughput(ns: Iterable[int], kinds: Iterable[str], frames: int) -> Iterator[Comparison]:
    for n in ns:
        for single in (False, True):
            for kind in kinds:
                goals = []
                if n == 10:
                    goals.append(ratio(TEN[kind]))
                elif n in OTHERS:
                    goals.append(ratio(OTHERS[n]))
                limit = None
                if n == 10 and kind == "inline":
                    limit = ["bare_pairs", f"--n={n}", f"--frames={frames}"]
                    if not single:
                        goals.append(Goal(">= 0.6 of bare process + push pairs", "limit", at_least=0.6))
                elif n == 10 and kind == "sync":
                    limit = ["bare_calls", f"--n={n}", f"--frames={frames}"]
                arguments = [f"--n={n}", f"--frames={frames}"]
                yield Comparison(
                    "throughput",
                    f"frames/CPU-s, N={n}, {KIND_NAMES[kind]}, {'one at a time' if single else 'queue_frames(list)'}",
                    "1/s",
                    ["throughput", f"--kind={kind}", *arguments, *(["--single"] if single else [])],
                    # The peer's way of one at a time: a window that is never full.
                    ["throughput", *arguments, "--runs=1", *([f"--window={frames + 1}"] if single else [])],
                    limit=limit,
                    goals=goals,
                )


def others(kinds: tuple[str, ...], frames: int, scale: float) -> Iterator[Comparison]:
    """All rows but throughput; `scale` makes counts smaller for a quick look."""

    def count(n: int) -> str:
        return f"--count={max(2, round(n * scale))}"

    async_kinds = [kind for kind in ("class", "inline") if kind in kinds]
    for kind in kinds:
        yield Comparison(
            "per_hop",
            f"a hop at N=10 to 100, to one at N=1 to 10, {KIND_NAMES[kind]}",
            "x",
            ["per_hop", f"--kind={kind}", f"--frames={frames}", "--inner=3"],
            # "Flat", with room for what longer rows do to the processor's caches.
            goals=[Goal("<= 1.5", "ours", at_most=1.5)],
            extra="us_a_hop",
        )
    yield Comparison(
        "construction",
        "one frame made",
        "ns",
        ["construction", f"--frames={frames}"],
        ["-c", CONSTRUCTION, str(frames)],
        goals=[Goal("<= 250 ns", "ours", at_most=250)],
    )
    for kind, goal in (("class", share(5)), ("inline", share(20))):
        if kind in kinds:
            yield Comparison(
                "latency",
                f"one frame at idle through N=10, p50, {KIND_NAMES[kind]}",
                "us",
                ["latency", f"--kind={kind}", count(1000)],
                ["latency", count(1000), "--runs=1"],
                goals=[goal],
            )
    yield from watched(kinds, frames)
    for n in (10, 50):
        for kind in kinds:
            yield Comparison(
                "stall",
                f"worst stall while a backlog of {frames:,} drains, N={n}, {KIND_NAMES[kind]}",
                "ms",
                ["stall", f"--kind={kind}", f"--n={n}", f"--frames={frames}", "--inner=3"],
                ["throughput", f"--n={n}", f"--frames={frames}", "--runs=1"] if n == 10 else None,
                peer_figure=lambda record: record["max_loop_stall_ms"]["med"],
                goals=[Goal("<= 2 ms of CPU", "ours", at_most=2)],
            )
    if "class" in kinds:
        yield Comparison(
            "cancel",
            "cancel() to run() returned, 10 sleeping processors",
            "ms",
            ["cancel", count(30)],
            ["cancel", count(30)],
            goals=[share(8)],
        )
    for backlog, times in ((0, 200), (1000, 40)):
        for kind in async_kinds:
            behind = f" behind a backlog of {backlog:,}" if backlog else ""
            yield Comparison(
                "interrupt",
                f"interrupt to the 10th processor's handler stopped, p50{behind}, {KIND_NAMES[kind]}",
                "us",
                ["interrupt", f"--kind={kind}", count(times), f"--backlog={backlog}"],
                ["interrupt", count(times), f"--backlog={backlog}"],
                goals=[share(12)],
            )
    for kind in kinds:
        yield Comparison(
            "lifecycle",
            f"build + start + end of an empty pipeline of 10, {KIND_NAMES[kind]}",
            "ms",
            ["lifecycle", f"--kind={kind}", count(100)],
            ["lifecycle", count(50)],
            goals=[share(8)],
            extra="ms",
        )
    for shared in (True, False):
        for kind in kinds:
            limit_kib = {"class": 40, "block": 40}.get(kind, 16)
            yield Comparison(
                "memory",
                f"memory of an idle running pipeline of 5, {'one runner' if shared else 'a runner each'}, {KIND_NAMES[kind]}",
                "KiB",
                ["memory", f"--kind={kind}", "--n=5", count(1000), *(["--share"] if shared else [])],
                ["memory", "--n=5", count(200), *(["--share"] if shared else [])],
                goals=[Goal(f"<= {limit_kib} KiB", "ours", at_most=limit_kib)] if shared else [],
                extra="tasks",
            )
    yield from buses(scale)
    yield Comparison(
        "registry",
        "10,000 workers start, another runner in the process knows them all; the limit is without a bus",
        "CPU-s",
        ["registry", count(10_000), "--inner=3"],
        limit=["registry", count(10_000), "--inner=3", "--carrier=none"],
        goals=[Goal("< 2 s", "ours", at_most=2)],
        extra="known",
    )
    for way, limit_ns in (("encode", 1_500), ("decode", 2_500)):
        yield Comparison(
            "wire",
            f"a frame of 640 bytes {way}d; the limit is msgspec alone",
            "ns",
            [way, f"--frames={frames}"],
            limit=[f"plain_{way}", f"--frames={frames}"],
            goals=[Goal(f"<= {limit_ns:,} ns", "ours", at_most=limit_ns)],
        )
    for kind in async_kinds:
        yield Comparison(
            "memory10k",
            f"10,000 idle running pipelines of 5, whole process, {KIND_NAMES[kind]}",
            "MiB",
            ["memory", f"--kind={kind}", "--n=5", count(10_000), "--share"],
            goals=[Goal("< 500 MiB", "process_mib", at_most=500)],
        )
    for kind in kinds:
        yield Comparison(
            "many",
            f"100 pipelines of 5 at once, 1,000 frames each, frames/CPU-s in all, {KIND_NAMES[kind]}",
            "1/s",
            ["many", f"--kind={kind}", "--n=5", count(100), f"--frames={min(frames, 1000)}", "--inner=1"],
            ["many", "--n=5", count(100), f"--frames={min(frames, 1000)}", "--runs=1"],
            goals=[ratio(30 if kind in ("class", "block") else 90)],
        )


def buses(scale: float) -> Iterator[Comparison]:
    """The bus of one process. The peer's carries a targeted message to every subscriber, so its broadcasts are the peer."""
    for n, messages in ((1, 20_000), (10, 5_000), (100, 1_000)):
        count = f"--frames={max(2, round(messages * scale))}"
        for targeted in (False, True):
            goals = [ratio(30 if targeted and n == 100 else 1)]
            limit = None
            if targeted and n > 1:  # whatever the number of subscribers
                limit = ["bus", "--n=1", count, "--targeted"]
                goals.append(Goal(">= 0.9 of one subscriber", "limit", at_least=0.9))
            yield Comparison(
                "bus",
                f"messages/CPU-s to {n} subscribers, {'for one of them' if targeted else 'broadcast'}",
                "1/s",
                ["bus", f"--n={n}", count, *(["--targeted"] if targeted else [])],
                ["bus", f"--subs={n}", "--runs=1"],
                limit=limit,
                goals=goals,
            )


def watched(kinds: tuple[str, ...], frames: int) -> Iterator[Comparison]:
    """What it costs to be watched and to measure: held against the same pipeline without."""

    def beside(what: str, ours: list[str], bare: str) -> Comparison:
        return Comparison(
            "watched",
            f"frames/CPU-s, N=10, {what}",
            "1/s",
            ["throughput", *ours, f"--frames={frames}"],
            limit=["throughput", f"--kind={bare}", f"--frames={frames}"],
        )

    for kind in kinds:
        name = KIND_NAMES[kind]
        yield beside(f"{name}, an observer counts the pushes", [f"--kind={kind}", "--observe=pushes"], kind)
        yield beside(f"{name}, and what was handled", [f"--kind={kind}", "--observe=both"], kind)
    if "class" in kinds:
        yield beside("metrics on, nobody measures", ["--kind=class", "--metrics"], "class")
        yield beside("each measures each frame, metrics off", ["--kind=measures"], "class")
        yield beside("each measures each frame, metrics on", ["--kind=measures", "--metrics"], "class")


# The peer's scripts have none for this one.
CONSTRUCTION = """
import json, sys, time, gc
from pipecat.frames.frames import TextFrame
n, took = int(sys.argv[1]), []
for make in (lambda: [None for _ in range(n)], lambda: [TextFrame(text="hello") for _ in range(n)]):
    gc.collect(); gc.disable(); t = time.thread_time(); made = make(); took.append(time.thread_time() - t); gc.enable()
print(json.dumps({"value": (took[1] - took[0]) / n * 1e9}))
"""
ROWS = (
    "throughput",
    "per_hop",
    "construction",
    "latency",
    "watched",
    "stall",
    "cancel",
    "interrupt",
    "lifecycle",
    "memory",
    "memory10k",
    "many",
    "bus",
    "registry",
    "wire",
)

# -- running


@dataclass(frozen=True)
class Peer:
    python: str
    scripts: Path

    def command(self, arguments: list[str]) -> list[str]:
        if arguments[0] == "-c":
            return [self.python, *arguments]
        return [self.python, str(self.scripts / f"pipecat_{arguments[0]}.py"), *arguments[1:]]


def find_peer(python: str | None, scripts: str | None) -> Peer | str:
    """The peer, or why there is none."""
    if not python and not scripts:
        return (
            "no peer was given: --peer-python and --peer-scripts, or TRIO_PIPES_PEER_PYTHON and TRIO_PIPES_PEER_SCRIPTS"
        )
    if not python or not scripts:
        return "a peer needs both: --peer-python PATH and --peer-scripts DIR"
    if not (Path(scripts) / "pipecat_throughput.py").is_file():
        return f"--peer-scripts {scripts}: there is no pipecat_throughput.py in it"
    peer = Peer(python, Path(scripts))
    try:
        _run(peer.command(["throughput", "--help"]), timeout=120)
    except (OSError, RuntimeError) as exc:
        return f"--peer-python {python}: cannot run the peer's scripts: {exc}"
    return peer


def _run(command: list[str], timeout: float) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" or "ours.py" in command[1]}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout, env=environment)
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["(it said nothing)"])[-1]
        raise RuntimeError(f"{' '.join(command[:4])} ... ended with {ended.returncode}: {last}")
    return ended.stdout


def _record(command: list[str], timeout: float) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(_run(command, timeout).strip().splitlines()[-1])
    return record


class Bench:
    """Measures, and remembers what has been measured: several lines share one figure of the peer's."""

    def __init__(self, peer: Peer | None, runs: int, timeout: float) -> None:
        self.peer = peer
        self.runs = runs
        self.timeout = timeout
        self._peer_records: dict[tuple[str, ...], list[dict[str, Any]]] = {}

    def measure(self, lines: list[Comparison]) -> Iterator[dict[str, Any]]:
        """All lines that share a measurement of the peer's together, in turns with it."""
        for group in _grouped(lines):
            ours: list[list[dict[str, Any]]] = [[] for _ in group]
            limits: list[list[dict[str, Any]]] = [[] for _ in group]
            errors: list[str | None] = [None for _ in group]
            theirs = self._peer_records.setdefault(tuple(group[0].peer or ()), [])
            for _ in range(self.runs):
                for at, line in enumerate(group):
                    try:
                        ours[at].append(self._ours(line.ours))
                        if line.limit:
                            limits[at].append(self._ours(line.limit))
                    except (RuntimeError, subprocess.TimeoutExpired) as exc:
                        errors[at] = str(exc)
                if self.peer and group[0].peer and len(theirs) < self.runs:
                    theirs.append(_record(self.peer.command(group[0].peer), self.timeout))
            for line, records, limit, error in zip(group, ours, limits, errors, strict=True):
                yield result_of(line, records, theirs, limit, error)

    def _ours(self, arguments: list[str]) -> dict[str, Any]:
        return _record([sys.executable, str(HERE / "ours.py"), *arguments], self.timeout)


def _grouped(lines: list[Comparison]) -> list[list[Comparison]]:
    groups: dict[tuple[str, tuple[str, ...]], list[Comparison]] = {}
    for line in lines:
        groups.setdefault((line.row, tuple(line.peer or line.ours)), []).append(line)
    return list(groups.values())


def result_of(
    line: Comparison,
    ours: list[dict[str, Any]],
    theirs: list[dict[str, Any]],
    limits: list[dict[str, Any]],
    error: str | None,
) -> dict[str, Any]:
    """A line with its figures, as it goes into the JSON."""
    figures: dict[str, float | None] = {
        "ours": _median(record["value"] for record in ours),
        "process_mib": _median(record["process_mib"] for record in ours if "process_mib" in record),
        "peer": _median(line.peer_figure(record) for record in theirs) if line.peer else None,
        "limit_value": _median(record["value"] for record in limits),
    }
    if line.row == "memory10k":
        figures["ours"] = figures["process_mib"]
    figures["ratio"] = _quotient(figures["ours"], figures["peer"])
    figures["limit"] = _quotient(figures["ours"], figures["limit_value"])
    goals = [{"goal": goal.text, "reached": _is_reached(goal, figures[goal.figure])} for goal in line.goals]
    result: dict[str, Any] = {
        "row": line.row,
        "what": line.what,
        "unit": line.unit,
        **{name: figures[name] for name in ("ours", "peer", "ratio", "limit_value", "limit")},
        "goals": goals,
        "all_ours": [record["value"] for record in ours],
        "all_peer": [line.peer_figure(record) for record in theirs] if line.peer else [],
    }
    if line.extra and ours:
        result["extra"] = {line.extra: ours[-1].get(line.extra)}
    if error:
        result["error"] = error
    return result


def _median(values: Iterable[float]) -> float | None:
    values = list(values)
    return statistics.median(values) if values else None


def _quotient(a: float | None, b: float | None) -> float | None:
    return a / b if a is not None and b else None


def _is_reached(goal: Goal, figure: float | None) -> bool | None:
    """None: could not be measured."""
    if figure is None:
        return None
    return (goal.at_least is None or figure >= goal.at_least) and (goal.at_most is None or figure <= goal.at_most)


# -- the table


def table_line(result: dict[str, Any]) -> str:
    marks = {True: "reached", False: "MISSED", None: "not measured"}
    goals = "; ".join(f"{goal['goal']}: {marks[goal['reached']]}" for goal in result["goals"]) or "-"
    cells = [
        result["what"],
        _shown(result["ours"], result["unit"]),
        _shown(result["peer"], result["unit"]),
        _ratio_shown(result["ratio"]),
        _shown(result["limit_value"], result["unit"])
        + ("" if result["limit"] is None else f" ({result['limit']:.2f})"),
        goals if "error" not in result else f"ERROR {result['error']}",
    ]
    return "| " + " | ".join(cells) + " |"


HEAD = "| what | ours | peer | ratio | limit here (ours to it) | goal |\n|---|---|---|---|---|---|"


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "1/s":
        return f"{value:,.0f}"
    return f"{value:,.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"


def _ratio_shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f} x" if value >= 1 else f"1/{1 / value:.1f}"


def choices(allowed: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        chosen = tuple(text.split(","))
        if unknown := set(chosen) - set(allowed):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: expected some of {','.join(allowed)}")
        return chosen

    return parse


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=choices(ROWS), default=ROWS, help=f"default: all of {','.join(ROWS)}")
    parser.add_argument("--n", default="1,5,10,50", help="pipeline lengths of the throughput rows")
    parser.add_argument("--kinds", type=choices(KINDS), default=KINDS)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=5, help="turns; the medians count")
    parser.add_argument("--scale", type=float, default=1.0, help="smaller counts in the other rows, for a quick look")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one measurement")
    parser.add_argument("--peer-python", default=os.environ.get("TRIO_PIPES_PEER_PYTHON"))
    parser.add_argument("--peer-scripts", default=os.environ.get("TRIO_PIPES_PEER_SCRIPTS"))
    parser.add_argument("--strict", action="store_true", help="exit code 1 when a goal was missed")
    a = parser.parse_args()

    found = find_peer(a.peer_python, a.peer_scripts)
    peer = found if isinstance(found, Peer) else None
    if peer is None:
        print(f"Without the peer, so without ratios: {found}.", file=sys.stderr)
    lines: list[Comparison] = list(throughput([int(n) for n in a.n.split(",")], a.kinds, a.frames))
    lines += others(a.kinds, a.frames, a.scale)
    print(HEAD, file=sys.stderr, flush=True)
    results = []
    for result in Bench(peer, a.runs, a.timeout).measure([line for line in lines if line.row in a.rows]):
        results.append(result)
        print(table_line(result), file=sys.stderr, flush=True)
    reached = [goal["reached"] for result in results for goal in result["goals"]]
    summary = {
        name: reached.count(value) for name, value in (("reached", True), ("missed", False), ("not_measured", None))
    }
    about = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load1": os.getloadavg()[0],
        "runs": a.runs,
        "peer": "pipecat-ai" if peer else None,
        "without_peer": None if peer else found,
    }
    print(json.dumps({"about": about, "goals": summary, "results": results}, indent=1))
    print(
        f"Goals: {summary['reached']} reached, {summary['missed']} missed, {summary['not_measured']} not measured.",
        file=sys.stderr,
    )
    return 1 if summary["missed"] and a.strict else 0


if __name__ == "__main__":
    sys.exit(main())
