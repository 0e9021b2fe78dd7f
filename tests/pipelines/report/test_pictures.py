"""How recorded pictures become comparisons and strips, and how a page stays small."""

from __future__ import annotations

import io
import random

import pytest
from PIL import Image

from pipelines.report.pictures import RawPicture, arrange, data_url, picture, size_of, within_budget


def encoded(width: int, height: int, kind: str = "PNG", noise: bool = False) -> bytes:
    image = Image.new("RGB", (width, height), "teal")
    if noise:
        image = Image.frombytes("RGB", (width, height), random.Random(width).randbytes(width * height * 3))
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_sizes_are_read_from_headers(kind: str) -> None:
    assert size_of(encoded(37, 21, kind)) == (37, 21)


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF0000WEBP", b"nonsense" * 9])
def test_broken_pictures_have_no_size_and_do_not_raise(data: bytes) -> None:
    assert size_of(data) == (0, 0)


def test_kinds_of_one_image_stand_from_lowest_to_highest_quality() -> None:
    names = ["a/hr", "a/student", "a/teacher", "a/bicubic", "a/lr", "b/x/hr", "b/x/lr"]
    comparisons, strips = arrange(RawPicture(name, encoded(4, 4)) for name in names)
    assert [(c.name, [p.label for p in c.pictures]) for c in comparisons] == [
        ("a", ["lr", "bicubic", "student", "teacher", "hr"]),
        ("b/x", ["lr", "hr"]),
    ]
    assert strips == ()


def test_pictures_with_steps_become_strips_in_step_order() -> None:
    png = encoded(4, 4)
    raw = [RawPicture("val/000200", png, 200), RawPicture("val/000050", png, 50), RawPicture("grid-7", png)]
    comparisons, strips = arrange([*raw, RawPicture("alone", png)])
    assert comparisons == ()
    assert [(s.name, [p.label for p in s.pictures]) for s in strips] == [
        ("val", ["step 50", "step 200"]),
        ("grid", ["step 7"]),
        ("alone", ["alone"]),
    ]


def test_kinds_of_one_image_at_a_step_of_training_are_compared_too() -> None:
    comparisons, _ = arrange(RawPicture(f"k1/{what}", encoded(4, 4), 200) for what in ("hr", "sr", "lr"))
    assert [(c.name, c.step, [p.label for p in c.pictures]) for c in comparisons] == [("k1", 200, ["lr", "sr", "hr"])]


def test_pictures_within_the_budget_are_embedded_untouched() -> None:
    pictures = {i: picture(str(i), encoded(8, 8)) for i in range(3)}
    assert within_budget(pictures) == pictures


def test_pictures_over_the_budget_shrink_until_they_fit() -> None:
    pictures = {i: picture(str(i), encoded(300, 300, noise=True)) for i in range(6)}
    budget = 60_000
    fitted = within_budget(pictures, budget)
    assert sum(len(p.data) for p in fitted.values()) <= budget
    assert all(p.data[:2] == b"\xff\xd8" and p.mime == "image/jpeg" for p in fitted.values())
    assert all((p.width, p.height) == (300, 300) for p in fitted.values())


def test_what_cannot_shrink_is_dropped_and_says_so_by_having_no_data() -> None:
    fitted = within_budget({0: picture("a", b"not a picture" * 100)}, 100)
    assert data_url(fitted[0]) == ""


def test_captions_do_not_repeat_the_label() -> None:
    assert picture("teacher", b"", "teacher: 23.3 dB").caption == "23.3 dB"
    assert picture("lr", b"", "LR 32x32").caption == "32x32"
    assert picture("lr", b"", "lrx").caption == "lrx"
