"""``evaluate``: how well models, and bicubic for comparison, bring back HR images that they were not trained on.

The artifact names models by digest, never by the name that a spec gave them: those are joined by the report.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from pipelines.stage import (
    Artifact,
    Context,
    Execution,
    Facets,
    Input,
    InputFacets,
    JsonObject,
    Output,
    StageError,
    facets_of,
)
from stages.models.computing import ComputingStage
from stages.sampling.config import SamplingConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stages.data.index import Pairs
    from stages.evaluation.candidates import Candidate

    Pixels = NDArray[np.uint8]

MetricName = Literal["psnr_y", "ssim_y", "psnr_y_full", "ssim_y_full", "psnr_rgb", "ssim_rgb"]


class EvaluateConfig(SamplingConfig):
    split: Literal["train", "val", "test"] = "val"
    max_images: PositiveInt | None = None
    """At most so many pairs, taken evenly from all source images; all when left out."""
    metrics: tuple[MetricName, ...] = Field(("psnr_y", "ssim_y"), min_length=1)
    """`_y` is limited-range BT.601 as in most papers, `_y_full` full-range (pyiqa's default), `_rgb` all channels."""
    crop_border: NonNegativeInt | None = None
    """Pixels not compared along each side; the scale when left out."""
    baselines: tuple[Literal["bicubic"], ...] = ("bicubic",)
    """`bicubic` is MATLAB's (a = -0.5)."""
    steps: tuple[PositiveInt, ...] = ()
    """Sampling steps to measure each model at; the steps it was trained for when left out. A model that was made to
    answer in one step is measured in that."""
    seed: NonNegativeInt = 0
    """Of the sampling noise."""
    device: Literal["cpu", "cuda"] = "cpu"
    threads: PositiveInt = 1
    allow_overlap: bool = False
    """Measure on source images that a model was trained on, and say so, instead of refusing."""
    pictures: Execution[NonNegativeInt] = 4
    """So many images are recorded side by side for the report."""

    @field_validator("metrics", "steps")
    @classmethod
    def _each_once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(value)) != len(value):
            raise ValueError(f"each may be named once, got {list(value)}")
        return value


class Evaluate(ComputingStage):
    """Measure super-resolution models on held-out pairs: means, numbers for each image, pictures side by side."""

    name = "evaluate"
    Config = EvaluateConfig
    inputs = {
        "models": Input("model", "what to measure", {"role": "sr"}, many=True),
        "pairs": Input("samples", "LR and HR pairs", {"role": "pairs"}),
    }
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "torch")

    @classmethod
    def outputs(cls, config: EvaluateConfig, inputs: InputFacets) -> Mapping[str, Output]:
        _refuse_other_scales(inputs)
        facets: Facets = {"role": "evaluation"}
        return {"metrics": Output("metrics", "means and per-image numbers", facets, config.device == "cpu")}

    def run(self, ctx: Context) -> None:
        from stages.data.opening import open_pairs
        from stages.data.pixels import single_threaded
        from stages.data.scale import pair_scale
        from stages.evaluation.candidates import candidates
        from stages.models.numerics import numerics

        config: EvaluateConfig = ctx.config
        single_threaded()
        index = open_pairs(ctx.inputs["pairs"], split=config.split)
        overlap = _overlap(index, ctx.many["models"], config)
        scale = pair_scale(ctx.inputs["pairs"])
        border = scale if config.crop_border is None else config.crop_border
        chosen = spread(list(index.column("image")), list(index.column("key")))[: config.max_images]
        with numerics(config.threads, reproducible=config.device == "cpu"):
            device = ctx.devices[0] if config.device == "cuda" else "cpu"
            measured = _measure_all(ctx, index, chosen, candidates(ctx.many["models"], config, scale, device), border)
        protocol = _protocol(config, border, len(chosen))
        _write(ctx, {"protocol": protocol, "models": {m.row: m.summary() for m in measured}, **overlap}, measured)
        for result in measured:
            observed = {**result.means(), "seconds_per_image": result.seconds / len(chosen)}
            ctx.metrics(len(chosen), **{f"{result.label}/{name}": value for name, value in observed.items()})


def _refuse_other_scales(inputs: InputFacets) -> None:
    """As far as facets tell before a run. Raises StageError."""
    scale, models = facets_of(inputs, "pairs").get("scale"), inputs.get("models")
    scales = [model.get("scale") for model in models] if isinstance(models, Sequence) else []
    other = next((found for found in scales if isinstance(found, int) and found != scale), None)
    if isinstance(scale, int) and other is not None:
        raise StageError(
            f"models: number {scales.index(other) + 1} enlarges by {other}, and the pairs are of scale {scale}; "
            "connect pairs of its scale, or leave it out"
        )


@dataclass
class Measured:
    """The numbers of one candidate: a row an image, and the seconds that all answers took."""

    row: str
    label: str
    facts: JsonObject
    images: list[dict[str, str | float]] = field(default_factory=list)
    seconds: float = 0.0

    def means(self) -> dict[str, float]:
        names = [name for name, value in self.images[0].items() if isinstance(value, float)]
        return {name: round(sum(float(i[name]) for i in self.images) / len(self.images), 6) for name in names}

    def summary(self) -> JsonObject:
        return {**self.facts, **self.means()}


