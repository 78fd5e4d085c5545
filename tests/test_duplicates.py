"""Copies of one image: found, kept together, and reported where they disagree."""

from __future__ import annotations

import io
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from conftest import CLASSES, PreparedData, write_drawings
from graft.errors import DataError
from graft.examining.image import examine
from graft.examples.checks import duplicates, joining, near_images
from graft.examples.checks.examined import Looks

Prepare = Callable[..., PreparedData]


def scene(seed: int, side: int = 192) -> Image.Image:
    """A smooth picture with structure at several scales, as a photo has."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((side, side, 3))
    for n in (4, 8, 16, 48):
        coarse = Image.fromarray(rng.integers(0, 256, (n, n, 3), np.uint8))
        picture += np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), float) / n**0.5
    return Image.fromarray((255 * picture / picture.max()).astype(np.uint8))


def as_jpeg(image: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def as_png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def perceptual(data: bytes) -> bytes:
    return examine.examine(data, 10**9).perceptual_hash


def grouped(files: list[bytes], distance: int = 12) -> list[int]:
    """The number of each file's group, as copies are found."""
    verdicts = [examine.examine(data, 10**9) for data in files]
    numbers = [str(i) for i in range(len(files))]
    return near_images.groups(numbers, Looks.of(map(near_images.look, verdicts)), distance).tolist()


GREY = bytes([128]) * 192
"""The colours of a grey picture."""


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "saved as JPEG": lambda image: as_jpeg(image, 90),
    "saved badly": lambda image: as_jpeg(image, 40),
    "half the size": lambda image: as_png(image.resize((96, 96), Image.Resampling.LANCZOS)),
    "stretched": lambda image: as_png(image.resize((224, 160), Image.Resampling.BICUBIC)),
    "with a palette": lambda image: as_png(image.convert("P")),
    "brighter": lambda image: as_png(ImageEnhance.Brightness(image).enhance(1.1)),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_near(name: str) -> None:
    for seed in range(8):
        assert grouped([as_png(scene(seed)), COPIES[name](scene(seed))]) == [0, 0]


def product(colour: str | tuple[int, int, int]) -> Image.Image:
    """A plain shirt before a bright wall."""
    picture = Image.new("RGB", (160, 160), (225, 225, 220))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((45, 30, 115, 140), fill=colour)
    draw.polygon([(45, 30), (20, 70), (45, 80), (115, 80), (140, 70), (115, 30)], fill=colour)
    return picture


VARIANTS = {
    "red": (200, 60, 60),
    "navy": (60, 70, 150),
    "olive": (100, 110, 50),
    "black": (30, 30, 30),
    "grey": (110, 110, 110),
}


def test_a_product_in_other_colours_is_no_copy() -> None:
    """One pattern of luminance; saved in two ways, each is a copy of itself alone."""
    pictures = [product(colour) for colour in VARIANTS.values()]
    files = [as_png(picture) for picture in pictures] + [as_jpeg(picture, 60) for picture in pictures]
    hashes = np.stack([np.frombuffer(perceptual(data), np.uint8) for data in files])
    assert np.unpackbits(hashes[:5] ^ hashes[:1], axis=1).sum(axis=1).max() <= 12, "near by their hash"
    assert grouped(files) == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]


def test_a_grey_version_of_a_colourful_picture_is_no_copy() -> None:
    assert grouped([as_png(scene(3)), as_png(scene(3).convert("L"))]) == [0, 1]


def test_the_hash_is_that_of_imagehash() -> None:
    """Bit for bit, of what both are given: a grey picture of the hash's own size."""
    for seed in range(20):
        grey = scene(seed).convert("L").resize((examine.SIDE, examine.SIDE))
        expected = imagehash.phash(grey, hash_size=16, highfreq_factor=2).hash
        assert perceptual(as_png(grey)) == np.packbits(expected).tobytes()


def test_an_exif_turn_does_not_hide_a_copy() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    scene(1).transpose(Image.Transpose.ROTATE_90).save(out, "JPEG", exif=exif, quality=95)
    assert grouped([as_png(scene(1)), out.getvalue()]) == [0, 0]


