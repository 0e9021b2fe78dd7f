"""Decoded images in memory: never more than the budget and one, and never the wrong one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from hypothesis import given, settings
from hypothesis import strategies as st

from stages.data.kept import Kept


@settings(max_examples=60, deadline=None)
@given(budget=st.integers(0, 40), reads=st.lists(st.integers(1, 12), max_size=60))
def test_the_budget_holds_for_any_reads(budget, reads):
    """Value n has n bytes: what is kept for good fits into the budget, and everything read is what was asked for."""
    kept: Kept[int] = Kept(budget)
    for n in reads:
        assert kept.get(n, lambda n=n: (n, n)) == n
    held = sum(kept._kept.values())
    assert held <= budget
    assert kept.left == budget - held


def test_what_is_kept_is_loaded_once_and_so_is_what_is_read_in_a_row():
    loads: list[str] = []

    def load(name, size):
        loads.append(name)
        return name, size

    kept: Kept[str] = Kept(10)
    for name, size in [("a", 6), ("big", 9), ("big", 9), ("a", 6), ("b", 4), ("big", 9), ("c", 1), ("a", 6), ("b", 4)]:
        assert kept.get(name, lambda name=name, size=size: load(name, size)) == name
    assert loads == ["a", "big", "b", "c"]


def test_threads_share_one_budget():
    kept: Kept[int] = Kept(100)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: kept.get(n % 40, lambda: (n % 40, 7)), range(4000)))
    assert found == [n % 40 for n in range(4000)]
    assert len(kept._kept) == 14
    assert kept.left == 2
