import threading
import time

import pytest

from harness.utils.parallel import cores, in_order


def test_results_come_in_order():
    def work(number):
        time.sleep(0.002 * (number % 3))
        return number * number

    assert list(in_order(work, range(40), workers=4)) == [n * n for n in range(40)]
    assert list(in_order(work, [], workers=4)) == []


def test_items_are_drawn_only_a_little_ahead():
    drawn = 0

    def items():
        nonlocal drawn
        for number in range(1000):
            drawn += 1
            yield number

    results = in_order(lambda n: n, items(), workers=3)
    assert next(results) == 0
    assert drawn <= 2 * 3 + 1
    results.close()


def test_an_exception_comes_out_at_its_item_and_the_rest_is_dropped():
    done = []

    def work(number):
        if number == 3:
            raise ValueError("three")
        done.append(number)
        return number

    results = in_order(work, range(1000), workers=1)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert len(done) < 10


def test_every_thread_is_started_once():
    started = []
    list(in_order(lambda n: n, range(50), start=lambda: started.append(threading.get_ident())))
    assert 1 <= len(started) == len(set(started)) <= cores()
