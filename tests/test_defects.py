"""Every defect by name, with its exact message; all other images survive."""

from __future__ import annotations

import io
import os
import shutil
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import PreparedData, data_params, drawing, encoded, write_drawings
from graft.errors import DataError
from graft.examining.image import examine
from graft.examples import catalogue
from graft.examples.checks import looking, quarantine, verdict_cache
from graft.examples.checks.runners import local
from graft.examples.sources.tree import Directory
from graft.inputs.image.decode import open_rgb
from graft.pipeline import hashable

Prepare = Callable[..., PreparedData]
LIMIT = 89_478_485
FRAMES = "the first of 3 frames is used"


def saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


def jpeg(seed: int, side: int = 40) -> bytes:
    return encoded(drawing("circle", seed, side), "JPEG", quality=90)


def png_of_size(width: int, height: int) -> bytes:
    """A PNG header that promises this many pixels, and few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100)))


def zeroed_jpeg() -> bytes:
    """Pillow shows this one, with a grey band, and says nothing."""
    content = bytearray(jpeg(11, 160))
    middle = len(content) // 2
    content[middle : middle + 60] = bytes(60)
    Image.open(io.BytesIO(bytes(content))).load()
    return bytes(content)


def flipped_png() -> bytes:
    content = bytearray(encoded(drawing("circle", 12)))
    content[len(content) // 2] ^= 0xFF
    return bytes(content)


def animation(file_format: str) -> bytes:
    frames = [Image.fromarray(drawing("circle", 20 + i)) for i in range(3)]
    return saved(frames[0], file_format, save_all=True, append_images=frames[1:], duration=40)


DEFECTS: dict[str, tuple[str, bytes, str, str]] = {
    "zero bytes": ("a.jpg", b"", "empty file", "0 bytes"),
    "text": ("a.png", b"<html>404</html>", "not an image", "of no format that is read"),
    "zip": ("a.jpg", b"PK\x03\x04" + bytes(400), "not an image", "of no format that is read"),
    "short JPEG": ("a.jpg", jpeg(1)[:-300], "truncated", "Premature end of JPEG file"),
    "headless JPEG": ("a.jpg", jpeg(1)[:100], "truncated", "Truncated File Read"),
    "short PNG": (
        "a.png", encoded(drawing("circle", 2))[:-300], "truncated", "Truncated File Read"
    ),
    "zeros within a JPEG": ("a.jpg", zeroed_jpeg(), "corrupt", "109 extraneous bytes before marker 0xd9"),
    "a flipped byte in a PNG": ("a.png", flipped_png(), "corrupt", "broken PNG file (bad header checksum in b'IDAT')"),
    "decompression bomb": (
        "a.png", png_of_size(40_000, 40_000), "too many pixels", f"1600000000, more than data.max_pixels {LIMIT}"
    ),
    "too small": ("a.png", encoded(drawing("circle", 3, 7)), "too small", "7 x 7, smaller than data.min_side 8"),
    "one pixel wide": (
        "a.png", encoded(np.zeros((90, 1, 3), np.uint8)), "too small", "1 x 90, smaller than data.min_side 8"
    ),
    "JPEG 2000": (
        "a.jp2", saved(Image.new("RGB", (40, 40)), "JPEG2000"), "format not read", ".jp2; convert it to PNG or JPEG"
    ),
    "JPEG 2000 as JPEG": (
        "a.jpg", saved(Image.new("RGB", (40, 40)), "JPEG2000"), "not an image", "of no format that is read"
    ),
    "floats": (
        "a.tif", saved(Image.new("F", (40, 40)), "TIFF"), "unsupported",
        "values of 32 bits, whose black and white are not known; convert to 8 bits",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_set_aside_with_its_reason(name: str, tmp_path: Path, prepare: Prepare) -> None:
    file, content, reason, detail = DEFECTS[name]
    write_drawings(tmp_path, 3)
    (tmp_path / "circle" / file).write_bytes(content)
    found = prepare(tmp_path)
    assert list(found.aside) == [f"circle/{file}"]
    got_reason, got_detail = found.aside[f"circle/{file}"]
    assert got_reason == reason
    if name in ("short PNG", "a flipped byte in a PNG", "headless JPEG"):
        assert got_detail, "Pillow's own words, which change with its version"
    else:
        assert got_detail == detail
    assert found.metrics["used"] == 9
    assert found.metrics["quarantined_for"] == {reason: 1}
    assert f"note: 1 files set aside: {reason} (1); see {found.folder}/quarantine.csv" in found.said


def test_links_pipes_and_what_cannot_be_read(tmp_path: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "images"
    write_drawings(root, 3)
    outside = tmp_path / "outside.png"
    outside.write_bytes(encoded(drawing("circle", 50)))
    circle = root / "circle"
    (circle / "leaves.png").symlink_to(outside)
    (circle / "broken.png").symlink_to("nowhere.png")
    (circle / "itself.png").symlink_to("itself.png")
    (circle / "copy.png").symlink_to("000.png")
    os.mkfifo(circle / "pipe.png")
    (circle / "secret.png").write_bytes(encoded(drawing("circle", 51)))
    read = Directory.read

    def refuse(self: Directory, path: str) -> bytes:
        if path.endswith("secret.png"):
            raise PermissionError(13, "Permission denied")
        return read(self, path)

    monkeypatch.setattr(Directory, "read", refuse)
    found = prepare(root)
    assert found.aside == {
        "circle/broken.png": ("broken link", "to nowhere.png"),
        "circle/itself.png": ("broken link", "to itself.png"),
        "circle/pipe.png": ("not a regular file", "a pipe, socket or device"),
        "circle/secret.png": ("cannot be read", "Permission denied"),
    }
    assert {"circle/copy.png", "circle/leaves.png"} <= set(found.sides)
    assert found.metrics["used"] == 11


def test_used_although(tmp_path: Path, prepare: Prepare) -> None:
    """An animation shows its first frame, a name may lie about the format: nothing is lost, all is listed."""
    write_drawings(tmp_path, 3)
    (tmp_path / "circle" / "moving.gif").write_bytes(animation("GIF"))
    (tmp_path / "circle" / "moving.webp").write_bytes(animation("WEBP"))
    (tmp_path / "circle" / "png.jpg").write_bytes(encoded(drawing("circle", 60)))
    (tmp_path / "circle" / "with_junk.png").write_bytes(with_junk(jpeg(61), b"junk\xff\x00\xff\xd0"))
    found = prepare(tmp_path)
    assert found.quarantine.to_dict("records") == [
        {"path": "circle/moving.gif", "reason": "animation", "detail": FRAMES, "state": "used"},
        {"path": "circle/moving.webp", "reason": "animation", "detail": FRAMES, "state": "used"},
        {"path": "circle/png.jpg", "reason": "wrong extension", "detail": "PNG in a .jpg file", "state": "used"},
        {"path": "circle/with_junk.png", "reason": "junk between headers", "state": "used",
         "detail": "6 bytes that decoders pass over; JPEG in a .png file"},
    ]  # fmt: skip
    assert found.metrics["used_although"] == {"animation": 2, "junk between headers": 1, "wrong extension": 1}
    assert found.metrics["quarantined"] == 0
    assert found.metrics["used"] == 13
    words = "animation (2), junk between headers (1), wrong extension (1)"
    assert f"note: 4 files used all the same: {words}; see" in found.said


def test_what_is_no_defect(tmp_path: Path, prepare: Prepare) -> None:
    """Padding before a JPEG's end marker, a second picture behind it, a turned or CMYK one: all are used."""
    write_drawings(tmp_path, 3)
    whole = jpeg(70)
    (tmp_path / "circle" / "padded.jpg").write_bytes(whole[:-2] + bytes(9) + whole[-2:])
    (tmp_path / "circle" / "trailing.jpg").write_bytes(jpeg(71) + b"trailing bytes")
    two = [Image.fromarray(drawing("circle", 72 + i)) for i in range(2)]
    (tmp_path / "circle" / "stereo.jpg").write_bytes(saved(two[0], "MPO", save_all=True, append_images=two[1:]))
    (tmp_path / "circle" / "cmyk.jpg").write_bytes(saved(two[1].convert("CMYK"), "JPEG"))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = saved(Image.fromarray(drawing("circle", 80)[:20]), "JPEG", exif=exif)
    (tmp_path / "circle" / "turned.jpg").write_bytes(turned)
    found = prepare(tmp_path)
    assert found.aside == {}
    assert found.metrics["used"] == 14
    sizes = found.catalogue.set_index("path")[["width", "height"]]
    assert tuple(sizes.loc["circle/turned.jpg"]) == ("20", "40"), "the upright size"