def test_other_images_are_not_near() -> None:
    assert len(set(grouped([as_png(scene(seed)) for seed in range(60)], 15))) == 60


def test_flat_images_are_compared_by_bytes_only() -> None:
    flat = [as_png(Image.new("RGB", (64, 64), colour)) for colour in ("white", "black", "red")]
    assert [perceptual(data) for data in flat] == [b"", b"", b""]
    assert near_images.groups(["w", "b", "r", "w"], Looks.of([b""] * 4), 15).tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize("distance", [0, 1, 7, 15])
def test_near_pairs_are_those_of_brute_force(distance: int) -> None:
    """Random hashes with planted neighbours at every distance from 0 to 20 bits."""
    rng = np.random.default_rng(distance)
    base = rng.integers(0, 2, (40, 256), np.uint8)
    planted = []
    for i, bits in enumerate(base):
        other = bits.copy()
        other[rng.choice(256, i % 21, replace=False)] ^= 1
        planted.append(other)
    every = np.concatenate([base, np.stack(planted)])
    close = [(i, j) for i in range(80) for j in range(i + 1, 80) if (every[i] != every[j]).sum() <= distance]
    looks = np.concatenate([np.packbits(every, axis=1), np.zeros((80, 3), np.uint8)], axis=1)
    expected = joining.joined(80, np.array(close).reshape(-1, 2))
    assert joining.joined(80, near_images._near(looks, np.arange(80), distance)).tolist() == expected.tolist()
    assert len(close) >= 40 * min(distance, 20) // 21


