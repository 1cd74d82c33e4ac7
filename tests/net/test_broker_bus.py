"""What all buses over brokers share: order, reconnection, gaps, names, closing; over a broker in memory that breaks."""

import logging
import random
from itertools import pairwise

import msgspec
import pytest
import trio
import trio.testing

from net_kit import Broker, FakeLink, Note, Shout
from trio_pipes import (
    BaseWorker,
    BusError,
    BusGap,
    ConfigurationError,
    DataMessage,
    JobError,
    JobRequest,
    PipelineRunner,
    Subscription,
    job,
)
from trio_pipes.net import BrokerStatistics
from trio_pipes.net._broker_link import Refused
from trio_pipes.net._wire import Sealer
from trio_pipes.testing import Attempt, cancel_at_every_checkpoint


async def numbers(messages: object, count: int) -> list[int]:
    return [(await messages.receive()).n for _ in range(count)]  # type: ignore[attr-defined]


async def test_messages_cross(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus() as one, broker.bus() as two:
        async with (
            one.subscribe("a", Note) as at_a,
            two.subscribe("b", Note) as at_b,
            two.subscribe("c", Shout) as at_c,
        ):
            assert await one.send(Note(source="a", target="b", n=1, text="hello"))
            assert await one.send(Note(source="a", n=2))
            assert await two.send(Note(source="b", target="a/below", n=3)), "somebody else may have it"
            assert await two.send(Note(source="b", target="a", n=4))
            assert await two.send(Note(source="b", n=5))
            got = await at_b.receive()
            assert (type(got), got.source, got.target, got.n, got.text) == (Note, "a", "b", 1, "hello")
            assert await numbers(at_b, 1) == [2]
            assert await numbers(at_a, 2) == [4, 5]
            with pytest.raises(trio.WouldBlock):
                at_c.receive_nowait()
    assert one.statistics().received == 3, "what is for a name below a topic that is attended comes too"


async def test_a_message_for_somebody_here_does_not_leave_the_process(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus() as one, one.subscribe("a") as here:
        await one.send(Note(target="a", n=1))
        assert (await here.receive()).n == 1
    assert broker.batches == []


async def test_ones_own_broadcast_does_not_come_back(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus() as one, one.subscribe("a", Note) as here, one.subscribe("b", Note) as sender:
        await one.send(Note(source="b", n=1))
        assert (await here.receive()).n == 1
        await trio.sleep(1)
        assert (one.statistics().received, here.statistics().waiting, sender.statistics().waiting) == (0, 0, 0)


# It goes out as soon as the command under way is answered, before the data that waits.
async def test_system_messages_go_first(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus() as one, broker.bus() as two, two.subscribe("b", buffer=1000) as at_b:
        broker.pause()
        for n in range(500):
            await one.send(Note(target="b", n=n))
        await trio.sleep(0.1)
        await one.send(Shout(target="b", n=-1))
        broker.go_on()
        await trio.sleep(0.1)
        assert 1 < len(broker.batches) <= 5
        assert await numbers(at_b, 501) == [-1, *range(500)], "and the receiver's subscription does the same"


async def test_a_sender_waits_when_the_broker_is_slow_and_then_it_fails(autojump_clock) -> None:
    broker = Broker()
    async with (
        broker.bus(send_timeout=5.0, lease=1000.0) as one,
        broker.bus(lease=1000.0) as two,
        two.subscribe("b", buffer=5000) as at_b,
    ):
        broker.pause()
        sent = 0
        with pytest.raises(BusError, match="a broker in memory took nothing for 5 s"):
            while True:
                await one.send(Note(target="b", n=sent))
                sent += 1
        assert sent == 1000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.send, Note(target="b", n=sent))
            await trio.sleep(1)
            broker.go_on()
        assert await numbers(at_b, sent + 1) == list(range(sent + 1))


async def test_large_messages_fill_the_room_too_and_one_always_fits(autojump_clock) -> None:
    broker = Broker()
    async with (
        broker.bus(send_timeout=1.0, lease=1000.0) as one,
        broker.bus(lease=1000.0) as two,
        two.subscribe("b") as at_b,
    ):
        broker.pause()
        await one.send(Note(target="b", text="x" * 1_000_000))
        with pytest.raises(BusError):
            await one.send(Note(target="b", text="x" * 100_000))
        broker.go_on()
        await trio.sleep(1)
        await one.send(Note(target="b", text="x" * 100_000))
        assert [len((await at_b.receive()).text) for _ in range(2)] == [1_000_000, 100_000]


async def test_a_cancelled_send_sends_nothing_or_all(autojump_clock) -> None:
    broker = Broker()
    async with (
        broker.bus(lease=1000.0) as one,
        broker.bus(lease=1000.0) as two,
        two.subscribe("b", buffer=5000) as at_b,
    ):
        broker.pause()
        for n in range(1000):
            await one.send(Note(target="b", n=n))
        with trio.move_on_after(1) as scope:
            await one.send(Note(target="b", n=-1))
        assert scope.cancelled_caught
        broker.go_on()
        await one.send(Note(target="b", n=1000))
        assert await numbers(at_b, 1001) == list(range(1001))


# G21: the peer's reader ended with its connection, and nobody was told.
async def test_g21_a_lost_connection_is_made_again_and_every_subscription_is_told(
    autojump_clock, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Broker()
    async with broker.bus() as one, broker.bus() as two:
        async with two.subscribe("b", Note) as at_b, two.subscribe("c", Shout) as at_c:
            await one.send(Note(target="b", n=1))
            assert (await at_b.receive()).n == 1
            with caplog.at_level(logging.WARNING, "trio_pipes"):
                two.broker.links[1].lose("the cable was cut")
                for messages in (at_b, at_c):
                    gap = await messages.receive()
                    assert (type(gap), gap.peer, gap.missed) == (BusGap, None, None)
            assert "the cable was cut; connecting again" in caplog.text
            await one.send(Note(target="b", n=2))
            await one.send(Shout(n=3))
            assert (await at_b.receive()).n == 2
            assert (await at_c.receive()).n == 3
        found = two.statistics()
        assert isinstance(found, BrokerStatistics)
        assert (found.connected, found.connections, found.gaps) == (True, 2, 1)
        assert found.last_error == "lost the connection to a broker in memory: the cable was cut"


# The batch was carried and not acknowledged: it is sent again, and arrives once.
async def test_what_may_have_been_lost_is_sent_again_and_arrives_once(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus() as one, broker.bus() as two, two.subscribe("b", buffer=100) as at_b:
        broker.acknowledges = False
        for n in range(10):
            await one.send(Note(target="b", n=n))
        await trio.sleep(1)
        await one.send(Note(target="b", n=10))
        assert await numbers(at_b, 11) == list(range(11))
        assert (two.statistics().duplicates, two.statistics().gaps, one.statistics().connections) == (10, 0, 2)


async def test_messages_that_vanish_are_told_with_their_sender_and_number(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus() as one, broker.bus() as two, two.subscribe("b") as at_b, two.subscribe("c") as at_c:
        await one.send(Note(target="b", n=1))
        await trio.sleep(1)
        broker.loses_next = 3
        for n in range(2, 6):
            await one.send(Note(target="b", n=n))
        await trio.sleep(1)
        gap = await at_b.receive()
        assert (type(gap), gap.peer, gap.missed) == (BusGap, one.id, 3)
        assert await numbers(at_b, 2) == [1, 5]
        with pytest.raises(trio.WouldBlock):
            at_c.receive_nowait()  # nothing of its topic is missing


async def test_a_sender_that_comes_back_after_long_is_no_gap(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus(lease=3000.0) as one, broker.bus(lease=3000.0) as two, two.subscribe("b") as at_b:
        for n in range(3):
            await one.send(Note(target="b", n=n))
            await trio.sleep(5000)
        assert await numbers(at_b, 3) == [0, 1, 2]
        assert two.statistics().gaps == 0


async def test_nothing_answers_for_a_third_of_the_lease_and_the_connection_counts_as_lost(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus(lease=12.0) as one, one.subscribe("a") as at_a:
        await trio.sleep(100)
        since = trio.current_time()
        broker.pause()
        while not one.statistics().last_error:  # noqa: ASYNC110  (nothing tells of it)
            await trio.sleep(0.01)
        broker.go_on()
        assert type(await at_a.receive()) is BusGap
        assert 3.0 <= trio.current_time() - since <= 4.0 + 0.1
        assert one.statistics().last_error == "lost the connection to a broker in memory: no answer"


async def test_it_tries_again_less_and_less_often(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus(send_timeout=1000.0) as one:
        tries: list[float] = []
        connect = one._connect

        async def count() -> object:
            tries.append(trio.current_time())
            return await connect()

        one._connect = count  # type: ignore[method-assign,assignment]
        broker.refuses = "LOADING it is not ready"
        broker.cut()
        await trio.sleep(60)
        pauses = [b - a for a, b in pairwise(tries)]
        assert 12 <= len(tries) <= 40
        assert max(pauses) <= 5.0
        assert pauses[-1] > 2.4 > 0.2 > pauses[0]
        assert "LOADING" in str(one.statistics().last_error)
        broker.refuses = None
        await one.send(Note())
        assert one.statistics().connected


async def test_while_it_is_away_senders_and_subscribers_wait_and_are_told_why(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus(send_timeout=7.0) as one:
        broker.refuses = "no"
        broker.cut()
        await trio.sleep(0.01)
        since = trio.current_time()
        async with trio.open_nursery() as nursery:

            async def fails(what: object, *args: object) -> None:
                with pytest.raises(
                    BusError, match="a broker in memory took nothing for 7 s: .*connect to a broker in memory: no"
                ):
                    await what(*args)  # type: ignore[operator]
                assert trio.current_time() - since == pytest.approx(7.0, abs=0.1)

            async def subscribes() -> None:
                async with one.subscribe("x"):
                    pass

            nursery.start_soon(fails, one.send, Note(target="b"))
            nursery.start_soon(fails, one.send, Shout())
            nursery.start_soon(fails, subscribes)
            nursery.start_soon(fails, one.claim, ["n"], "me")
            nursery.start_soon(fails, one.renew, "me")
        broker.refuses = None
        async with one.subscribe("x"):
            assert await one.claim(["n"], "me") == {}


async def test_the_first_connection_fails_at_once(autojump_clock) -> None:
    broker = Broker()
    broker.refuses = "WRONGPASS"
    with pytest.raises(BusError, match="cannot connect to a broker in memory: WRONGPASS"):
        async with broker.bus():
            pass
    broker.refuses = None
    broker.pause()
    since = trio.current_time()
    with pytest.raises(BusError, match="no answer for 10 s"):
        async with broker.bus():
            pass
    assert trio.current_time() - since == pytest.approx(10.0)


async def test_a_broker_that_lets_nobody_listen_is_told_at_once(
    autojump_clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuses(link: FakeLink, topics: object) -> None:
        raise Refused("NOPERM this user has no permissions to access one of the channels")

    monkeypatch.setattr(FakeLink, "attend", refuses)
    broker = Broker()
    with pytest.raises(BusError, match="lost the connection to a broker in memory: NOPERM"):
        async with broker.bus():
            pytest.fail("it is not open")
    assert not broker.links


async def test_a_bus_that_is_not_open_says_what_to_do(autojump_clock) -> None:
    one = Broker().bus()
    for call in (one.send(Note()), one.claim(["a"], "me"), one.subscribe("a").__aenter__()):
        with pytest.raises(BusError, match="not open>: open it with 'async with bus:'"):
            await call


async def test_closing_sends_what_it_was_given(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus() as two, two.subscribe("b", buffer=1000) as at_b:
        async with broker.bus() as one:
            for n in range(900):
                await one.send(Note(target="b", n=n))
        assert await numbers(at_b, 900) == list(range(900))
        with trio.CancelScope() as scope:
            async with broker.bus() as one:
                await one.send(Note(target="b", n=1))
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert await numbers(at_b, 1) == [1]
    assert not broker.links


async def test_closing_does_not_wait_for_ever_and_tells_what_is_lost(
    autojump_clock, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Broker()
    since = trio.current_time()
    with pytest.raises(BusError, match="3 messages were not taken by a broker in memory"):
        async with broker.bus(lease=1000.0) as one:
            broker.pause()
            for n in range(3):
                await one.send(Note(target="b", n=n))
    assert trio.current_time() - since == pytest.approx(5.0, abs=1.1)
    broker.go_on()
    with pytest.raises(KeyError, match="mine"):
        async with broker.bus(lease=1000.0) as one:
            broker.pause()
            await one.send(Note(target="b"))
            raise KeyError("mine")
    assert "1 message was not taken" in caplog.text
    broker.go_on()
    async with one:  # they are not sent after all
        await one.send(Note())
    assert sum(broker.batches) == 1


async def test_subscriptions_end_when_the_bus_is_closed_and_it_can_be_opened_again(autojump_clock) -> None:
    broker = Broker()
    one = broker.bus()
    async with broker.bus() as two:
        for n in range(3):
            async with trio.open_nursery() as nursery:
                async with one:
                    messages = await one.subscribe("a").__aenter__()
                    await two.send(Note(target="a", n=n))
                    assert (await messages.receive()).n == n

                    async def reads(messages: Subscription) -> None:
                        with pytest.raises(BusError, match="was closed"):
                            await messages.receive()

                    nursery.start_soon(reads, messages)
                    await trio.testing.wait_all_tasks_blocked()


# A runner opens the bus that its user has opened; two runners may share one. Who leaves first is nobody's business.
@pytest.mark.parametrize("first", [0, 1])
async def test_blocks_are_left_in_any_order(autojump_clock, first: int) -> None:
    broker = Broker()
    async with broker.bus() as two, two.subscribe("b", Note, buffer=100) as at_b:
        one = broker.bus()
        may_leave = [trio.Event(), trio.Event()]
        left = [trio.Event(), trio.Event()]

        async def opens(which: int, task_status: object) -> None:
            async with one:
                task_status.started()  # type: ignore[attr-defined]
                await may_leave[which].wait()
            left[which].set()

        async with trio.open_nursery() as nursery:
            for which in (0, 1):
                await nursery.start(opens, which)
            async with one.subscribe("a", buffer=100) as at_a:
                await one.send(Note(target="b", n=1))
                may_leave[first].set()
                await one.send(Note(target="b", n=2))
                await left[first].wait()
                await one.send(Note(target="b", n=3))
                await two.send(Note(target="a", n=4))
                assert (await at_a.receive()).n == 4
            assert await numbers(at_b, 3) == [1, 2, 3]
            assert one.statistics().connections == 1, "the connection was taken along"
            may_leave[1 - first].set()
    assert not broker.links


async def test_the_error_of_the_block_comes_out_as_it_is(autojump_clock) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with Broker().bus():
            raise KeyError("mine")


async def test_a_fault_of_ours_ends_the_block(autojump_clock) -> None:
    broker = Broker()

    async def breaks() -> None:
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with broker.bus():
            broker.links[0].ping = breaks  # type: ignore[method-assign]
            await trio.sleep_forever()
    assert not broker.links


# -- what others send


async def test_junk_is_counted_and_logged_once(autojump_clock, caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker()
    async with broker.bus() as one, broker.bus() as two, two.subscribe("b") as at_b:
        for _ in range(5):
            broker.inject(b"", topic="b")
            broker.inject(random.Random(0).randbytes(1000))
        await one.send(Note(target="b", n=1))
        assert (await at_b.receive()).n == 1
        assert two.statistics().unreadable == 10
        assert len([record for record in caplog.records if "that no bus sent" in record.message]) == 2, (
            "one for each bus"
        )


async def test_a_damaged_message_of_a_known_peer_is_a_gap(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus() as one, one.subscribe("a") as at_a:
        sealer = Sealer("tests", "0000beef")
        broker.inject(sealer.seal("a", b"\xc1 no msgpack"), topic="a")
        gap = await at_a.receive()
        assert (type(gap), gap.peer, gap.missed) == (BusGap, "0000beef", 1)
        assert "0000beef" in str(one.statistics().last_error)


# Processes need not list the same classes. What some of them tell each other is no gap to the others.
async def test_a_broadcast_of_a_class_that_is_not_listed_here_is_none_of_our_business(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus() as one, one.subscribe("a") as at_a:
        sealer = Sealer("tests", "0000beef")
        strange = msgspec.msgpack.encode(("acme.unheard-of", 1, {}))
        broker.inject(sealer.seal(None, strange))
        broker.inject(sealer.seal("a", strange), topic="a")
        gap = await at_a.receive()
        assert (type(gap), gap.peer, gap.missed) == (BusGap, "0000beef", 1), "it was for us"
        await trio.sleep(1)
        found = one.statistics()
        assert (at_a.statistics().waiting_system, found.unknown, found.unreadable) == (0, 1, 1)


async def test_closing_turns_away_who_still_waits(autojump_clock) -> None:
    broker = Broker()
    async with trio.open_nursery() as nursery:
        async with broker.bus(lease=1000.0) as one:
            broker.refuses = "no"
            broker.cut()
            await trio.sleep(0.1)
            since = trio.current_time()

            async def fails(what: object, *args: object) -> None:
                with pytest.raises(BusError, match="closed|not open"):
                    await what(*args)  # type: ignore[operator]
                assert trio.current_time() == since

            nursery.start_soon(fails, one.send, Note(target="b"))
            nursery.start_soon(fails, one.send, Shout())
            nursery.start_soon(fails, one.claim, ["n"], "me")
            nursery.start_soon(fails, one.subscribe("x").__aenter__)
            await trio.testing.wait_all_tasks_blocked()


async def test_messages_of_another_channel_are_not_heard(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus() as one, broker.bus(channel="others") as two, one.subscribe("a") as at_a:
        await two.send(Note(target="a"))
        await two.send(Note())
        await trio.sleep(1)
        assert (at_a.statistics().waiting, one.statistics().unreadable) == (0, 0)


async def test_a_class_that_is_not_listed_cannot_be_sent(autojump_clock) -> None:
    class Secret(DataMessage):
        pass

    broker = Broker()
    async with broker.bus() as one:
        with pytest.raises(Exception, match="Secret"):
            await one.send(Secret(target="b"))
        assert one.statistics().unacknowledged == 0


# -- names


async def test_names_have_one_owner_each(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus() as one, broker.bus() as two:
        assert await one.claim(["a", "b"], "one-1") == {}
        assert await two.claim(["b", "c"], "two-2") == {"b": "one-1"}
        assert await one.claim(["c"], "one-1") == {}, "all of them or none"
        await one.release(["b"], "one-1")
        assert await two.claim(["b"], "two-2") == {}
        assert await one.renew("one-1") == set()
        await one.release(None, "one-1")
        assert await two.claim(["a", "c"], "two-2") == {}
        assert broker.names == dict.fromkeys("abc", "two-2")


async def test_a_lease_that_ran_out_is_taken_up_again_but_for_names_that_others_have_now(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus() as one, broker.bus() as two:
        await one.claim(["a", "b"], "one-1")
        await trio.sleep(13)
        assert await two.claim(["b"], "two-2") == {}
        assert await one.renew("one-1") == {"b"}
        assert broker.names == {"a": "one-1", "b": "two-2"}
        assert await one.renew("one-1") == set()
        assert await two.claim(["a"], "two-2") == {"a": "one-1"}


async def test_a_broker_that_forgot_everything_is_told_again(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus() as one:
        await one.claim(["a"], "one-1")
        broker.names.clear()
        broker.leases.clear()
        assert await one.renew("one-1") == set()
        assert broker.names == {"a": "one-1"}


async def test_a_claim_that_was_cancelled_is_given_back(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus(lease=1000.0) as one:
        await one.claim(["a"], "me")
        broker.pause()
        with trio.move_on_after(1):
            await one.claim(["a", "b"], "me")
        broker.go_on()
        await trio.sleep(1)
        assert broker.names == {"a": "me"}


async def test_a_claim_survives_a_reconnection(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus(lease=1000.0) as one:
        broker.pause()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                assert await one.claim(["a"], "me") == {}

            await trio.testing.wait_all_tasks_blocked()
            broker.cut()
            broker.go_on()
        assert broker.names == {"a": "me"}


# -- topics


async def test_ten_thousand_subscriptions_take_few_commands_after_a_reconnection(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus() as one, trio.open_nursery() as nursery:

        async def reads(n: int, task_status: object) -> None:
            async with one.subscribe(f"w{n}"):
                task_status.started()  # type: ignore[attr-defined]
                await trio.sleep_forever()

        for n in range(300):
            await nursery.start(reads, n)
        broker.commands.clear()
        broker.cut()
        await trio.sleep(1)
        assert broker.commands.count("attend") == 1
        assert len(broker.links[0].attended) == 301
        nursery.cancel_scope.cancel()


async def test_names_below_a_topic_cost_the_broker_nothing(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus() as one, broker.bus() as two, one.subscribe("r-1"):
        broker.commands.clear()
        for n in range(20):
            async with one.subscribe(f"r-1/job-{n}") as replies:
                await two.send(Note(target=f"r-1/job-{n}", n=n))
                assert (await replies.receive()).n == n
        assert "attend" not in broker.commands


async def test_a_name_that_comes_and_goes_leaves_nothing_at_the_broker(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus() as one, broker.bus() as two:
        for n in range(20):
            async with one.subscribe("a") as messages:
                await two.send(Note(target="a", n=n))
                assert (await messages.receive()).n == n
            if n % 3:
                await trio.sleep(0.1)
        await trio.sleep(0.1)
        assert broker.links[0].attended == {None}
        assert not one._inbox.numbers._topics


# The broker is just being told that nobody is there any more.
async def test_who_comes_back_while_the_topic_is_given_up_misses_nothing(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus(lease=1000.0) as one, broker.bus(lease=1000.0) as two:
        async with two.subscribe("a"):
            pass
        for _ in range(5):
            await trio.lowlevel.checkpoint()
            async with two.subscribe("a") as messages:
                await one.send(Note(target="a", n=1))
                with trio.fail_after(1):
                    assert (await messages.receive()).n == 1


async def test_wait_is_refused(autojump_clock) -> None:
    broker = Broker()
    async with broker.bus() as one:
        with pytest.raises(ConfigurationError, match="wait"):
            one.subscribe("a", overflow="wait")


@pytest.mark.parametrize(
    "options",
    [{"lease": 0.5}, {"lease": float("inf")}, {"send_timeout": 0}, {"send_timeout": None}, {"channel": "a b"}],
)
async def test_values_that_cannot_work(autojump_clock, options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Broker().bus(**options)


# -- cancelled anywhere


async def test_cancelled_at_every_step(autojump_clock) -> None:
    async def scenario(attempt: Attempt) -> None:
        broker = Broker()
        attempt.afterwards(lambda: not broker.links or pytest.fail("a connection is left"))
        async with broker.bus() as one, broker.bus() as two:
            async with two.subscribe("b") as at_b:
                await one.claim(["x"], "me")
                await one.send(Note(target="b", n=1))
                assert (await at_b.receive()).n == 1
                broker.links[0].lose("cut")
                await one.send(Note(target="b", n=2))
                assert (await at_b.receive()).n == 2

    assert await cancel_at_every_checkpoint(scenario) > 50


async def test_a_thousand_random_cancels(autojump_clock) -> None:
    broker = Broker()
    rng = random.Random(5)
    async with broker.bus() as one, broker.bus() as two, two.subscribe("b", Note, buffer=10_000) as at_b:
        certain: list[int] = []
        for n in range(1000):
            with trio.move_on_after(rng.random() * 0.001):
                match n % 4:
                    case 0:
                        await trio.sleep(rng.random() * 0.001)
                        await one.send(Note(target="b", n=n))
                        certain.append(n)
                    case 1:
                        async with one.subscribe(f"t{rng.randrange(5)}") as messages:
                            await messages.receive()
                    case 2:
                        await one.claim([f"n{rng.randrange(5)}"], f"o{rng.randrange(3)}")
                    case _:
                        await one.renew("o1")
            if rng.random() < 0.02 and one._link is not None:
                one._link.lose("cut")  # type: ignore[attr-defined]
        await one.send(Note(target="b", n=-1))
        got: list[int] = []
        while not got or got[-1] != -1:
            got.append((await at_b.receive()).n)
        got.pop()
        assert got == sorted(set(got))
        assert set(certain) <= set(got)


# The question overtook the job that it was about, and was lost.
async def test_the_question_how_far_a_job_is_comes_after_the_job(autojump_clock) -> None:
    class Does(BaseWorker):
        @job()
        async def work(self, request: JobRequest) -> None:
            request.on_progress_asked(lambda: "half")
            await trio.sleep(1)

    broker = Broker()
    runners = [
        PipelineRunner(worker, bus=broker.bus(), handle_sigint=False) for worker in (Does("does"), BaseWorker("asks"))
    ]
    async with trio.open_nursery() as nursery:
        for runner in runners:
            await nursery.start(runner.run)
        for _ in range(20):
            async with runners[1].job("does", timeout=5) as asked:
                await asked.ask_progress()
                assert [update async for update in asked] == ["half"]
        for runner in runners:
            runner.end()


# What a handler has to say and cannot be written for the wire: its job fails, and says as much as it can.
async def test_what_a_handler_cannot_send_fails_its_job_alone(autojump_clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "trio_pipes")  # a report of the test cannot have half characters either

    class Does(BaseWorker):
        @job("progress")
        async def progress(self, request: JobRequest) -> None:
            request.on_progress_asked(object)
            await trio.sleep(10)

        @job("payload")
        async def payload(self, request: JobRequest) -> None:
            raise JobError("no such book", payload=object())

        @job("file")
        async def file(self, request: JobRequest) -> None:
            raise ValueError("no \udc80.txt")

        @job("value")
        async def value(self, request: JobRequest) -> object:
            return object()

    broker = Broker()
    runners = [
        PipelineRunner(worker, bus=broker.bus(), handle_sigint=False) for worker in (Does("does"), BaseWorker("asks"))
    ]
    async with trio.open_nursery() as nursery:
        for runner in runners:
            await nursery.start(runner.run)
        said = {
            "progress": "cannot be sent: <object",
            "payload": "failed: JobError: no such book .its payload is missing: .*cannot be sent",
            "file": r"failed: ValueError: no \\udc80.txt",
            "value": "value cannot be sent",
        }
        for name, text in said.items():
            with pytest.raises(JobError, match=text) as caught:
                async with runners[1].job("does", name, timeout=5) as asked:
                    await asked.ask_progress()
                    await asked.result()
            assert caught.value.status == "failed"
        for runner in runners:
            runner.end()
