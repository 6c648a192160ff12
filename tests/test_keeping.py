"""What is kept is what would be read again, and never more than the limit."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from functa_core import Kept


def counted(size=len, most=10):
    """A reader of texts that notes what it reads."""
    read: list[int] = []

    def load(key: int) -> str:
        read.append(key)
        return "x" * key

    return Kept(load, size, most), read


@given(keys=st.lists(st.integers(0, 6)), most=st.integers(0, 15))
def test_it_gives_what_reading_gives_and_keeps_no_more_than_it_may(keys, most):
    kept, read = counted(most=most)
    assert [kept(key) for key in keys] == ["x" * key for key in keys]
    again = len(read)
    for key in range(7):
        kept(key)
    kept_now = set(range(7)) - set(read[again:])
    assert sum(kept_now) <= most
    for key in kept_now - set(keys):
        raise AssertionError(f"{key} was never asked for")


def test_what_was_read_first_stays_and_the_rest_is_read_each_time():
    kept, read = counted()
    for _ in range(3):
        for key in (6, 5, 4, 3):
            kept(key)
    assert read == [6, 5, 4, 3, 5, 3, 5, 3]


def test_what_came_another_way_is_kept_too():
    kept, read = counted()
    assert kept.keep(4, "abcd") == "abcd"
    assert kept(4) == "abcd"
    assert kept.keep(4, "other") == "other"
    assert (kept(4), read) == ("abcd", [])


def test_without_room_nothing_is_kept():
    kept, read = counted(most=0)
    assert [kept(3), kept(3)] == ["xxx", "xxx"]
    assert read == [3, 3]


def test_threads_that_read_the_same_count_it_once():
    together = threading.Barrier(4)

    def load(key: int) -> bytes:
        together.wait(timeout=30)
        return bytes(5)

    kept = Kept(load, len, 10)
    threads = [threading.Thread(target=kept, args=(0,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept.keep(1, bytes(5)) == bytes(5)
    assert kept(1) == bytes(5)  # there was room: it is not read, which would wait for others
