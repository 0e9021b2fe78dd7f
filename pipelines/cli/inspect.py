"""``sharpline inspect``: what there is to see of a finished artifact."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pipelines.errors import UsageError, writing

if TYPE_CHECKING:
    from pipelines.inspection import Inspection, Look, Names, Numbers
    from pipelines.lookup import Built

GROUP: Final = "sharpline.inspectors"
BARS: Final = "▁▂▃▄▅▆▇█"
MOST_ON_SHEET: Final = 200
SPARK: Final = 30  # characters at most


def command(
    spec: Annotated[Path, typer.Argument(help="The spec.", show_default=False)],
    output: Annotated[str, typer.Argument(metavar="STAGE[.OUTPUT]", help="What to look at.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="A page (.html) or a contact sheet (.png).")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=2000, help="How many items to show.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Another seed shows other items.")] = 0,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="CONDITION", help="Only items such as jpeg1_quality<40; may be repeated."),
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="As in `run`.")] = None,
    store: Annotated[str | None, typer.Option(metavar="URL", help="Another store than the spec's.")] = None,
) -> None:
    """Show what a stage has made. Without -o: totals and distributions as text.

    Pairs have pictures, totals and the distribution of every drawn parameter. Kinds of artifacts that nothing is
    known about show their files, facets and the columns of their index.
    """
    from pipelines.inspection import Look
    from pipelines.lookup import find_built

    suffix = out.suffix.lower() if out is not None else ""
    if suffix not in ("", ".html", ".png") or (out is not None and not suffix):
        raise UsageError(f"-o {out}: expected a file name that ends in .html or .png")
    if suffix == ".png" and count > MOST_ON_SHEET:
        raise UsageError(f"-n {count}: a contact sheet holds at most {MOST_ON_SHEET}; a page (-o FILE.html) holds more")
    built = find_built(spec, output, set_ or [], store)
    look = Look(count, seed, tuple(where or ()), pictures=out is not None)
    inspector = find_inspector(built)
    if inspector is None:
        _refuse_options(built, look, out)
        for line in _manifest_lines(built):
            typer.echo(line)
        return
    found: Inspection = inspector(built, look)
    if out is None:
        for line in _text(built, found):
            typer.echo(line)
        return
    _write(out, built, found, look)


def find_inspector(built: Built) -> Callable[[Built, Look], Inspection] | None:
    """What is registered for the artifact's ``kind/role``, else for its kind, else None.

    Raises UsageError naming the distribution whose inspector cannot be loaded.
    """
    kind, role = built.artifact.manifest.kind, built.artifact.facets.get("role")
    points = {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}
    point = points.get(f"{kind}/{role}") or points.get(kind)
    if point is None:
        return None
    try:
        found: Callable[[Built, Look], Inspection] = point.load()
    except Exception as error:
        owner = point.dist.name if point.dist is not None else "an unnamed distribution"
        raise UsageError(
            f"the inspector for {point.name} comes with {owner} and cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    return found


def _write(out: Path, built: Built, found: Inspection, look: Look) -> None:
    from pipelines.progress.summary import file_url

    if out.suffix.lower() == ".png":
        if found.contact_sheet is None:
            raise UsageError(f"{built.stage} has no contact sheet; write a page with -o {out.with_suffix('.html')}")
        data = found.contact_sheet()
    else:
        from pipelines.report.inspection import render_inspection

        data = render_inspection(built, found, look).encode()
    with writing(out, "-o"):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(data)
    typer.echo(file_url(str(out)))


def _refuse_options(built: Built, look: Look, out: Path | None) -> None:
    given = "-o" if out is not None else "--where" if look.where else ""
    if given:
        manifest = built.artifact.manifest
        role = f"/{manifest.facets['role']}" if "role" in manifest.facets else ""
        raise UsageError(
            f"{given}: artifacts of {manifest.kind}{role} have no inspector; leave it out to see the files"
        )


def _text(built: Built, found: Inspection) -> Iterator[str]:
    """Facts, then a line a parameter: how it is spread, its extremes, mean and stated range."""
    yield f"{built.stage}.{built.slot}   {built.uses}   {built.artifact.digest[:12]}"
    if found.chosen < found.total:
        yield f"{found.chosen:,} of {found.total:,} {found.unit} meet the condition; what follows is about them"
    yield ""
    width = max((len(name) for name, _ in found.facts), default=0)
    for name, value in found.facts:
        yield f"  {name:<{width}}  {value}"
    width = max((len(member.name) for group in found.groups for member in group.members), default=0)
    for group in found.groups:
        yield ""
        yield f"{group.name}   {group.note}"
        for member in group.members:
            yield f"  {member.name:<{width}}  {_line(member)}"


def _line(member: Numbers | Names) -> str:
    from pipelines.inspection import Numbers
    from pipelines.report.charts import short

    if isinstance(member, Numbers):
        stated = ""
        if member.stated is not None:
            stated = f"   (stated {short(member.stated[0])} to {short(member.stated[1])})"
        said = f"{short(member.least)} to {short(member.most)}, mean {short(member.mean)}"
        return f"{_spark(member.counts):<{SPARK}}  {said}{stated}"
    named = [f"{name} {100 * count / member.total:.3g} %" for name, count in member.counts.items()]
    return ", ".join([*named, *([f"others {100 * member.others / member.total:.3g} %"] if member.others else [])])


def _spark(counts: tuple[int, ...]) -> str:
    """Bins as a row of bars; several bins to a bar where there are more than fit."""
    each = -(-len(counts) // SPARK)
    bins = [sum(counts[at : at + each]) for at in range(0, len(counts), each)]
    top = max(bins)
    return "".join(" " if not n else BARS[min(len(BARS) - 1, n * len(BARS) // (top + 1))] for n in bins)


def _manifest_lines(built: Built) -> Iterator[str]:
    from pipelines.report.words import size

    manifest = built.artifact.manifest
    yield f"{built.stage}.{built.slot}   {manifest.kind}   {built.uses}   {built.artifact.digest}"
    for name, value in manifest.facets.items():
        yield f"  {name}: {value}"
    for role, digest in manifest.refs.items():
        yield f"  refers to {role}: {digest}"
    yield ""
    yield f"{len(manifest.entries):,} file{'s' if len(manifest.entries) != 1 else ''}, {size(manifest.size)}"
    width = max((len(entry.name) for entry in manifest.entries), default=0)
    for entry in manifest.entries[:50]:
        mark = "  derived" if entry.derived else ""
        yield f"  {entry.name:<{width}}  {size(entry.size):>8}  {entry.sha256[:12]}{mark}"
    if len(manifest.entries) > 50:
        yield f"  and {len(manifest.entries) - 50:,} more; `sharpline get` copies them with a list"
    for entry in manifest.entries:
        if entry.name.endswith(".parquet"):
            yield from _columns(entry.name, built.artifact.open(entry.name))


def _columns(name: str, path: Path) -> Iterator[str]:
    """The columns of a Parquet file with their extremes, from its footer: no row is read."""
    from pyarrow import parquet

    meta = parquet.read_metadata(path)
    schema = parquet.read_schema(path)
    yield ""
    yield f"{name}: {meta.num_rows:,} rows"
    width = max((len(column) for column in schema.names), default=0)
    for at, column in enumerate(schema.names):
        groups = [meta.row_group(group).column(at).statistics for group in range(meta.num_row_groups)]
        known = [found for found in groups if found is not None and found.has_min_max]
        limits = ""
        if known and len(known) == len(groups):
            low, high = min(found.min for found in known), max(found.max for found in known)
            limits = _short(low) if low == high else f"{_short(low)} to {_short(high)}"
        yield f"  {column:<{width}}  {schema.field(column).type!s:<8}  {limits}".rstrip()


def _short(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 32 else f"{text[:29]}..."
