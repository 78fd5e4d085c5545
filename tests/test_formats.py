"""TIFF and AVIF in all their kinds, headerless bitmaps, 16 bits: the right pixels, or one reason."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import CLASSES, PreparedData, drawing, write_drawings
from graft.examining.image.examine import examine
from graft.inputs.image.decode import Resizing, decode, open_rgb
from graft.inputs.image.formats import FORMATS
from graft.inputs.spec import UndecodableError

Prepare = Callable[..., PreparedData]
PICTURE = Image.fromarray(drawing("circle", 1))
GREY = np.asarray(PICTURE.convert("L")).astype(np.uint16)
TURNED = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270, 3: Image.Transpose.ROTATE_180}


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


def tiff(pixels: bytes, bits: tuple[int, ...], photometric: int, **tags: int | tuple[int, ...]) -> bytes:
    """An uncompressed little-endian TIFF of one strip to a plane, 40 x 40, with any tags that Pillow does not write."""
    names = {"compression": 259, "planar": 284, "extra": 338, "format": 339, "order": 266}
    planes = len(bits) if tags.get("planar") == 2 else 1
    size = len(pixels) // planes
    entries: dict[int, tuple[int, ...]] = {
        256: (40,), 257: (40,), 258: bits, 259: (1,), 262: (photometric,), 277: (len(bits),), 278: (40,),
        273: tuple(8 + i * size for i in range(planes)), 279: (size,) * planes,
    }  # fmt: skip
    for name, value in tags.items():
        entries[names[name]] = value if isinstance(value, tuple) else (value,)
    directory, behind = b"", b""
    start = 8 + len(pixels)
    end = start + 2 + 12 * len(entries) + 4
    for tag, values in sorted(entries.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(values) > 1:
            packed, behind = struct.pack("<I", end + len(behind)), behind + packed
        directory += struct.pack("<HHI", tag, 4, len(values)) + packed
    header = b"II*\0" + struct.pack("<I", start)
    return header + pixels + struct.pack("<H", len(entries)) + directory + bytes(4) + behind


def png_of_16_bits(pixels: np.ndarray) -> bytes:
    """A PNG of grey and transparency, (h, w, 2) uint16, as Pillow does not write one."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, 4, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def shown(data: bytes) -> np.ndarray:
    """As `decode` and `open_rgb` give it, whose verdicts must agree."""
    assert examine(data, 10**6).reason == ""
    whole = np.asarray(open_rgb(data))
    assert np.array_equal(decode(data, Resizing(40, "stretch", "nearest")), whole)
    return whole


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "LAB"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_a_tiff_of_every_mode_shows_its_picture(mode: str, compression: str | None) -> None:
    if mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        stored = ImageCms.profileToProfile(PICTURE, *profiles, outputMode="LAB")
        assert stored is not None
    else:
        stored = PICTURE.convert(mode)
    got = shown(saved(stored, "TIFF", compression=compression))
    expected = PICTURE if mode in ("LAB", "YCbCr") else stored.convert("RGB")
    assert abs(got.astype(int) - np.asarray(expected)).mean() <= (2 if mode in ("LAB", "YCbCr") else 0)


