"""What registries know of each other, with messages lost, doubled and out of order, and runners killed, cut off and back.

The truth is simple: at each version that a runner has told of, the workers that it had then. What must hold at any time: whoever
knows a runner at a version knows exactly the workers of that version. And when the network is well again: whoever lives is
known as it is, and whoever does not is forgotten.
"""

from __future__ import annotations

import copy
import random

import attrs
from hypothesis import given, settings, strategies as st

from trio_pipes import Codec
from trio_pipes.host._registry._announced import Announced
from trio_pipes.host._registry._directory import UNKNOWN, Directory
from trio_pipes.host._registry._info import WorkerInfo
from trio_pipes.host._registry._messages import ACTIVE, READY, RegistryGoodbye, RegistryQuestion, Row

LEASE = 9.0
CODEC = Codec()


@attrs.define(eq=False)
class Node:
    """One runner's registry: what it tells, and what it knows."""

    id: str
    announced: Announced
    directory: Directory = attrs.field(init=False)
    truth: dict[int, dict[str, Row]] = attrs.field(factory=lambda: {0: {}})
    now: dict[str, Row] = attrs.field(factory=dict)
    life: int = 0
    askers: set[str] = attrs.field(factory=set)
    seen: dict[tuple[str, str], WorkerInfo] = attrs.field(factory=dict)
    """Who is up, by what it was told in steps."""
    versions: dict[object, int] = attrs.field(factory=dict)
    ended: dict[str, tuple[int, float]] = attrs.field(factory=dict)
    """Goodbyes that it has heard, and when."""

    def __attrs_post_init__(self) -> None:
        self.directory = Directory(self.changed)

    def changed(self, info: WorkerInfo, reason: str | None) -> None:
        key = (info.runner, info.name)
        if reason is None:
            before = self.seen.get(key)
            assert before != info, "told twice"
            assert before is None or before.life == info.life, "another life of the name, and its end was not told"
            self.seen[key] = info
        else:
            assert self.seen.pop(key) == info


def row(info: WorkerInfo) -> Row:
    return (info.name, info.kind, info.parent, READY * info.ready + ACTIVE * info.active, info.life)


