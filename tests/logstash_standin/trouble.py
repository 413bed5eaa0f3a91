"""What can go wrong with the stand-in, and what it has seen."""

from __future__ import annotations

import msgspec


class Trouble(msgspec.Struct, forbid_unknown_fields=True):
    """What goes wrong from now on; as it is made, nothing does."""

    posts: int = 0  # so many posts are taken before what follows begins
    status: int = 0  # every post is answered with this, and nothing of it is queued
    hang: bool = False  # no post is answered, and nothing of it is queued
    full: bool = False  # no room in the queue: some posts wait for it, the others get 429
    lose_answer: bool = False  # posts are queued, and the connection breaks instead of an answer
    hold: bool = False  # nothing leaves the queues
    slow_s: float = 0.0  # for each batch
    double: bool = False  # each batch is written twice
    drop: int = 0  # so many of the next readings disappear
    mute: bool = False  # no statistics


class Counts(msgspec.Struct):
    """What was seen of readings since the process began."""

    posts: int = 0
    troubled: int = 0  # of these, not answered as they should have been
    accepted: int = 0
    repeated: int = 0  # of these, with an `event.id` that was accepted before
    dropped: int = 0
    queued: int = 0  # now, in the queue
    in_hand: int = 0  # now, batches on their way from the queue to Elasticsearch
