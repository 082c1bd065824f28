"""Which server it is, in the answers of a Sentinel and of a Cluster's node."""

from __future__ import annotations

import pytest

from headrace.taskqueue.redis.locate import _address
from headrace.taskqueue.redis.url import Target


def test_the_owner_of_the_slot_is_the_first_node_of_its_range() -> None:
    target = Target(kind="cluster", slot=12929)
    reply = [
        [0, 5460, [b"10.0.0.1", 7000, b"id1"], [b"10.0.0.4", 7003, b"id4"]],
        [10923, 16383, [b"10.0.0.3", 7002, b"id3"], [b"10.0.0.5", 7004, b"id5"]],
    ]

    assert _address(target, reply, "seed") == ("10.0.0.3", 7002)


@pytest.mark.parametrize("unknown", [b"", None])
def test_a_node_that_does_not_know_its_own_address_is_the_one_asked(unknown: bytes | None) -> None:
    target = Target(kind="cluster", slot=12929)

    assert _address(target, [[0, 16383, [unknown, 7000, b"id"]]], "seed") == ("seed", 7000)


def test_a_slot_without_an_owner_is_an_error() -> None:
    with pytest.raises(LookupError, match="knows no owner of slot 12929"):
        _address(Target(kind="cluster", slot=12929), [[0, 100, [b"h", 1, b"id"]]], "seed")


def test_a_sentinel_without_the_master_is_an_error() -> None:
    with pytest.raises(LookupError, match="knows no master of this name"):
        _address(Target(kind="sentinel", service="mymaster"), None, "s1")
