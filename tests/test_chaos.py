"""The machines of `nox -s chaos` are what they are said to be, and its accounts notice what is lost without a word."""

from __future__ import annotations

import os
import shutil
import sys
import time

import pytest
import trio

from chaos.__main__ import main, one
from chaos.brokers import BROKERS
from chaos.network import PREFIX, Network, in_network, ip, namespaces, remove_stale
from chaos.process import Hung, Process, now
from chaos.rights import lacking
from chaos.scenario import Scenario, Stage
from chaos.verdict import judge, ranges

# Says its clocks and its name; answers what comes over the network, until the end of its input.
ECHO = """
import json, socket, sys, threading, time
server = socket.create_server(("0.0.0.0", 700))
def serve():
    while True:
        connection = server.accept()[0]
        threading.Thread(target=echo, args=[connection], daemon=True).start()
def echo(connection):
    while data := connection.recv(99):
        connection.sendall(data)
threading.Thread(target=serve, daemon=True).start()
print(json.dumps({"event": "up", "monotonic": time.monotonic(), "wall": time.time(), "host": socket.gethostname()}), flush=True)
for line in sys.stdin:
    print(json.dumps({"event": "heard", "at": time.perf_counter()}), flush=True)
"""
# Sends a letter every 20 ms and says when it came back; says how its connection ends.
ASK = """
import json, socket, sys, time
def say(**line): print(json.dumps(line), flush=True)
connection = socket.create_connection((sys.argv[1], 700))
connection.settimeout(20)
try:
    while True:
        connection.sendall(b"x")
        if not connection.recv(1): raise ConnectionError("closed")
        say(event="back")
        time.sleep(0.02)
except OSError as error:
    say(event="lost", error=type(error).__name__)
"""