def damaged(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(800) + data[middle + 800 :]


def with_junk(jpeg: bytes, junk: bytes) -> bytes:
    """A JPEG with junk before its first quantization table."""
    place = jpeg.index(b"\xff\xdb")
    return jpeg[:place] + junk + jpeg[place:]


BAD_PROFILE = b"\xff\xe2\x00\x13ICC_PROFILE\0\x02\x03abc"
"""The second of three parts of a colour profile, alone."""


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """A chunk behind the header of a PNG."""
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return png[:33] + chunk + png[33:]


PHOTO = jpeg(90, 200)
PICTURE = encoded(drawing("circle", 91))
CMYK = saved(Image.fromarray(drawing("circle", 92, 200)).convert("CMYK"), "JPEG")
ODD_VERSION = PHOTO[:11] + b"\x03\x09" + PHOTO[13:]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (damaged(PHOTO), "corrupt"),
        (damaged(CMYK), "corrupt"),
        (CMYK, ""),
        (ODD_VERSION, ""),
        (damaged(ODD_VERSION), "corrupt"),
        (with_junk(PHOTO, b"\0"), ""),
        (with_junk(CMYK, b"junk!"), ""),
        (damaged(with_junk(PHOTO, b"junk!")), "corrupt"),
        (with_junk(PHOTO, b"junk!")[:-300], "truncated"),
        (with_junk(ODD_VERSION, BAD_PROFILE + b"junk!"), ""),
        (damaged(with_junk(PHOTO, BAD_PROFILE)), "corrupt"),
        (PHOTO[:-2] + bytes(9) + PHOTO[-2:] + PHOTO, ""),
        (PICTURE[:-1], "truncated"),
        (PICTURE[:-14], "truncated"),
        (PICTURE + bytes(1000), ""),
        (with_chunk(PICTURE, b"eXIf", b"junk"), ""),
        (with_chunk(PICTURE, b"zTXt", b"comment\0\0" + zlib.compress(bytes(2_000_000))), ""),
        (PICTURE[:20] + b"\xff" + PICTURE[21:], "corrupt"),
    ],
    ids=[
        "JPEG", "CMYK", "whole CMYK", "odd version", "damage behind an odd version", "a zero between headers",
        "junk in a CMYK", "damage behind junk", "truncated behind junk", "all at once",
        "damage behind a damaged profile", "padding and a second JPEG",
        "PNG without its last byte", "PNG without an end", "PNG with more behind it", "junk EXIF", "long comment",
        "PNG with a bad header",
    ],
)  # fmt: skip
def test_what_is_damage_and_what_is_not(data: bytes, reason: str) -> None:
    assert examine.examine(data, LIMIT).reason == reason
    if not reason:
        open_rgb(data)


