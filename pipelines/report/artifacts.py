"""What a stage left behind: its manifests, the numbers of `metrics` artifacts, a look into `samples`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from pipelines.artifact import Manifest
from pipelines.canonical import Json
from pipelines.report.model import Comparison, Histogram, MetricTable, OutputView, SampleSheet
from pipelines.report.pictures import picture
from pipelines.report.problems import Problems
from pipelines.report.tables import metric_tables

if TYPE_CHECKING:
    from pipelines.store.store import Store

PAIRS: Final = 8
HISTOGRAMS: Final = 16
BINS: Final = 24
MAX_ROWS: Final = 20_000
MAX_INDEX: Final = 64_000_000
MAX_METRICS: Final = 4_000_000
_COUNTS: Final = ("count", "samples", "images", "n")


def output_view(store: Store, slot: str, digest: str, problems: Problems) -> tuple[OutputView, Manifest | None]:
    """The table of contents of one output; a missing manifest leaves the bare digest."""
    manifest = problems.guard(f"artifact {digest[:12]}", None, store.trees.get, digest)
    if manifest is None:
        return OutputView(slot, digest), None
    count = next((v for name in _COUNTS if isinstance(v := manifest.facets.get(name), int)), None)
    if count is None:
        inside = [e.meta[name] for e in manifest.entries for name in _COUNTS if isinstance(e.meta.get(name), int)]
        count = sum(n for n in inside if isinstance(n, int)) if inside else None
    facets = {name: value for name, value in manifest.facets.items() if name not in _COUNTS}
    view = OutputView(slot, digest, manifest.kind, facets, len(manifest.entries), manifest.size, count)
    return view, manifest


def metrics_of(store: Store, manifest: Manifest, problems: Problems) -> tuple[MetricTable, ...]:
    """Tables of every JSON entry of a `metrics` artifact."""
    tables: list[MetricTable] = []
    for entry in manifest.entries:
        if entry.name.endswith(".json") and entry.size <= MAX_METRICS:
            text = problems.guard(entry.name, b"null", store.blobs.read, entry.sha256)
            data: Json = problems.guard(entry.name, None, json.loads, text)
            tables += metric_tables(data, "" if entry.name == "metrics.json" else entry.name.removesuffix(".json"))
    return tuple(tables)


def samples_of(store: Store, manifest: Manifest, problems: Problems) -> SampleSheet | None:
    """A few pairs and the recipe's distributions, by the index of a `samples` artifact; None without one."""
    index = next((entry for entry in manifest.entries if entry.name == "index.parquet"), None)
    if index is None or index.size > MAX_INDEX:
        return None
    return problems.guard("samples index", None, _sheet, store, manifest, index.sha256)


def _sheet(store: Store, manifest: Manifest, sha256: str) -> SampleSheet:
    import pyarrow
    from pyarrow import parquet

    file = parquet.ParquetFile(pyarrow.BufferReader(store.blobs.read(sha256)))
    names = file.schema_arrow.names
    recipe = [name for name in names if name.startswith("r_") and not _GEOMETRY.search(name)]
    wanted = {"key", "shard", "image", "split", "hr_offset", "hr_size", "lr_offset", "lr_size"}
    table = file.read(columns=[*(name for name in names if name in wanted), *recipe])
    return SampleSheet(_pairs(store, manifest, table), _histograms(table, recipe), table.num_rows)


def _pairs(store: Store, manifest: Manifest, table: Any) -> tuple[Comparison, ...]:
    """Pairs spread evenly over the index: of different images, as far as there are."""
    columns = ("shard", "hr_offset", "hr_size", "lr_offset", "lr_size")
    if not table.num_rows or not all(name in table.column_names for name in columns):
        return ()
    shown = min(PAIRS, table.num_rows)
    rows = sorted({i * table.num_rows // shown for i in range(shown)})
    pairs = []
    for row in table.take(rows).to_pylist():
        blob = manifest.entry(row["shard"]).sha256
        lr = store.blobs.read(blob, row["lr_offset"], row["lr_size"])
        hr = store.blobs.read(blob, row["hr_offset"], row["hr_size"])
        caption = " · ".join(
            f"{k[2:].replace('_', ' ')} {v:.3g}" for k, v in row.items() if k in _CAPTIONED and v is not None
        )
        pairs.append(Comparison(str(row.get("key", "")), (picture("lr", lr, caption), picture("hr", hr))))
    return tuple(pairs)


_CAPTIONED: Final = ("r_blur1_sigma", "r_blur1_sigma_x", "r_gaussian1_sigma", "r_noise1_sigma", "r_jpeg1_quality")
_GEOMETRY: Final = re.compile(r"^r_box|_(height|width|x0|y0|seed)$")
"""Columns that say where a crop lies and how large it is, not how it was degraded."""


def _histograms(table: Any, names: Sequence[str]) -> tuple[Histogram, ...]:
    import pyarrow

    made = []
    for name in names:
        kind = table.schema.field(name).type
        if not (pyarrow.types.is_floating(kind) or pyarrow.types.is_integer(kind)):
            continue
        values = table.column(name).slice(0, MAX_ROWS).to_pylist()
        found = histogram(name[2:], [float(v) for v in values if v is not None])
        if found is not None:
            made.append(found)
        if len(made) == HISTOGRAMS:
            break
    return tuple(made)


def histogram(name: str, values: Sequence[float], bins: int = BINS) -> Histogram | None:
    """Equal bins over the finite values; None when they do not vary."""
    finite = [v for v in values if math.isfinite(v)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    if high <= low:
        return None
    if high - low < bins and all(v == int(v) for v in finite):
        bins = int(high - low) + 1  # one bin a value: no comb of empty ones
    counts = [0] * bins
    for value in finite:
        counts[min(bins - 1, int((value - low) / (high - low) * bins))] += 1
    return Histogram(name, low, high, tuple(counts), sum(finite) / len(finite))