@pytest.fixture(autouse=True)
def machines(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("chaos") and (missing := lacking()):
        pytest.skip(f"no machines here, for want of {'; '.join(missing)}")


async def pair(network: Network, wall_shift: float | None = None) -> tuple:
    near, far = await network.machine("near"), await network.machine("far", wall_shift=wall_shift)
    echo = await far.start(sys.executable, "-c", ECHO, name="echo")
    up = await echo.wait_for("up")
    ask = await near.start(sys.executable, "-c", ASK, far.address, name="ask")
    await ask.wait_for("back")
    return near, far, echo, ask, up


@pytest.mark.chaos
async def test_each_machine_has_a_name_a_network_and_clocks_of_its_own() -> None:
    async def body(network: Network) -> None:
        *_, up = await pair(network, wall_shift=300)
        assert up["host"] == "far"
        assert 290 < up["wall"] - time.time() < 310
        assert abs(up["monotonic"] - time.monotonic() - 2 * 86_400) < 10

    await in_network(body)
    assert not [name for name in await namespaces() if name.startswith(f"{PREFIX}{os.getpid()}-")]


@pytest.mark.chaos
async def test_a_cut_cable_resets_nothing_and_what_was_on_its_way_comes_when_it_is_healed() -> None:
    async def body(network: Network) -> None:
        near, far, _, ask, _ = await pair(network)
        await far.cut()
        await trio.sleep(0.2)
        before = len(ask.lines)
        await trio.sleep(0.5)
        assert len(ask.lines) == before
        healed = now()
        await far.heal()
        await ask.wait_for("back", since=healed)
        assert not ask.all("lost")
        # And the other end, where the near one's cable is the one that is cut.
        await near.cut()
        await trio.sleep(0.2)
        before = len(ask.lines)
        healed = now()
        await near.heal()
        await ask.wait_for("back", since=healed)

    await in_network(body)


@pytest.mark.chaos
async def test_a_killed_process_is_dead_and_a_frozen_one_only_still() -> None:
    async def body(network: Network) -> None:
        _, _, echo, ask, _ = await pair(network)
        echo.freeze()
        await trio.sleep(0.1)
        before = len(ask.lines)
        await trio.sleep(0.3)
        assert len(ask.lines) == before
        thawed = now()
        echo.thaw()
        await ask.wait_for("back", since=thawed)
        echo.kill()
        assert await echo.wait() == -9
        assert (await ask.wait_for("lost"))["error"] in {"ConnectionError", "ConnectionResetError", "BrokenPipeError"}
        with pytest.raises(Hung, match="should say back"):
            await ask.wait_for("back", since=now(), within=0.2)

    await in_network(body)


@pytest.mark.chaos
async def test_nothing_is_left_when_the_body_fails_or_the_harness_is_killed() -> None:
    started = []

    async def body(network: Network) -> None:
        *_, echo, ask, _ = await pair(network)
        started.extend([echo, ask])
        raise ValueError("the body's own")

    with pytest.raises(ValueError, match="the body's own") as caught:
        await in_network(body)
    (note,) = caught.value.__notes__
    folder = trio.Path(note.split()[-1])
    assert len([*await folder.glob("*.stderr")]) == 2
    shutil.rmtree(folder)
    assert all([await process.wait(1) == -9 for process in started])
    dead = await trio.run_process([sys.executable, "-c", "import os; print(os.getpid())"], capture_stdout=True)
    name = f"{PREFIX}{int(dead.stdout)}-one"
    await ip("netns", "add", name)
    await remove_stale()
    assert name not in await namespaces()


@pytest.mark.chaos
@pytest.mark.parametrize("broker", BROKERS)
async def test_a_broker_is_killed_and_comes_back(broker: str) -> None:
    async def body(network: Network) -> None:
        server = BROKERS[broker](await network.machine("broker"), network.folder)
        near = await network.machine("near")
        port = {"redis": 6379, "postgres": 5432}[broker]
        code = f"import socket, sys; socket.create_connection(({server.machine.address!r}, {port}), 2)"
        for _ in range(2):
            await server.start()
            assert await (await near.start(sys.executable, "-c", code)).wait() == 0
            await server.kill()
            assert await (await near.start(sys.executable, "-c", code)).wait() == 1

    await in_network(body)


@pytest.mark.chaos
@pytest.mark.parametrize("name", ["example-typed", "example-without-power"])
def test_the_example_holds_on_three_machines(name: str) -> None:
    assert main(["--only", name]) == 0


@pytest.mark.chaos
async def test_what_hangs_and_what_does_not_hold_is_told() -> None:
    async def hang(stage: Stage) -> None:
        await trio.sleep_forever()

    async def fail(stage: Stage) -> None:
        stage.within("what took long", 3.0, 2.0)
        await trio.lowlevel.checkpoint()

    for act, problem in (
        (hang, "it hung: not over within 0.3 s"),
        (fail, "what took long: 3.00 s, and it may be 2.00 s"),
    ):
        report = await one("redis", Scenario("test", act, 0.3, ("redis",), None))
        found, where = report.problems
        assert found.startswith(problem)
        assert str(report).startswith("FAIL redis    test")
        shutil.rmtree(where.split()[-1])


# What the accounts are worth: what was lost without a word is noticed, and what was told is not. These need no machines.


class Said(Process):
    """A process that never ran, and what it would have said."""

    def __init__(self, *lines: tuple) -> None:
        self.lines = [{"event": event, "at": at, **fields} for event, at, fields in lines]
        self.killed = self.frozen = False


def sent(*numbers: int, event: str = "sent") -> list[tuple]:
    return [(event, 10.0 * n, {"source": "a", "n": n}) for n in numbers]


def got(*numbers: int) -> list[tuple]:
    return [("got", 10.0 * n + 0.1, {"ear": "b", "source": "a", "n": n}) for n in numbers]


def gap(at: float) -> tuple:
    return "gap", at, {"ear": "b"}


HEARS = ("hears", -100.0, {"ear": "b"})


@pytest.mark.parametrize(
    ("said", "heard", "problem"),
    [
        (sent(0, 1, 2), got(0, 1, 2), None),
        (sent(0, 1, 2), got(0, 2), "1 of 3 did not come, and nobody was told"),
        (sent(0, 1, 2), [*got(0, 2), gap(15)], None),
        (sent(0, 1, 2), [*got(0, 2), gap(1)], "1 of 3 did not come"),  # told before it was sent: of something else
        (sent(0, 1, 2), [*got(0, 2), gap(21)], "1 of 3 did not come"),  # after the next
        (sent(0, 1, 2), [*got(0), gap(11)], "2 of 3 did not come"),
        (sent(0, 1, 2), [*got(0), gap(40)], None),
        ([*sent(0, 2), *sent(1, event="not sent")], got(0, 2), None),
        ([*sent(0, 2), *sent(1, event="not sent")], got(0, 1, 2), None),
        (sent(0, 1), got(0, 1, 2), None),  # killed before it could say so
        (sent(0, 1), got(0, 1, 3), "3 came and were not sent"),
        (sent(0, 1, 2), got(0, 1, 1, 2), "1 came twice"),
        (sent(0, 1, 2), got(0, 2, 1), "1 came behind 2"),
        (sent(0, 1, 2), [*got(0), ("deaf", 5.0, {"ear": "b"})], None),
    ],
)
def test_what_is_lost_without_a_word_is_noticed(said: list, heard: list, problem: str | None) -> None:
    account = judge(Said(*said), "a", Said(HEARS, *heard), "b")
    if problem is None:
        assert account.problems == []
    else:
        assert any(problem in found for found in account.problems), account.problems


def test_what_was_sent_before_it_listened_or_when_it_was_dead_does_not_count() -> None:
    listener = Said(("hears", 15.0, {"ear": "b"}), *got(2, 3))
    assert judge(Said(*sent(0, 1, 2, 3)), "a", listener, "b").problems == []
    assert judge(Said(*sent(0, 1, 2, 3, 4)), "a", listener, "b").problems
    listener.killed = True
    assert judge(Said(*sent(0, 1, 2, 3, 4)), "a", listener, "b").problems == []


def test_numbers_are_told_in_runs() -> None:
    assert ranges([9, 3, 5, 6, 7]) == "3, 5-7, 9"
    assert ranges(list(range(0, 40, 2))).endswith("14, ... (20 in all)")


def test_a_machine_without_the_rights_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert lacking() == ["the rights of root"]
    monkeypatch.delenv("CI", raising=False)
    assert main([]) == 3
    assert "nothing was run: cannot make machines here, for want of the rights of root" in capsys.readouterr().err
    monkeypatch.setenv("CI", "true")
    assert main([]) == 1
