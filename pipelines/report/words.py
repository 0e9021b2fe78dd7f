"""Numbers and names as the page spells them."""

from __future__ import annotations

import math
import time
from typing import Final

from pipelines.progress.text import duration, number
from pipelines.report.model import RunStatus, StageView
from pipelines.report.tables import direction

STATUS: Final[dict[RunStatus, str]] = {
    "ok": "Finished",
    "failed": "Failed",
    "interrupted": "Interrupted",
    "running": "Running",
    "empty": "Nothing recorded",
}
_COUNTS: Final = frozenset({"evaluations", "images", "pairs", "parameters", "samples", "steps"})
_ACRONYMS: Final = frozenset(
    {"psnr", "ssim", "lpips", "dists", "niqe", "fid", "musiq", "maniqa", "clipiqa", "mse", "mae", "rmse", "lr", "hr",
     "sr", "ms", "ema", "gpu", "cpu", "kl", "gan"}
)  # fmt: skip


def size(count: float) -> str:
    """``812 B``, ``3.4 MB``, ``1.2 GB`` (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.5 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


_TRAINING: Final = {
    "samples_per_second": "Samples a second",
    "flops_share": "Share of the device's peak (MFU)",
    "peak_memory_gb": "Peak memory, GB",
    "data_wait": "Waiting for data",
    "checkpoint_stall": "Saving checkpoints",
    "step_ms_median": "Step, median ms",
    "step_ms_p95": "Step, 95th percentile ms",
}
_LOSSES: Final = {"ssim": "1 - SSIM", "ms_ssim": "1 - MS-SSIM"}
_SHARES: Final = frozenset({"flops_share", "data_wait", "checkpoint_stall"})
"""Observations of a training that are parts of one: of the device's arithmetic, of time."""


def metric_name(name: str) -> str:
    """``psnr_y`` as ``PSNR Y``; names of several parts keep their order."""
    if name in _TRAINING:
        return _TRAINING[name]
    words = [word for part in name.split("/") for word in part.replace("-", "_").split("_") if word]
    spelled = [w.upper() if w.lower() in _ACRONYMS or len(w) == 1 else w for w in words]
    text = " ".join(spelled)
    return text[:1].upper() + text[1:] if text else name


def observed_name(name: str) -> str:
    """`metric_name` of what a training observed, where ``ssim`` is the loss of that kind and not the score."""
    before, slash, last = name.rpartition("/")
    loss = _LOSSES.get(last)
    if loss is None:
        return metric_name(name)
    return f"{metric_name(before)} {loss}" if slash else loss


def label_name(name: str) -> str:
    """What a picture or a row shows: ``lr`` and ``hr`` as field terms, ``teacher@steps=4`` as *teacher, 4 steps*."""
    model, _, steps = name.partition("@steps=")
    if steps:
        return f"{label_name(model)}, {steps} step{'s' if steps != '1' else ''}"
    return name.upper() if name.lower() in _ACRONYMS else name.capitalize() if name == "bicubic" else name


def metric_unit(name: str) -> str:
    return "dB" if "psnr" in name.lower() else ""


def arrow(name: str) -> str:
    """Which way is better."""
    return {1: "↑", -1: "↓", 0: ""}[direction(name)]


def metric_value(value: float | None, name: str = "") -> str:
    """Two decimals for decibels, four for values around one, three significant digits otherwise."""
    if value is None:
        return "–"
    if "psnr" in name.lower():
        return f"{value:.2f}"
    if name in _SHARES:
        return f"{100 * value:.1f} %"
    if value == int(value) and (abs(value) >= 10 or name.lower() in _COUNTS):
        return f"{int(value):,}"
    magnitude = abs(value)
    if magnitude >= 1000:
        return f"{value:,.0f}"
    if magnitude >= 10:
        return f"{value:.2f}"
    if magnitude >= 1e-3 or value == 0:
        return f"{value:.4f}"
    return f"{value:.2e}"


def metric_delta(value: float, name: str = "") -> str:
    """A signed difference with a true minus sign."""
    text = metric_value(abs(value), name)
    return f"{'+' if value >= 0 else '−'}{text}"


def moment(seconds: float | None) -> str:
    """``22 November 2026, 04:15 UTC``."""
    if seconds is None or not math.isfinite(seconds):
        return "unknown"
    when = time.gmtime(seconds)
    return f"{when.tm_mday} {time.strftime('%B %Y, %H:%M', when)} UTC"


def work(stage: StageView) -> str:
    """What a stage had to do: partitions built and reused, or steps."""
    if stage.partitions is not None:
        found, total = stage.partitions
        done = max(0, int(stage.done) - found)
        parts = [f"{number(done)} built"] if done or not found else []
        parts += [f"{number(found)} reused"] if found else []
        return f"{', '.join(parts)} of {number(total)}"
    if stage.total:
        return f"{number(stage.done)} of {number(stage.total)} {stage.unit}".strip()
    return ""


__all__ = [
    "STATUS", "arrow", "duration", "label_name", "metric_delta", "metric_name", "metric_unit", "metric_value",
    "moment", "number", "observed_name", "size", "work",
]  # fmt: skip
