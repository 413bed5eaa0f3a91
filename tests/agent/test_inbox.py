"""Where threads leave records for the loop."""

from __future__ import annotations

import select
import threading

from clima_agent.inbox import Inbox, Item


def readable(inbox: Inbox) -> bool:
    return bool(select.select([inbox.signal], [], [], 0)[0])


def test_the_poller_wakes_when_something_is_put() -> None:
    """And sleeps again when it was taken."""
    inbox = Inbox()
    assert (False, []) == (readable(inbox), inbox.take())
    inbox.put("w", {"n": 1})
    inbox.put("l", {"n": 2})
    assert (True, 2) == (readable(inbox), len(inbox))
    assert [Item("w", {"n": 1}), Item("l", {"n": 2})] == inbox.take()
    assert (False, 0) == (readable(inbox), len(inbox))
    inbox.close()


def test_putting_never_blocks() -> None:
    """However much is put before anybody looks; nothing is lost, and one look takes it all."""
    inbox = Inbox()
    for number in range(100_000):
        inbox.put("w", {"n": number})
    assert list(range(100_000)) == [item.document["n"] for item in inbox.take()]
    assert not readable(inbox)
    inbox.close()


def test_a_ring_wakes_without_a_record() -> None:
    """For a loop that is to look at something else."""
    inbox = Inbox()
    inbox.ring()
    assert readable(inbox)
    assert [] == inbox.take()
    inbox.close()


def test_threads_put_while_one_takes() -> None:
    """Each thread's records come in its order, and all of them."""
    inbox = Inbox()

    def put(thread: int) -> None:
        for number in range(5000):
            inbox.put("w", {"thread": thread, "n": number})

    threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    taken: list[Item] = []
    while len(taken) < 20_000:
        select.select([inbox.signal], [], [], 5)
        taken += inbox.take()
    for thread in threads:
        thread.join()
    for thread_number in range(4):
        numbers = [i.document["n"] for i in taken if i.document["thread"] == thread_number]
        assert list(range(5000)) == numbers
    inbox.close()


def test_after_the_end_a_late_thread_does_no_harm() -> None:
    """A sensor that answers when all is closed."""
    inbox = Inbox()
    inbox.close()
    inbox.put("w", {})
