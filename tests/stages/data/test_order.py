"""The order of samples depends on seed and position alone: each sample once an epoch, resume is a seek."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.data.order import index_at, indices_at, sample_order

SEEDS = st.integers(-(2**70), 2**70)
COUNTS = st.integers(1, 3000)


@given(seed=SEEDS, epoch=st.integers(0, 10**6), count=COUNTS)
def test_every_sample_exactly_once_an_epoch(seed, epoch, count):
    np.testing.assert_array_equal(np.sort(sample_order(seed, epoch, count)), np.arange(count))


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, count=st.integers(1, 200), first=st.integers(0, 2000), size=st.integers(0, 300), cut=st.data())
def test_resume_is_a_seek(seed, count, first, size, cut):
    whole = indices_at(seed, first, size, count)
    at = cut.draw(st.integers(0, size))
    parts = [indices_at(seed, first, at, count), indices_at(seed, first + at, size - at, count)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert [index_at(seed, first + i, count) for i in range(0, size, 50)] == list(whole[::50])


def test_the_order_is_frozen():
    """A resumed training must see what it would have seen, whatever versions were installed meanwhile."""
    assert sample_order(7, 0, 10).tolist() == [3, 2, 5, 1, 8, 9, 4, 0, 7, 6]
    assert indices_at(7, 123_456_789, 4, 1_000_003).tolist() == [831010, 598913, 30478, 374021]
    assert index_at(-1, 10**15, 2**40) == 538094922771


def test_small_sets_mix_too():
    seen = Counter(tuple(sample_order(seed, epoch, 4).tolist()) for seed in range(10) for epoch in range(120))
    assert len(seen) == 24
    expected = 1200 / 24
    assert sum((n - expected) ** 2 / expected for n in seen.values()) < 49.7  # chi-square, 23 degrees, p = 0.001


def test_neighbours_in_an_epoch_are_unrelated():
    order = sample_order(1, 0, 10_000)
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.04
    assert abs(np.corrcoef(order, sample_order(1, 1, 10_000))[0, 1]) < 0.04
    assert abs(np.corrcoef(order, sample_order(2, 0, 10_000))[0, 1]) < 0.04


@pytest.mark.parametrize(("first", "size", "count"), [(0, 1, 0), (-1, 1, 5), (0, -1, 5)])
def test_nonsense_is_refused(first, size, count):
    with pytest.raises(ValueError, match="expected count >= 1"):
        indices_at(0, first, size, count)