def test_a_tiff_of_planes_of_12_bits_or_with_white_as_0() -> None:
    colours = np.asarray(PICTURE)
    planes = colours.transpose(2, 0, 1).tobytes()
    assert np.array_equal(shown(tiff(planes, (8, 8, 8), 2, planar=2)), colours)
    wide = GREY * 257
    assert np.array_equal(shown(tiff(wide.tobytes(), (16,), 1))[..., 0], GREY)
    assert np.array_equal(shown(tiff((65535 - wide).tobytes(), (16,), 0))[..., 0], GREY)
    assert np.array_equal(shown(saved(Image.fromarray(wide.astype(">u2")), "TIFF"))[..., 0], GREY)
    pairs = (GREY * 16 + GREY // 16).reshape(-1, 2).astype(np.uint32)
    joined = pairs[:, 0] << 12 | pairs[:, 1]
    twelve = np.stack([joined >> 16, joined >> 8 & 255, joined & 255], axis=1).astype(np.uint8).tobytes()
    data = tiff(twelve, (12,), 1)
    assert abs(shown(data)[..., 0].astype(int) - GREY).max() <= 1
    assert examine(data, 10**6).remarks == ()


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("file_format", ["TIFF", "AVIF"])
def test_turned_ones_stand_upright(file_format: str, orientation: int) -> None:
    upright = Image.new("RGB", (48, 32), "black")
    upright.paste("white", (0, 0, 24, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(upright.transpose(TURNED[orientation]), file_format, exif=exif)
    image = open_rgb(data)
    assert image.size == (48, 32)
    assert np.asarray(image)[4, 4].min() > 200
    assert np.asarray(image)[28, 44].max() < 55
    found = examine(data, 10**6)
    assert (found.width, found.height) == (48, 32)
    expected = examine(saved(upright, "PNG"), 10**6)
    assert abs(np.frombuffer(found.colours, np.uint8).astype(int) - np.frombuffer(expected.colours, np.uint8)).max() < 8


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (saved(Image.fromarray(GREY.astype(np.float32)), "TIFF"), "values of 32 bits"),
        (saved(Image.fromarray(GREY.astype(np.int32)), "TIFF"), "values of 32 bits"),
        (tiff(GREY.astype(np.int16).tobytes(), (16,), 1, format=2), "values of 32 bits"),
        (tiff(bytes(40 * 40 * 8), (64,), 1, format=3), "a TIFF of an unknown pixel mode"),
        (tiff(bytes(40 * 40 * 4), (16, 16), 1, extra=2), "a TIFF of an unknown pixel mode"),
        (tiff(bytes(1600), (8,), 1, compression=34887), "a TIFF of compression 34887"),
        (b"Pf\n40 40\n-1.0\n" + bytes(6400), "values of 32 bits"),
    ],
    ids=["float", "int32", "int16", "double", "16-bit grey with alpha", "compression", "PFM"],
)
def test_what_is_not_read_says_so(data: bytes, detail: str) -> None:
    with pytest.raises(UndecodableError, match="^unsupported: " + detail):
        open_rgb(data)
    verdict = examine(data, 10**6)
    assert verdict.reason == "unsupported"
    assert verdict.detail.startswith(detail)


def test_avif_comes_near_and_is_exact_where_it_is_lossless() -> None:
    got = shown(saved(PICTURE, "AVIF", quality=95)).astype(int)
    assert abs(got - np.asarray(PICTURE)).mean() < 12
    clear = PICTURE.convert("RGBA")
    clear.putalpha(0)
    assert shown(saved(clear, "AVIF")).min() == 255


def test_bitmaps_without_a_file_header() -> None:
    assert np.array_equal(shown(saved(PICTURE, "DIB")), np.asarray(PICTURE))
    assert examine(saved(PICTURE, "DIB"), 10**6).format == "BMP"


@pytest.mark.parametrize("bits", [10, 12, 14, 15, 16])
@pytest.mark.parametrize("kind", ["grey PNG", "grey TIFF", "compressed TIFF", "grey PGM", "colour TIFF", "colour PPM"])
def test_values_that_leave_the_upper_bits_unused_are_said(kind: str, bits: int) -> None:
    """Each is used as it is: dark."""
    values = (GREY * 257) >> (16 - bits)
    assert int(values.max()).bit_length() == bits
    colours = np.repeat(values[..., None], 3, axis=2)
    data = {
        "grey PNG": lambda: saved(Image.fromarray(values), "PNG"),
        "grey TIFF": lambda: saved(Image.fromarray(values), "TIFF"),
        "compressed TIFF": lambda: saved(Image.fromarray(values), "TIFF", compression="tiff_lzw"),
        "grey PGM": lambda: b"P5 40 40 65535\n" + values.astype(">u2").tobytes(),
        "colour TIFF": lambda: tiff(colours.tobytes(), (16, 16, 16), 2),
        "colour PPM": lambda: b"P6 40 40 65535\n" + colours.astype(">u2").tobytes(),
    }[kind]()
    remarks = examine(data, 10**6).remarks
    assert abs(shown(data)[..., 0].astype(int) - values // 257).max() <= 1
    if bits > 14:
        assert remarks == ()
    else:
        detail = f"no value needs more than {bits} of the 16 bits; stretch them, or convert to 8 bits"
        assert remarks == (("dark 16-bit values", detail),)


def test_a_dark_picture_whose_white_is_known_is_no_remark() -> None:
    for start, values in ((b"P5 40 40 4095\n", GREY), (b"P6 40 40 4095\n", np.repeat(GREY[..., None], 3, axis=2))):
        assert examine(start + values.astype(">u2").tobytes(), 10**6).remarks == ()
    assert examine(saved(Image.fromarray(GREY * 0), "PNG"), 10**6).remarks == ()
    clear = np.full((40, 40, 2), 65535, np.uint16)
    clear[..., 0] = GREY
    data = png_of_16_bits(clear)
    assert [reason for reason, _ in examine(data, 10**6).remarks] == ["dark 16-bit values"], "whatever its transparency"


def test_every_suffix_is_of_one_format_and_all_are_used(tmp_path: Path, prepare: Prepare) -> None:
    """As Pillow writes each; the first of several pages or frames is used, which is said."""
    write_drawings(tmp_path, 3)
    others = [Image.fromarray(drawing(kind, 70)) for kind in CLASSES]
    several = {"save_all": True, "append_images": others[1:]}
    for name, row in FORMATS.items():
        for i, suffix in enumerate(row.suffixes):
            one = Image.fromarray(drawing("circle", 100 + 10 * len(list(tmp_path.glob("*/*"))) + i))
            kind = {".mpo": "MPO", ".dib": "DIB"}.get(suffix, name)
            (tmp_path / "circle" / f"one{suffix}").write_bytes(saved(one, kind))
    for name in ("TIFF", "AVIF"):
        (tmp_path / "cross" / f"several{FORMATS[name].suffixes[0]}").write_bytes(saved(others[1], name, **several))
    (tmp_path / "cross" / "in_jpg.jpg").write_bytes(saved(Image.fromarray(drawing("cross", 90)), "TIFF"))
    found = prepare(tmp_path)
    assert found.aside == {}
    assert {row["path"]: (row["reason"], row["detail"]) for row in found.quarantine.to_dict("records")} == {
        "cross/several.tif": ("several pages", "the first of 3 pages is used"),
        "cross/several.avif": ("animation", "the first of 3 frames is used"),
        "cross/in_jpg.jpg": ("wrong extension", "TIFF in a .jpg file"),
    }
