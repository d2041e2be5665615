"""A bag's messages in the order of their reception, for what follows them as if they came live."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from rl_token_ros.bags.reader import Record

SORT_NS = 1_000_000_000  # over which messages are put into order


def in_order(records: Iterator[Record]) -> Iterator[Record]:
    """Records in the order of their time of reception, as far as none comes a second late or more."""
    waiting: list[tuple[int, int, Record]] = []
    for number, record in enumerate(records):
        heapq.heappush(waiting, (record.stamp_ns, number, record))
        while waiting and record.stamp_ns - waiting[0][0] > SORT_NS:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]
