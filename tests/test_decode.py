"""Every kind of image file, as a viewer would show it."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from conftest import CLASSES, drawing, encoded
from graft.examining.image.examine import examine
from graft.inputs.image.decode import Resizing, decode, open_rgb
from graft.inputs.spec import UndecodableError

GRADIENT = np.add.outer(np.arange(0, 240, 6), np.arange(0, 240, 6)).astype(np.uint16) // 2


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "GIF", "PPM"])
def test_lossless_formats_give_the_same_pixels(file_format: str) -> None:
    colours = np.repeat(np.repeat(np.eye(3, dtype=np.uint8)[None] * 255, 9, 0), 9, 1)
    assert np.array_equal(np.asarray(open_rgb(encoded(colours, file_format))), colours)


@pytest.mark.parametrize(("file_format", "options"), [("JPEG", {"quality": 95}), ("WEBP", {"quality": 95})])
def test_lossy_formats_come_near(file_format: str, options: dict[str, Any]) -> None:
    pixels = drawing("circle", 1)
    got = np.asarray(open_rgb(encoded(pixels, file_format, **options))).astype(int)
    assert abs(got - pixels).mean() < 12


def test_grey_one_bit_and_palette() -> None:
    grey = Image.fromarray(GRADIENT.astype(np.uint8))
    assert np.array_equal(np.asarray(open_rgb(saved(grey, "PNG")))[..., 2], np.asarray(grey))
    bits = grey.point(lambda v: 255 * (v > 120)).convert("1")
    assert np.array_equal(np.asarray(open_rgb(saved(bits, "PNG")))[..., 0], np.asarray(bits.convert("L")))
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 150, 100])
    palette.putpixel((1, 0), 1)
    assert np.asarray(open_rgb(saved(palette, "PNG"))).tolist() == [[[10, 20, 30], [200, 150, 100]]]


def test_16_bit_grey_keeps_its_brightness() -> None:
    deep = Image.fromarray(GRADIENT.astype(np.uint16) * 257)
    assert np.array_equal(np.asarray(open_rgb(saved(deep, "PNG")))[..., 0], GRADIENT)


def test_transparency_lies_over_white() -> None:
    clear = Image.fromarray(np.array([[[200, 0, 0, 0], [200, 0, 0, 255], [0, 0, 0, 128]]], np.uint8))
    got = np.asarray(open_rgb(saved(clear, "PNG")))[0]
    assert got[0].tolist() == [255, 255, 255]
    assert got[1].tolist() == [200, 0, 0]
    assert got[2].tolist() == pytest.approx([127, 127, 127], abs=1)
    keyed = Image.new("P", (2, 1))
    keyed.putpalette([10, 20, 30, 200, 150, 100])
    keyed.putpixel((1, 0), 1)
    got = np.asarray(open_rgb(saved(keyed, "PNG", transparency=0)))[0]
    assert got.tolist() == [[255, 255, 255], [200, 150, 100]]


def test_cmyk_jpeg_shows_its_colours() -> None:
    red = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    pixel = np.asarray(open_rgb(saved(red, "JPEG", quality=95)))[16, 16]
    assert pixel[0] > 240
    assert pixel[1:].max() < 15


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    """The stored picture is turned so that every orientation shows the same upright one."""
    upright = Image.new("RGB", (48, 32), "black")
    upright.paste("white", (0, 0, 24, 16))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = open_rgb(saved(stored, "JPEG", exif=exif, quality=95))
    assert shown.size == (48, 32)
    assert np.asarray(shown)[4, 4].min() > 200
    assert np.asarray(shown)[28, 44].max() < 55


def test_an_animation_shows_its_first_frame() -> None:
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    data = saved(first, "GIF", save_all=True, append_images=[second], duration=50)
    assert np.asarray(open_rgb(data))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file: 0 bytes"),
        (b"not an image at all", "not an image: of no format that is read"),
        (encoded(drawing("cross", 3), "JPEG")[:300], "truncated: "),
        (encoded(drawing("cross", 3), "PNG")[:-200], "truncated: "),
    ],
    ids=["empty", "text", "short jpeg", "short png"],
)
def test_what_cannot_be_decoded_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(UndecodableError, match="^" + reason):
        open_rgb(data)


@pytest.mark.parametrize("method", ["stretch", "crop", "pad"])
def test_resizing(method: str) -> None:
    """A wide picture, red in its left third, blue in its right: what each method keeps of it."""
    wide = np.zeros((30, 90, 3), np.uint8)
    wide[:, :30, 0] = 255
    wide[:, 60:, 2] = 255
    got = decode(encoded(wide), Resizing(30, method, "bilinear"))
    assert got.shape == (30, 30, 3)
    assert got.dtype == np.uint8
    reds, blues = (got[..., 0] > 128).sum(), (got[..., 2] > 128).sum()
    if method == "stretch":
        assert reds == blues == 300
    elif method == "crop":
        assert reds == blues == 0
    else:
        assert not got[0].any()
        assert not got[-1].any()
        assert reds == blues == 100


def test_enlarging_agrees_with_tensorflow() -> None:
    """Half-pixel centres, as `tf.image.resize`: pretraining and users' other code see the same pixels."""
    import tensorflow as tf

    small = drawing("circle", 4, side=8)
    expected = tf.image.resize(small, (96, 96), method="bilinear").numpy()
    got = decode(encoded(small), Resizing(96, "stretch", "bilinear"))
    assert abs(got - expected).max() <= 1.0