def spread(images: Sequence[str], keys: Sequence[str]) -> list[int]:
    """All positions so that any first part is spread over the source images: first crops first, in key order."""
    seen: dict[str, int] = defaultdict(int)
    turns: list[tuple[int, str, int]] = []
    for i in sorted(range(len(keys)), key=lambda i: keys[i]):
        turns.append((seen[images[i]], keys[i], i))
        seen[images[i]] += 1
    return [i for _, _, i in sorted(turns)]


def _overlap(index: Pairs, models: Sequence[Artifact], config: EvaluateConfig) -> JsonObject:
    """What of the evaluated images the models were trained on, in words; refused unless allowed."""
    from stages.models.registry import trained_on

    images = set(index.images)
    for model in models:
        met = images & trained_on(model)
        if not met:
            continue
        what = f"{len(met)} of the {len(images)} source images of split {config.split}"
        if not config.allow_overlap:
            raise StageError(
                f"{model.label} was trained on {what} of {index.artifact.label}, the first is {min(met)[:16]}. "
                "Numbers on training images say little: evaluate the split val or test, or other images; or set "
                "allow_overlap: true, and the result will say so"
            )
        return {"overlap": f"a model was trained on {what}"}
    return {}


def _measure_all(
    ctx: Context, index: Pairs, chosen: Sequence[int], candidates: Sequence[Candidate], border: int
) -> list[Measured]:
    from stages.metrics.fidelity import measure

    config: EvaluateConfig = ctx.config
    results = [Measured(c.row, c.label, c.facts) for c in candidates]
    images = index.column("image")
    for done, i in enumerate(chosen, 1):
        key = index.key(i)
        lr, hr = index.read_pair(i)
        answers: dict[str, tuple[Pixels, str]] = {}
        for candidate, result in zip(candidates, results, strict=True):
            began = time.perf_counter()
            sr = candidate.answer(lr, (hr.shape[0], hr.shape[1]), key)
            result.seconds += time.perf_counter() - began
            values: dict[str, float] = {name: round(measure(name, sr, hr, border), 6) for name in config.metrics}
            result.images.append({"key": key, "image": str(images[i]), "model": candidate.row, **values})
            answers[candidate.label] = sr, ", ".join(_spoken(name, value) for name, value in values.items())
        if done <= config.pictures:
            _show(ctx, key, lr, hr, answers)
        ctx.progress(done, len(chosen), "image")
    return results


def _spoken(metric: str, value: float) -> str:
    """``38.51 dB`` or ``SSIM 0.9443``, with the colour convention when it is not the usual one."""
    kind, _, colour = metric.partition("_")
    convention = {"y": "", "y_full": " (full-range Y)", "rgb": " (RGB)"}[colour]
    return (f"{value:.2f} dB" if kind == "psnr" else f"{kind.upper()} {value:.4f}") + convention


def _show(ctx: Context, key: str, lr: Pixels, hr: Pixels, answers: Mapping[str, tuple[Pixels, str]]) -> None:
    """Record LR (pixels enlarged), every answer by its label and numbers, and HR."""
    import cv2

    from stages.data.pixels import encode_png

    enlarged = cv2.resize(lr, (hr.shape[1], hr.shape[0]), interpolation=cv2.INTER_NEAREST).astype(lr.dtype)
    ctx.image(f"{key}/lr", encode_png(enlarged), caption=f"LR {lr.shape[1]}x{lr.shape[0]}, pixels enlarged")
    for label, (pixels, caption) in answers.items():
        ctx.image(f"{key}/{label}", encode_png(pixels), caption=caption)
    ctx.image(f"{key}/hr", encode_png(hr), caption=f"HR {hr.shape[1]}x{hr.shape[0]}")


def _protocol(config: EvaluateConfig, border: int, images: int) -> JsonObject:
    spaces = {"_y": "Y of BT.601, limited range", "_y_full": "Y of BT.601, full range", "_rgb": "RGB"}
    named = {name.removeprefix("psnr").removeprefix("ssim") for name in config.metrics}
    return {
        "split": config.split,
        "images": images,
        "colour": [text for space, text in spaces.items() if space in named],
        "crop_border": border,
        "rounding": "8 bit, before measuring",
        "ssim": "11x11 Gaussian, sigma 1.5, valid region",
        "bicubic": "MATLAB imresize, a = -0.5",
        "steps": list(config.steps) or "as trained",
        "seed": config.seed,
        **({"tile": config.tile, "overlap": config.overlap} if config.tile else {}),
        **({"colour_fix": config.colour_fix} if config.colour_fix else {}),
    }


def _write(ctx: Context, summary: JsonObject, measured: Sequence[Measured]) -> None:
    out = ctx.out["metrics"]
    out.path("metrics.json").write_text(json.dumps({"schema": 1, **summary}, indent=1) + "\n")
    rows = sorted((row for m in measured for row in m.images), key=lambda row: (str(row["key"]), str(row["model"])))
    lines = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
    out.path("per_image.jsonl").write_text(lines)
