"""What is made ahead is what would have been made."""

import threading

import pytest

from functa_core.prefetch import ahead


@pytest.mark.parametrize("count", [0, 1, 5])
def test_the_same_items_in_the_same_order(count):
    assert list(ahead(iter([None, 0, [], "x", 3][:count]))) == [None, 0, [], "x", 3][:count]


def test_one_item_is_made_while_the_last_is_in_use():
    made = [threading.Event() for _ in range(4)]

    def items():
        for number, event in enumerate(made):
            event.set()
            yield number

    coming = ahead(items())
    assert next(coming) == 0
    assert made[1].wait(timeout=10)
    assert not made[2].is_set()
    assert list(coming) == [1, 2, 3]


def test_what_goes_wrong_comes_in_its_place_and_leaving_early_leaves_no_thread():
    def items():
        yield 1
        raise ValueError("no more")

    coming = ahead(items())
    assert next(coming) == 1
    with pytest.raises(ValueError, match="no more"):
        next(coming)
    early = ahead(iter(range(10)))
    assert next(early) == 0
    early.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
