"""Views: within their ranges, seeded, and exact where nothing is to change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conftest import drawing
from graft.inputs.image import augment

NONE: dict[str, Any] = {
    "rotation_degrees": 0,
    "width_shift": 0,
    "height_shift": 0,
    "zoom": 0,
    "horizontal_flip": False,
    "brightness": 0,
    "contrast": 0,
    "fill_mode": "constant",
}


def views(pixels: np.ndarray, n: int = 40, **ranges: Any) -> list[np.ndarray]:
    return [augment.view(pixels, NONE | ranges, np.random.default_rng([0, i])) for i in range(n)]


def test_nothing_asked_nothing_changed() -> None:
    pixels = drawing("cross", 5)
    assert all(np.array_equal(view, pixels) for view in views(pixels))


def test_the_same_seed_is_the_same_view() -> None:
    pixels = drawing("cross", 5)
    ranges = {"rotation_degrees": 30, "zoom": 0.2, "contrast": 0.3, "brightness": 0.3, "width_shift": 0.2}
    first, again = views(pixels, **ranges), views(pixels, **ranges)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], first[1])
    assert {view.dtype for view in first} == {np.dtype(np.uint8)}
    assert {view.shape for view in first} == {pixels.shape}


def test_flip_is_exact_and_happens_half_the_time() -> None:
    pixels = drawing("circle", 6)
    flipped = [np.array_equal(view, pixels[:, ::-1]) for view in views(pixels, 200, horizontal_flip=True)]
    kept = [np.array_equal(view, pixels) for view in views(pixels, 200, horizontal_flip=True)]
    assert sum(flipped) + sum(kept) == 200
    assert 70 < sum(flipped) < 130


def dot(y: int, x: int) -> np.ndarray:
    pixels = np.zeros((41, 41, 3), np.uint8)
    pixels[y - 1 : y + 2, x - 1 : x + 2] = 255
    return pixels


def place(view: np.ndarray) -> tuple[float, float]:
    weight = view[..., 0].astype(float)
    y, x = np.mgrid[: view.shape[0], : view.shape[1]]
    return float((weight * y).sum() / weight.sum()), float((weight * x).sum() / weight.sum())


def test_shift_stays_within_its_range_on_its_axis() -> None:
    moved = [place(view) for view in views(dot(20, 20), width_shift=0.2)]
    assert all(y == pytest.approx(20, abs=0.05) for y, _ in moved)
    shifts = [x - 20 for _, x in moved]
    assert max(map(abs, shifts)) <= 0.2 * 41 + 0.05
    assert max(shifts) > 3
    assert min(shifts) < -3


def test_rotation_keeps_the_distance_to_the_centre() -> None:
    moved = np.array([place(view) for view in views(dot(20, 32), rotation_degrees=45)])
    away = np.hypot(moved[:, 0] - 20, moved[:, 1] - 20)
    assert away == pytest.approx(12, abs=0.3)
    angles = np.rad2deg(np.arctan2(moved[:, 0] - 20, moved[:, 1] - 20))
    assert abs(angles).max() <= 46
    assert abs(angles).max() > 30


def test_zoom_moves_away_from_and_towards_the_centre() -> None:
    moved = np.array([place(view) for view in views(dot(20, 30), zoom=0.3)])
    assert (moved[:, 1] - 20).max() == pytest.approx(13, abs=0.5)
    assert (moved[:, 1] - 20).min() == pytest.approx(7, abs=0.5)


def test_brightness_is_a_factor() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    values = [int(view[0, 0, 0]) for view in views(grey, 100, brightness=0.2)]
    assert 78 <= min(values) <= 84
    assert 116 <= max(values) <= 121


@pytest.mark.parametrize(("fill_mode", "corner"), [("constant", 0), ("nearest", 200), ("reflect", 200)])
def test_what_enters_from_outside(fill_mode: str, corner: int) -> None:
    white = np.full((20, 20, 3), 200, np.uint8)
    turned = views(white, rotation_degrees=45, fill_mode=fill_mode)
    corners = [int(view[0, 0, 0]) for view in turned]
    assert corner in corners
    assert min(corners) >= (0 if fill_mode == "constant" else 199)


@pytest.mark.parametrize("fill_mode", ["nearest", "reflect"])
@pytest.mark.parametrize(
    "ranges",
    [
        {"zoom": 0.9},
        {"zoom": 0.999, "rotation_degrees": 180},
        {"width_shift": 0.9, "height_shift": 0.9},
        {"rotation_degrees": 180, "horizontal_flip": True},
        {"zoom": 0.9, "width_shift": 0.9, "height_shift": 0.9, "rotation_degrees": 180, "horizontal_flip": True},
    ],
    ids=lambda ranges: "-".join(ranges),
)
def test_nothing_black_enters_however_far_a_view_reaches(fill_mode: str, ranges: dict[str, Any]) -> None:
    bright = np.random.default_rng(0).integers(150, 256, (32, 32, 3), dtype=np.uint8)
    seen = views(bright, 150, fill_mode=fill_mode, **ranges)
    assert min(int(view.min()) for view in seen) >= bright.min()
    assert max(int(view.max()) for view in seen) <= bright.max()


@pytest.mark.parametrize(("fill_mode", "padding"), [("nearest", "edge"), ("reflect", "reflect")])
@pytest.mark.parametrize("shift", [(3, 0), (0, -5), (11, 17), (-40, 29), (2, 100)])
def test_the_image_goes_on_as_numpy_pads_it(fill_mode: str, padding: Any, shift: tuple[int, int]) -> None:
    """Shifted by whole pixels, up to several sides: `reflect` is a mirror at each edge, again and again."""
    pixels = drawing("cross", 5, side=20)
    got = augment._warp(pixels, np.eye(2), np.array(shift, float), fill_mode)
    x, y = (100 - by for by in shift)
    padded = np.pad(pixels, ((100, 100), (100, 100), (0, 0)), padding)
    np.testing.assert_array_equal(got, padded[y : y + 20, x : x + 20])


@pytest.mark.parametrize("fill_mode", ["nearest", "reflect"])
def test_continued_and_looked_up_are_the_same_bytes(fill_mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (33, 33, 3), dtype=np.uint8)
    ranges = {"zoom": 0.5, "width_shift": 0.4, "height_shift": 0.4, "rotation_degrees": 180, "horizontal_flip": True}
    got = []
    for most in (0, 10**6):
        monkeypatch.setattr(augment, "MOST_CONTINUED", most)
        got.append(views(pixels, fill_mode=fill_mode, **ranges))
    assert all(np.array_equal(a, b) for a, b in zip(*got, strict=True))