def test_a_verdict_from_the_cache_changes_nothing(tmp_path: Path, own_cache: Path, prepare: Prepare) -> None:
    """Under a smaller limit an older verdict, of an image that was decoded, must not show."""
    write_drawings(tmp_path / "images", 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(drawing("circle", 93, 100)[:60])
    (tmp_path / "images" / "circle" / "turned.jpg").write_bytes(saved(turned, "JPEG", exif=exif))
    (tmp_path / "images" / "circle" / "short.png").write_bytes(encoded(drawing("circle", 94, 100))[:-200])
    cold = prepare(tmp_path / "images", {"max_pixels": 2000})
    prepare(tmp_path / "images")
    warm = prepare(tmp_path / "images", {"max_pixels": 2000})
    assert (cold.folder / "catalogue.csv").read_bytes() == (warm.folder / "catalogue.csv").read_bytes()
    assert warm.metrics["quarantined_for"] == {"too many pixels": 2}


def test_bad_data_can_fail_the_stage(tmp_path: Path, prepare: Prepare) -> None:
    write_drawings(tmp_path, 5)
    for i in range(4):
        (tmp_path / "circle" / f"empty{i}.png").write_bytes(b"")
    (tmp_path / "cross" / "text.png").write_bytes(b"text")
    out = tmp_path / "out"
    with pytest.raises(DataError) as caught:
        prepare(tmp_path, {"on_bad": "fail"}, out=out)
    assert str(caught.value) == (
        "data.on_bad: fail, and 5 files cannot be used: empty file (4), not an image (1). First: circle/empty0.png, "
        "circle/empty1.png, circle/empty2.png, circle/empty3.png, cross/text.png. Mend or remove them, or set "
        "data.on_bad: quarantine. quarantine.csv beside the catalogue lists all."
    )
    assert len(quarantine.read(out / "quarantine.csv")) == 5, "written before the stage fails"
    with pytest.raises(DataError) as caught:
        prepare(tmp_path, {"max_bad_fraction": 0.2})
    assert str(caught.value) == (
        "data.max_bad_fraction: at most 0.2 of the images may be set aside. Got 0.25 (5 of 20): empty file (4), "
        "not an image (1). First: circle/empty0.png, circle/empty1.png, circle/empty2.png and 2 more. Mend the data, "
        "or raise the fraction. quarantine.csv beside the catalogue lists all."
    )
    assert prepare(tmp_path, {"max_bad_fraction": 0.25}).metrics["used"] == 15


def test_missing_files_have_a_limit_of_their_own(tmp_path: Path, prepare: Prepare) -> None:
    """A list often names more than was fetched; nothing is wrong with the images that are there."""
    write_drawings(tmp_path, 9)
    (tmp_path / "circle" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "cross" / "empty.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        prepare(tmp_path, {"max_bad_fraction": 0.04, "max_missing_fraction": 0.03})
    assert str(caught.value).startswith(
        "data.max_missing_fraction: at most 0.03 of the files may be missing. Got 0.0345 (1 of 29): broken link (1). "
        "First: circle/gone.png."
    )
    with pytest.raises(DataError, match=r"data\.max_bad_fraction: at most 0\.03 .* Got 0\.0345 \(1 of 29\): empty"):
        prepare(tmp_path, {"max_bad_fraction": 0.03, "max_missing_fraction": 0.04})
    assert prepare(tmp_path, {"max_bad_fraction": 0.04, "max_missing_fraction": 0.04}).metrics["used"] == 27


def test_what_dvc_cannot_hash_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind was tried with DVC: it waits for ever at a pipe, and stops at the others, before a stage starts."""
    project = tmp_path / "project"
    root = project / "photos"
    (root / "cat").mkdir(parents=True)
    (root / "cat" / "one.jpg").write_bytes(b"x")
    (root / "loop").symlink_to(root)  # DVC follows no link to a directory
    assert hashable.faults(root, project) == []
    (root / "cat" / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(root / "cat" / "pipe")
    os.mkfifo(root / "Thumbs.db")
    (root / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(root)
        server.bind("socket")
    subprocess.run(["git", "init", "--quiet", str(project)], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], cwd=project, check=True)
    expected = {
        "Thumbs.db": "waits for ever: a pipe",
        "cat/gone.jpg": "stops: a link to nowhere.jpg (No such file or directory)",
        "cat/pipe": "waits for ever: a pipe",
        "socket": "stops: a socket",
        "'caf\\udce9.jpg'": "stops: the name is not UTF-8",
    }
    assert dict(hashable.faults(root, project)) == expected
    (project / ".dvcignore").write_text("Thumbs.db\npipe\n")
    left = dict(hashable.faults(root, project))
    assert set(expected) - set(left) == {"Thumbs.db", "cat/pipe"}
    assert dict(hashable.faults(root, tmp_path / "elsewhere")) == expected


def test_the_ten_commonest_reasons() -> None:
    items = [("p", "", 0, 0, 0, "a", "quarantined", f"reason {i:02d}", "") for i in range(12) for _ in range(20 - i)]
    table = pd.DataFrame(items, columns=list(catalogue.COLUMNS))
    with pytest.raises(DataError) as caught:
        quarantine.require_good(table, table.iloc[:0].assign(copies=0, conflict=""), data_params())
    assert "reason 00 (20), reason 01 (19)" in str(caught.value)
    assert "reason 09 (11)." in str(caught.value)
    assert "reason 10" not in str(caught.value)


def test_one_class_is_refused(tmp_path: Path, prepare: Prepare) -> None:
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "a.png").write_bytes(encoded(drawing("cross", 1)))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b.png").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"at least two classes. Got 1 images of \['only'\]; 1 files are not used: empty"
    ):
        prepare(tmp_path)


def test_a_class_without_a_usable_image(tmp_path: Path, prepare: Prepare) -> None:
    write_drawings(tmp_path, 3)
    (tmp_path / "square").mkdir()
    (tmp_path / "square" / "a.png").write_bytes(b"")
    assert "note: no usable image in: square; not a class" in prepare(tmp_path).said


def test_the_limit_of_pixels_may_change(tmp_path: Path, prepare: Prepare) -> None:
    """What was too large is decoded once the limit allows it, what was decoded is refused once it does not."""
    write_drawings(tmp_path, 3)
    (tmp_path / "circle" / "wide.png").write_bytes(encoded(np.tile(drawing("circle", 5), (1, 3, 1))))
    for limit, used in ((4799, 9), (4800, 10), (4799, 9)):
        found = prepare(tmp_path, {"max_pixels": limit})
        assert found.metrics["used"] == used
        assert found.metrics["quarantined_for"] == ({"too many pixels": 1} if used == 9 else {})


# verdicts are kept


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_an_unchanged_file_is_neither_read_nor_decoded_again(
    tmp_path: Path, own_cache: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "images"
    write_drawings(root, 4)
    (root / "circle" / "broken.png").write_bytes(b"broken")
    monkeypatch.setattr("graft.runtime.cache.SETTLED_SECONDS", -1.0)
    first = prepare(root)
    read: list[str] = []
    original = Directory.read

    def counted(self: Directory, path: str) -> bytes:
        read.append(path)
        return original(self, path)

    monkeypatch.setattr(Directory, "read", counted)
    monkeypatch.setattr(looking, "look", lambda *args: pytest.fail("decoded again"))
    second = prepare(root, out=tmp_path / "again")
    assert read == []
    assert "13 images have not changed since they were examined: not read again" in second.said
    for name in ("catalogue.csv", "split.csv", "quarantine.csv", "duplicates.csv", "counts.json"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()
    # Another place, the same content: read and hashed, not decoded.
    moved = shutil.copytree(root, tmp_path / "moved")
    assert prepare(moved).metrics == first.metrics
    assert len(read) == 13
    # One new image: one is decoded.
    monkeypatch.undo()
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(own_cache))
    decoded: list[bytes] = []
    look = examine.look
    monkeypatch.setattr(looking, "look", lambda data, limit: decoded.append(data) or look(data, limit))
    (moved / "cross" / "new.png").write_bytes(encoded(drawing("cross", 99)))
    assert prepare(moved).metrics["used"] == first.metrics["used"] + 1
    assert len(decoded) == 1


def test_a_file_changed_in_place_is_examined_again(
    tmp_path: Path, own_cache: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same name, same size, same modification time; only what the file system itself notes differs."""
    root = tmp_path / "images"
    write_drawings(root, 3)
    monkeypatch.setattr("graft.runtime.cache.SETTLED_SECONDS", -1.0)
    before = prepare(root)
    file = root / "circle" / "000.png"
    content, status = file.read_bytes(), file.stat()
    file.write_bytes(bytes(len(content)))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert before.metrics["used"] == 9
    assert list(prepare(root).aside) == ["circle/000.png"]


def test_a_file_written_just_now_is_not_trusted(tmp_path: Path) -> None:
    from graft.runtime.cache import file_stamp

    (tmp_path / "a").write_bytes(b"a")
    assert file_stamp(str(tmp_path / "a")) is None
    assert file_stamp(str(tmp_path / "missing")) is None
    assert file_stamp(sys.executable) is not None


def test_a_cache_that_cannot_be_used_costs_only_time(tmp_path: Path, own_cache: Path, prepare: Prepare) -> None:
    root = tmp_path / "images"
    write_drawings(root, 3)
    (own_cache / "verdicts").mkdir(parents=True)
    (own_cache / "verdicts" / "data.mdb").write_bytes(b"not a database" * 1000)
    found = prepare(root)
    assert "note: graft's cache cannot be used" in found.said
    assert found.metrics["used"] == 9


def test_without_a_place_for_the_cache(tmp_path: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / "file"))
    write_drawings(tmp_path / "images", 3)
    found = prepare(tmp_path / "images")
    assert f"GRAFT_CACHE_DIR: must be a folder that can be written. Got '{tmp_path}/file'" in found.said
    assert found.metrics["used"] == 9


def test_a_cache_cut_short_is_made_anew(tmp_path: Path, own_cache: Path) -> None:
    """Reading beyond its end would kill the process."""
    script = (
        "from graft.examples.checks.verdict_cache import VerdictCache\n"
        "from graft.examining.image.examine import Verdict\n"
        "keep = [(None, f'{i:064x}', i, Verdict(1, 1, 'PNG')) for i in range(3000)]\n"
        "VerdictCache().keep(keep)\n"
        "found = VerdictCache().by_content([f'{i:064x}' for i in range(3000)], 1)\n"
        "print(sum(one is not None for one in found))\n"
    )
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "3000\n"
    file = own_cache / "verdicts" / "data.mdb"
    os.truncate(file, file.stat().st_size // 2)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "data.mdb was cut short; made anew" in done.stderr
    assert done.stdout == "3000\n"


def test_a_damaged_verdict_is_none(own_cache: Path) -> None:
    store = verdict_cache.VerdictCache()
    key = verdict_cache._verdict_key("a" * 64)
    for value in (b"{", b"[]", b'{"width": 3}', b"\xff"):
        store._database.put([(key, value)])
        assert store.by_content(["a" * 64], LIMIT) == [None]


def test_verdicts_survive_a_kill_and_are_shared_by_processes(tmp_path: Path, own_cache: Path) -> None:
    """One process keeps verdicts until it is killed, while another one writes too; what was kept is whole."""
    script = (
        "import os, sys\n"
        "from graft.examples.checks.verdict_cache import VerdictCache\n"
        "from graft.examining.image.examine import Verdict\n"
        "store = VerdictCache()\n"
        "for i in range(10**9):\n"
        "    store.keep([(f'{sys.argv[1]} {i}', f'{i:064x}', i, Verdict(i + 1, 1, 'PNG'))])\n"
        "    if i == 300:\n"
        "        print('going on', flush=True)\n"
    )
    others = [
        subprocess.Popen([sys.executable, "-c", script, name], stdout=subprocess.PIPE, text=True) for name in "ab"
    ]
    for other in others:
        assert other.stdout is not None
        assert other.stdout.readline() == "going on\n"
    for other in others:
        other.kill()
        other.wait()
        assert other.stdout is not None
        other.stdout.close()
    store = verdict_cache.VerdictCache()
    for name in "ab":
        known = store.unchanged([f"{name} {i}" for i in range(300)], LIMIT)
        assert [(entry[1], entry[2].width) for entry in known if entry] == [(i, i + 1) for i in range(300)]


def test_processes_and_threads_say_the_same(
    tmp_path: Path, own_cache: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "images"
    write_drawings(root, 8)
    (root / "circle" / "broken.png").write_bytes(b"broken")
    with_threads = prepare(root)
    monkeypatch.setattr(local, "PROCESSES_FROM", 0)
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / "other"))
    with_processes = prepare(root)
    pd.testing.assert_frame_equal(with_threads.catalogue, with_processes.catalogue)
    assert with_threads.metrics == with_processes.metrics
