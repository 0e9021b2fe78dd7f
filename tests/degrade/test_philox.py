"""Philox-4x64-10 is Random123's, in one piece and in bulk, and its transforms have the distributions they claim."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from degrade.philox import Stream, philox4x64, stream_key, words

ONES = (1 << 64) - 1
KEY = stream_key(7, "ab" * 32, 0, "blur1")


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        (
            (0, 0, 0, 0),
            (0, 0),
            (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B),
        ),
        (
            (ONES, ONES, ONES, ONES),
            (ONES, ONES),
            (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0),
        ),
        (
            (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89),
            (0x452821E638D01377, 0xBE5466CF34E90C6C),
            (0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6),
        ),
    ],
)
def test_known_answers_of_random123(counter, key, expected):
    assert philox4x64(counter, key) == expected


@settings(max_examples=25, deadline=None)
@given(st.text("0123456789abcdef", min_size=32, max_size=32), st.integers(1, 40))
def test_bulk_words_are_the_scalar_words(key, count):
    stream = Stream(key)
    assert words(key, count).tolist() == [stream.word() for _ in range(count)]


def test_stream_keys_are_frozen_and_differ_in_every_part():
    assert KEY == "2b485363f47b3d4d3c8e60c090ce25a6"
    others = [
        stream_key(8, "ab" * 32, 0, "blur1"),
        stream_key(7, "ac" * 32, 0, "blur1"),
        stream_key(7, "ab" * 32, 1, "blur1"),
        stream_key(7, "ab" * 32, 0, "blur2"),
    ]
    assert len({KEY, *others}) == 5


def test_uniform_draws_are_uniform():
    stream = Stream(KEY)
    values = [stream.uniform(-2.0, 3.0) for _ in range(4000)]
    assert -2.0 <= min(values) <= max(values) < 3.0
    assert stats.kstest(values, stats.uniform(-2, 5).cdf).pvalue > 0.01
    assert stats.kstest(values, stats.uniform(-2, 4.7).cdf).pvalue < 1e-6  # the test would see a range 6 % short


def test_integers_include_both_ends_and_are_equally_likely():
    stream = Stream(KEY)
    counts = Counter(stream.integer(3, 9) for _ in range(7000))
    assert sorted(counts) == list(range(3, 10))
    assert stats.chisquare(list(counts.values())).pvalue > 0.01
    assert stream.integer(5, 5) == 5
    with pytest.raises(ValueError, match="empty"):
        stream.integer(5, 4)


def test_choices_follow_their_weights_and_never_take_weight_zero():
    stream = Stream(KEY)
    counts = Counter(stream.choice([1.0, 0.0, 3.0, 0.0]) for _ in range(4000))
    assert set(counts) == {0, 2}
    assert stats.binomtest(counts[0], 4000, 0.25).pvalue > 0.01


def test_permutations_are_equally_likely():
    stream = Stream(KEY)
    counts = Counter(tuple(stream.permutation(3)) for _ in range(6000))
    assert len(counts) == 6
    assert stats.chisquare(list(counts.values())).pvalue > 0.01


def test_units_are_multiples_of_two_to_the_minus_53():
    stream = Stream(KEY)
    assert all(float(stream.unit() * 2**53).is_integer() for _ in range(100))
    assert np.float64(stream.unit()) < 1.0