def photo(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Smooth shapes and some grain, as a camera sees."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return np.clip(np.asarray(coarse, np.int16) + rng.integers(-6, 7, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(400, 534), (150, 190), (60, 50), (1600, 1000), (97, 4000)])
@pytest.mark.parametrize("method", ["stretch", "crop", "pad"])
def test_a_jpeg_decoded_small_looks_like_one_decoded_in_full(size: tuple[int, int], method: str) -> None:
    """Large and small, wide and narrow, turned by EXIF or not: within what a viewer could see."""
    for orientation in (1, 6):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encoded(photo(*size), "JPEG", quality=92, exif=exif)
        got = decode(data, Resizing(96, method, "bilinear")).astype(int)
        whole = open_rgb(data)
        resize = {"crop": ImageOps.fit, "pad": ImageOps.pad, "stretch": Image.Image.resize}[method]
        expected = np.asarray(resize(whole, (96, 96), Image.Resampling.BILINEAR), int)
        assert got.shape == (96, 96, 3)
        assert abs(got - expected).mean() < 4


def test_junk_between_headers_changes_no_pixel() -> None:
    whole = encoded(photo(300, 200), "JPEG", quality=90)
    before = whole.index(b"\xff\xc4")
    data = whole[:before] + b"junk" + whole[before:]
    assert np.array_equal(np.asarray(open_rgb(data)), np.asarray(open_rgb(whole)))
    found, expected = examine(data, 10**6), examine(whole, 10**6)
    assert found.remarks == (("junk between headers", "4 bytes that decoders pass over"),)
    assert (found.perceptual_hash, found.colours) == (expected.perceptual_hash, expected.colours)


def test_a_grey_or_disordered_jpeg_is_pillows() -> None:
    grey = encoded(photo(300, 200)[..., 0], "JPEG")
    assert (decode(grey, Resizing(64, "stretch", "bilinear")).std(axis=-1) == 0).all()
    disordered = encoded(photo(300, 200), "JPEG")[:-2] + b"\x00\x00\xff\xd9"
    expected = np.asarray(open_rgb(disordered).resize((64, 64), Image.Resampling.BILINEAR), int)
    assert abs(decode(disordered, Resizing(64, "stretch", "bilinear")) - expected).mean() < 4


def _files() -> dict[str, bytes]:
    """An image in each way that files hold one."""
    frames = [Image.fromarray(drawing(kind, 1)) for kind in CLASSES]
    many = {"save_all": True, "append_images": frames[1:]}
    ways: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "PNG": (frames[0], {}), "APNG": (frames[0], {"format": "PNG", **many}), "GIF": (frames[0], many),
        "WEBP": (frames[0], {}), "moving WEBP": (frames[0], {"format": "WEBP", **many}),
        "JPEG": (frames[0], {"quality": 90}), "progressive": (frames[0], {"format": "JPEG", "progressive": True}),
        "CMYK": (frames[0].convert("CMYK"), {"format": "JPEG"}), "grey": (frames[0].convert("L"), {"format": "JPEG"}),
        "palette": (frames[0].convert("P"), {"format": "PNG"}), "BMP": (frames[0], {}), "PPM": (frames[0], {}),
        "TIFF": (frames[0], {}), "packed TIFF": (frames[0], {"format": "TIFF", "compression": "tiff_lzw"}),
        "pages": (frames[0], {"format": "TIFF", **many}), "DIB": (frames[0], {}),
        "16-bit TIFF": (frames[0].convert("I;16"), {"format": "TIFF"}),
        "CMYK TIFF": (frames[0].convert("CMYK"), {"format": "TIFF"}),
        "JPEG in TIFF": (frames[0], {"format": "TIFF", "compression": "jpeg"}),
        "16-bit PNG": (frames[0].convert("I;16"), {"format": "PNG"}),
        "AVIF": (frames[0], {}), "moving AVIF": (frames[0], {"format": "AVIF", **many}),
    }  # fmt: skip
    files = {}
    for name, (image, options) in ways.items():
        out = io.BytesIO()
        image.save(out, **{"format": name} | options)
        files[name] = out.getvalue()
    for name in ("JPEG", "progressive"):
        before = files[name].index(b"\xff\xc4")
        files[f"{name} with junk"] = files[name][:before] + b"junk\xff\x00" + files[name][before:]
    return files


@pytest.mark.parametrize("name", _files())
def test_what_passes_is_decoded(name: str) -> None:
    """A damaged file is refused by `prepare`, or `extract` decodes it: nothing is computed only to fail at the last.

    Of an APNG whose frames are out of order, counting them changed what Pillow made of the first.
    """
    data, chance = _files()[name], random.Random(name)
    passed = 0
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(chance.choice((0, 1, 2, 4))):
            place = chance.randrange(len(damaged))
            kind = chance.choice(("change", "change", "cut", "insert"))
            if kind == "change":
                damaged[place] = chance.randrange(256)
            elif kind == "cut":
                del damaged[place : place + chance.randrange(1, 20)]
            else:
                damaged[place:place] = chance.randbytes(4)
        verdict = examine(bytes(damaged), 10**6)
        if verdict.decoded and not verdict.reason:
            passed += 1
            for how in (Resizing(32, "stretch", "bilinear"), Resizing(48, "crop", "bicubic")):
                assert decode(bytes(damaged), how).shape == (how.side, how.side, 3)
    assert passed