class Network:
    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.time = 0.0
        self.made = 0
        self.nodes: dict[str, Node] = {}
        self.cut: set[str] = set()
        self.wire: list[tuple[str, object]] = []  # to whom, what

    # -- what happens

    def start(self) -> None:
        if len(self.nodes) == 4:
            return
        self.made += 1
        node = Node(f"r-{self.made}", Announced(f"r-{self.made}", LEASE, most_rows=1))
        self.nodes[node.id] = node
        self.send(node, node.announced.beat())
        self.send(node, RegistryQuestion(source=node.id))

    def end(self) -> None:
        if len(self.nodes) == 1:
            return
        node = self.one()
        if self.dice.random() < 0.7:
            self.send(node, node.announced.goodbye())
        del self.nodes[node.id]
        self.cut.discard(node.id)

    def run_again(self) -> None:
        """The same runner ends, says so, and runs again."""
        node = self.one()
        self.send(node, node.announced.goodbye())
        node.now = {}
        node.truth[node.announced.version] = {}
        self.send(node, node.announced.beat())

    def change(self) -> None:
        node = self.one()
        for _ in range(self.dice.randrange(4)):
            name, flags = self.dice.choice("abc"), self.dice.randrange(-2, 4)
            if flags < 0:
                node.now.pop(name, None)
                node.announced.remove(name)
                continue
            known = node.now.get(name)
            if known is None:
                node.life += 1
            node.now[name] = (name, "Kind", None, flags, node.life if known is None else known[4])
            node.announced.put(node.now[name])
        if self.dice.random() < 0.8:
            self.say(node)

    def cut_off(self) -> None:
        self.cut.add(self.one().id)

    def mend(self) -> None:
        for node in list(self.nodes.values()):
            if node.id in self.cut:
                self.send(node, RegistryQuestion(source=node.id))
        self.cut.clear()

    def speak(self) -> None:
        node = self.one()
        if self.dice.random() < 0.5:
            node.askers.update(self.nodes)
        self.say(node)

    def wait(self) -> None:
        self.time += self.dice.choice([0.1, 0.1, 1.0, 1.0, 3.0, 8.0, 20.0])
        for node in self.nodes.values():
            node.directory.expire(self.time)

    def some_messages(self) -> None:
        """A third is lost, a third comes (of that, some twice), a third is still on its way."""
        wire, self.wire = self.wire, []
        if self.dice.random() < 0.5:
            self.dice.shuffle(wire)
        for target, message in wire:
            fate = self.dice.randrange(6)
            if fate in (1, 2, 3):
                self.arrive(target, message)
            if fate in (3, 4, 5):
                self.wire.append((target, message))

    def all_messages(self) -> None:
        while self.wire:
            self.arrive(*self.wire.pop(0))

    # -- how

    def one(self) -> Node:
        return self.nodes[self.dice.choice(sorted(self.nodes))]

    def send(self, node: Node, message: object) -> None:
        if node.id in self.cut:
            return
        for other in self.nodes.values():
            if other is not node and message.target in (None, other.id):  # type: ignore[attr-defined]
                self.wire.append((other.id, CODEC.decode(CODEC.encode(message))))

    def say(self, node: Node) -> None:
        """As the one who speaks does."""
        changes = node.announced.changes()
        for change in changes:
            told = copy.copy(node.truth[change.version - 1])
            for name in change.removed:
                told.pop(name, None)
            told.update({it[0]: it for it in change.added})
            node.truth[change.version] = told
            self.send(node, change)
        assert node.truth[node.announced.version] == node.now
        self.send(node, node.announced.beat())
        for target in list(node.directory.questions):
            self.send(node, RegistryQuestion(source=node.id, target=target))
        node.directory.questions.clear()
        if node.askers:
            target = next(iter(node.askers)) if len(node.askers) == 1 else None
            node.askers.clear()
            for part in node.announced.snapshot(target):
                self.send(node, part)

    def arrive(self, target: str, message: object) -> None:
        node = self.nodes.get(target)
        if node is None or target in self.cut:
            return
        if isinstance(message, RegistryQuestion):
            if message.target is not None:
                node.askers.add(message.source)
            return
        known = node.directory._runners.get(message.source)
        node.directory.hear(message, self.time)  # type: ignore[arg-type]
        if isinstance(message, RegistryGoodbye):
            if known is not None and known.version > message.version:
                assert node.directory._runners[message.source] is known, "it was in its next run already"
            elif message.version > node.ended.get(message.source, (UNKNOWN, 0.0))[0]:
                node.ended[message.source] = message.version, self.time

    # -- what must hold

    def what_is_known_was_true(self) -> None:
        for node in self.nodes.values():
            known: dict[str, set[WorkerInfo]] = {}
            for there in node.directory._runners.values():
                for info in there.workers.values():
                    known.setdefault(info.name, set()).add(info)
                assert there.version >= node.versions.get(there, UNKNOWN), "it went back"
                node.versions[there] = there.version
                if there.version == UNKNOWN:
                    assert not there.workers
                    continue
                ended, when = node.ended.get(there.id, (UNKNOWN, 0.0))
                assert there.version > ended or self.time > when + 2 * LEASE, "it had said goodbye"
                if there.id in self.nodes:
                    rows = {name: row(info) for name, info in there.workers.items()}
                    assert rows == self.nodes[there.id].truth[there.version]
            assert {name: set(infos) for name, infos in node.directory._names.items()} == known
            assert {(info.runner, info.name): info for infos in known.values() for info in infos} == node.seen

    def get_well(self) -> None:
        """The network is well: within a lease, everybody knows everybody."""
        self.mend()
        for _ in range(5):
            self.time += LEASE / 3
            for node in self.nodes.values():
                self.say(node)
            self.all_messages()
            for node in self.nodes.values():
                self.say(node)
            self.all_messages()
            for node in self.nodes.values():
                node.directory.expire(self.time)
        for node in self.nodes.values():
            assert {*node.directory.runners} == {*self.nodes} - {node.id}
            for there in node.directory._runners.values():
                assert {name: row(info) for name, info in there.workers.items()} == self.nodes[there.id].now
                assert not there.ahead
                assert not there.parts
            assert not node.directory.questions
        self.what_is_known_was_true()


WEIGHTS = {
    Network.start: 2,
    Network.end: 1,
    Network.run_again: 1,
    Network.change: 12,
    Network.speak: 6,
    Network.cut_off: 1,
    Network.mend: 2,
    Network.wait: 3,
    Network.some_messages: 12,
    Network.all_messages: 2,
}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_b4_whoever_knows_a_runner_knows_it_as_it_was_and_in_the_end_as_it_is(seed: int) -> None:
    dice = random.Random(seed)
    network = Network(dice)
    network.start()
    network.start()
    for step in dice.choices([*WEIGHTS], [*WEIGHTS.values()], k=80):
        step(network)
        network.what_is_known_was_true()
    network.get_well()