def test_hashes_with_few_details_are_not_all_compared() -> None:
    """Where 16 bits have one of forty values, 2,000 hashes have 800,000 pairs that share 16 bits; few are compared."""
    rng = np.random.default_rng(3)
    values = rng.integers(0, 2**16, 40).astype(np.uint16)
    hashes = values[rng.integers(0, 40, (2000, 16))].view(np.uint8)
    compared = 0

    def alike(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        nonlocal compared
        compared += len(left)
        return np.zeros(len(left), bool)

    joining.near(len(hashes), near_images._keys(hashes, 12), alike)
    assert compared < 5_000


def test_copies_of_copies_are_one_group() -> None:
    hashes = [bytes(32), bytes([0b111]) + bytes(31), bytes([0b111, 0b111]) + bytes(30), bytes([255] * 32)]
    looks = Looks.of(one + GREY for one in hashes)
    assert near_images.groups(["a", "b", "c", "d"], looks, 3).tolist() == [0, 0, 0, 1]
    assert near_images.groups(["a", "b", "c", "d"], looks, 2).tolist() == [0, 1, 2, 3]


def test_what_is_no_example_joins_no_others() -> None:
    """Two near copies, one of which is removed by the user: it keeps its place, and none is a copy of it."""
    looks = Looks.of([bytes(32) + GREY, b"", bytes([1]) + bytes(31) + GREY, bytes([3]) + bytes(31) + GREY])
    assert looks.rows.tolist() == [0, 2, 3]
    assert near_images.groups(["a", "", "b", "c"], looks, 1).tolist() == [0, 1, 0, 0]
    without = looks.among(np.array([True, True, False, True]))
    assert near_images.groups(["a", "", "b", "c"], without, 1).tolist() == [0, 1, 2, 3]


def test_near_pairs_are_those_of_brute_force_in_colours_too() -> None:
    """Few hashes, few colours, many of each: a pair must agree in both, and others may join it."""
    rng = np.random.default_rng(5)
    bits = np.tile(rng.integers(0, 2, 256, np.uint8), (150, 1))
    for row in bits:
        row[rng.choice(256, rng.integers(0, 9), replace=False)] ^= 1
    colours = rng.choice(np.array([0, 30, 40, 52], np.uint8), (150, 1, 3), p=[0.6, 0.1, 0.1, 0.2])
    wide = colours.astype(int)

    def close(i: int, j: int) -> bool:
        lighter, blue, red = abs(wide[i, 0] - wide[j, 0])
        return (bits[i] != bits[j]).sum() <= 7 and lighter <= 48 and blue**2 + red**2 <= 144

    pairs = np.array([(i, j) for i in range(150) for j in range(i) if close(i, j)])
    looks = np.concatenate([np.packbits(bits, axis=1), colours.reshape(150, -1)], axis=1)
    expected = joining.joined(150, pairs)
    assert joining.joined(150, near_images._near(looks, np.arange(150), 7)).tolist() == expected.tolist()
    assert 10 < len(set(expected)) < 100


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """An official split of drawings with copies: within train, across splits, with other labels."""
    for i, name in enumerate(("train", "validation", "test")):
        write_drawings(tmp_path / name, 6, first_seed=100 * i)
    for k, kind in enumerate(CLASSES):
        for name, seed in (("train", 50 + k), ("test", 60 + k)):
            (tmp_path / name / kind / "photo.png").write_bytes(as_png(scene(seed)))
    (tmp_path / "train" / "circle" / "again.png").write_bytes(as_png(scene(50)))
    (tmp_path / "train" / "cross" / "of_test.jpg").write_bytes(as_jpeg(scene(61), 90))
    (tmp_path / "train" / "stripes" / "wrong.jpg").write_bytes(as_jpeg(scene(51), 90))
    shutil.copy(tmp_path / "train" / "circle" / "000.png", tmp_path / "train" / "stripes" / "same.png")
    return tmp_path


CONFLICTING = ("train/circle/000.png", "train/stripes/same.png", "train/cross/photo.png", "train/stripes/wrong.jpg")
"""Of `copied`: two of the same bytes, two that are near."""


def test_what_copies_there_are_and_what_becomes_of_them(copied: Path, prepare: Prepare) -> None:
    found = prepare(copied)
    lines = found.duplicates.to_csv(index=False).splitlines()
    assert lines[0] == "group,kind,finding,path,label,split"
    assert sorted(line.split(",", 1)[1] for line in lines[1:]) == [
        "identical,conflicting labels,train/circle/000.png,circle,",
        "identical,conflicting labels,train/stripes/same.png,stripes,",
        "identical,within a split,train/circle/again.png,circle,train",
        "identical,within a split,train/circle/photo.png,circle,train",
        "near,across splits,test/cross/photo.png,cross,test",
        "near,across splits,train/cross/of_test.jpg,cross,unused",
        "near,conflicting labels,train/cross/photo.png,cross,",
        "near,conflicting labels,train/stripes/wrong.jpg,stripes,",
    ]
    assert found.duplicates["group"].astype(int).max() == 4
    assert found.metrics["duplicates"] == {
        "identical": 4, "near": 4, "within_a_split": 2, "across_splits": 2, "conflicting_labels": 4,
    }  # fmt: skip
    assert found.aside == {
        "train/circle/000.png": ("conflicting labels", "circle, but identical to train/stripes/same.png of stripes"),
        "train/stripes/same.png": ("conflicting labels", "stripes, but identical to train/circle/000.png of circle"),
        "train/cross/photo.png": ("conflicting labels", "cross, but nearly identical to train/stripes/wrong.jpg of "
                                  "stripes"),
        "train/stripes/wrong.jpg": ("conflicting labels", "stripes, but nearly identical to train/cross/photo.png of "
                                    "cross"),
    }  # fmt: skip
    assert found.sides["train/cross/of_test.jpg"] == "unused"
    assert found.sides["test/cross/photo.png"] == "test"
    assert found.metrics["used"] == 60
    assert (
        f"note: 8 images are copies of 4: 2 across splits, 4 conflicting labels, 2 within a split; see {found.folder}"
        in (found.said)
    )


def test_conflicts_may_be_kept_or_fail(copied: Path, prepare: Prepare) -> None:
    identical, near = CONFLICTING[:2], CONFLICTING[2:]
    setting = "duplicates.conflicting_labels"
    kept = prepare(copied, {f"{setting}.near": "keep", f"{setting}.identical": "keep"})
    assert kept.aside == {}
    assert kept.metrics["duplicates"]["conflicting_labels"] == 4
    assert sorted(prepare(copied, {f"{setting}.near": "keep"}).aside) == sorted(identical)
    assert sorted(prepare(copied, {f"{setting}.identical": "keep"}).aside) == sorted(near)
    for kind, (first, second) in {"identical": identical, "near": near}.items():
        with pytest.raises(DataError) as caught:
            prepare(copied, {f"{setting}.{kind}": "fail"})
        assert str(caught.value) == (
            f"data.duplicates.conflicting_labels.{kind}: fail, and 2 images have such a copy with another label: "
            f"{first} ({first.split('/')[1]}), {second} (stripes). Correct the labels, or set it to quarantine or keep."
        )


def test_variants_of_a_product_are_used_with_their_labels(tmp_path: Path, prepare: Prepare) -> None:
    """In two colours with two labels, and in others on the other side of an official split."""
    colours = {"train/warm": "red", "train/cool": "navy", "test/warm": "orange", "test/cool": "green"}
    for folder, colour in colours.items():
        (tmp_path / folder).mkdir(parents=True)
        product(colour).save(tmp_path / folder / "shirt.png")
    found = prepare(tmp_path)
    assert found.sides == {f"{folder}/shirt.png": folder.split("/")[0] for folder in colours}
    assert len(found.duplicates) == 0


def test_a_near_copy_of_a_conflict_of_bytes(tmp_path: Path, prepare: Prepare) -> None:
    """The third picture is in conflict with one of the two that have the same bytes, and of the near kind."""
    write_drawings(tmp_path, 3)
    shutil.copy(tmp_path / "circle" / "000.png", tmp_path / "stripes" / "same.png")
    Image.open(tmp_path / "circle" / "000.png").save(tmp_path / "circle" / "near.bmp")
    kept = prepare(tmp_path, {"duplicates.conflicting_labels.near": "keep"})
    assert sorted(kept.aside) == ["circle/000.png", "stripes/same.png"]
    found = prepare(tmp_path)
    assert found.aside["circle/near.bmp"][1] == "circle, but nearly identical to stripes/same.png of stripes"


def test_copies_across_splits_may_fail(
    copied: Path, tmp_path_factory: pytest.TempPathFactory, prepare: Prepare
) -> None:
    out = tmp_path_factory.mktemp("out")
    with pytest.raises(DataError) as caught:
        prepare(copied, {"duplicates.across_splits": "fail"}, out=out)
    assert str(caught.value) == (
        "data.duplicates.across_splits: fail, and 2 images have copies on another side of the official split: "
        "test/cross/photo.png (test), train/cross/of_test.jpg (train). Remove them, or set it to keep_together. "
        "duplicates.csv beside the catalogue lists all."
    )
    listed = duplicates.read(out / "duplicates.csv")
    assert set(listed.loc[listed["finding"] == "across splits", "path"]) == {
        "test/cross/photo.png", "train/cross/of_test.jpg",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["equal hashes", "equal but for noise", "one scene"])
def test_many_alike_take_little_memory(kind: str) -> None:
    """Frames of a still camera, or placeholders saved anew: all near each other, in one group."""
    rng = np.random.default_rng(0)
    bits = np.tile(rng.integers(0, 2, 256, np.uint8), (4000, 1))
    if kind == "one scene":
        for row in bits:
            row[rng.choice(256, 4, replace=False)] ^= 1
    hashes = [row.tobytes() for row in np.packbits(bits, axis=1)]
    colours = [GREY] * 4000
    if kind == "equal but for noise":
        colours = [row.tobytes() for row in rng.integers(126, 131, (4000, 192), np.uint8)]
    looks = Looks.of(one + colour for one, colour in zip(hashes, colours, strict=True))
    tracemalloc.start()
    assert set(near_images.groups([str(i) for i in range(4000)], looks, 12)) == {0}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


def test_a_distance_of_zero_finds_only_equal_hashes(copied: Path, prepare: Prepare) -> None:
    assert prepare(copied, {"duplicates.near_distance": 0}).metrics["duplicates"]["near"] <= 4
