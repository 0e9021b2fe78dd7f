"""Reading an index batch by batch: conditions, samples and distributions do not depend on how it is cut."""

from __future__ import annotations

import math

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from degrade.ranges import Stated
from pipelines.inspection import Names, Numbers
from stages.commands import rows as module
from stages.commands.distributions import BINS, distribution
from stages.commands.rows import Rows, Sampled
from stages.commands.sheet import MOST_LINES, NOTE, _font, _wrapped


@pytest.fixture
def index(tmp_path):
    table = pyarrow.table({"n": list(range(1000)), "r_x": [None if i % 3 else i / 10 for i in range(1000)]})
    pyarrow.parquet.write_table(table, tmp_path / "index.parquet", row_group_size=300)
    return tmp_path / "index.parquet"


@pytest.mark.parametrize("batch", [7, 300, 1 << 16])
def test_conditions_hold_together_and_nulls_meet_none(index, batch, monkeypatch):
    monkeypatch.setattr(module, "BATCH", batch)
    rows = Rows(index, ["x>=30", "n!=600"])
    found = [n for b in rows.batches(["n"]) for n in b.column("n").to_pylist()]
    assert found == [n for n in range(300, 1000) if n % 3 == 0 and n != 600]
    assert rows.span("r_x") == (0.0, 99.9)
    assert rows.total == 1000


def test_a_sample_is_uniform_and_in_order(index, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 70)

    def chosen(seed):
        sample = Sampled(5, seed)
        for batch in Rows(index).batches(["n"]):
            sample.add(batch)
        return [row["n"] for row in sample.rows]

    assert chosen(3) == chosen(3) == sorted(chosen(3))
    counts = [0] * 10
    for seed in range(400):
        for n in chosen(seed):
            counts[n // 100] += 1
    spread = sum((count - 200) ** 2 / 200 for count in counts)
    assert spread < 27.9, "chi-square with 9 degrees of freedom passes this with probability 0.999"


def test_fewer_rows_than_asked_for_are_all(index):
    sample = Sampled(50, 0)
    for batch in Rows(index, ["n<4"]).batches(["n"]):
        sample.add(batch)
    assert [row["n"] for row in sample.rows] == [0, 1, 2, 3]


whole = st.lists(st.none() | st.integers(-2000, 2000), min_size=1, max_size=60)
real = st.lists(st.none() | st.floats(-1e6, 1e6), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(values=whole | real, cut=st.integers(1, 20), stated=st.none() | st.tuples(st.integers(-9, 0), st.integers(1, 9)))
def test_every_value_is_in_exactly_one_bin(values, cut, stated):
    column = pyarrow.array(values, "int64" if all(isinstance(v, int | None) for v in values) else "float64")
    present = [v for v in column.to_pylist() if v is not None]
    span = (min(present), max(present)) if present else None
    counter = distribution("x", column.type, span, None if stated is None else Stated(*map(float, stated)))
    for start in range(0, len(values), cut):
        counter.add(column.slice(start, cut))
    found = counter.result()
    if not present:
        assert found is None
        return
    assert isinstance(found, Numbers)
    assert found.total == len(present)
    assert found.low <= found.least == min(present)
    assert found.most == max(present) <= found.high
    assert math.isclose(found.mean, sum(present) / len(present), rel_tol=1e-9, abs_tol=1e-6)
    assert len(found.counts) <= 2 * BINS
    if stated is not None:
        assert found.low <= stated[0] < stated[1] <= found.high


def test_odd_sizes_have_a_bin_each_and_no_gaps():
    counter = distribution("size", pyarrow.int64(), (7, 21), Stated(7, 21))
    counter.add(pyarrow.array([7, 9, 9, 21]))
    found = counter.result()
    assert found.counts == (1, 2, 0, 0, 0, 0, 0, 1)
    assert (found.low, found.high) == (7, 23)


def test_rare_names_are_counted_together():
    counter = distribution("order", pyarrow.string(), None, None)
    counter.add(pyarrow.array([f"o{i:02}" for i in range(30) for _ in range(i + 1)]))
    found = counter.result()
    assert isinstance(found, Names)
    assert next(iter(found.counts)) == "o29"
    assert found.total == sum(range(1, 31))
    assert found.others == sum(range(1, 21))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=12), st.integers(150, 700))
def test_captions_stay_inside_their_cell(notes, width):
    lines = _wrapped(notes, width)
    assert len(lines) <= MOST_LINES
    assert all(_font(NOTE).getlength(line) <= width for line in lines)
