"""Every source lists every file, and reads what it lists."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
import time
import unicodedata
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from conftest import CLASSES, NO_TEXT, PreparedData, data_params, drawing, encoded, write_drawings
from graft.cli import cache as cache_commands
from graft.errors import DataError, StaleError
from graft.examples import catalogue
from graft.examples.sources import SOURCES, keras_datasets, packed, tree
from graft.examples.sources.base import QUARANTINED, Item, Problem
from graft.inputs.image.decode import open_rgb
from graft.runtime.room import Room

Prepare = Callable[..., PreparedData]
ORDER = list(range(10)) * 4
"""Class numbers of the small stand-ins for the data sets of keras.datasets."""


def scan(root: Path, changes: dict[str, Any] | None = None, source: str = "folder") -> list[Item]:
    return list(SOURCES[source].scan(data_params({"source": source, "path": str(root), **(changes or {})})))


def keras_files(home: Path) -> None:
    """The files that Keras would download, with 40 random images each for train and test."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (40, 28, 28), np.uint8)
    datasets = home / "datasets"
    (datasets / "fashion-mnist").mkdir(parents=True)
    labels = np.array(ORDER, np.uint8)
    np.savez(datasets / "mnist.npz", x_train=grey, y_train=labels, x_test=grey[::-1], y_test=labels[::-1])
    for part, pixels in (("train", grey), ("t10k", grey[::-1])):
        (datasets / "fashion-mnist" / f"{part}-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(bytes(8) + labels.tobytes())
        )
        (datasets / "fashion-mnist" / f"{part}-images-idx3-ubyte.gz").write_bytes(
            gzip.compress(bytes(16) + pixels.tobytes())
        )
    with tarfile.open(datasets / "cifar-100-python-target_archive", "w:gz") as tar:
        for part in ("train", "test"):
            batch = {
                "data": rng.integers(0, 256, (40, 3072), np.uint8),
                "fine_labels": [10 * i for i in ORDER],
                "coarse_labels": ORDER,
            }
            content = pickle.dumps({key.encode(): value for key, value in batch.items()})
            info = tarfile.TarInfo(f"cifar-100-python/{part}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A KERAS_HOME with small stand-ins; Keras's own loading code reads them, only their hashes are not checked."""
    from keras.src.backend import config
    from keras.src.utils import file_utils

    home = tmp_path / "keras"
    keras_files(home)
    monkeypatch.setenv("KERAS_HOME", str(home))
    monkeypatch.setattr(config, "_KERAS_DIR", str(home))
    monkeypatch.setattr(file_utils, "validate_file", lambda *args, **kwargs: True)
    monkeypatch.setattr(keras_datasets, "start_tensorflow", lambda: None)  # which may have computed in this process
    keras_datasets._parts.cache_clear()
    return home


@pytest.fixture
def small_cifar10(keras_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras insists on 50,000 images here."""
    import keras

    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
    labels = np.array(ORDER, np.uint8)[:, None]
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda: ((pixels, labels), (pixels[::-1], labels[::-1])))


def root_for(name: str, tmp_path: Path, images: Path) -> Path:
    if name == "manifest":
        root = shutil.copytree(images, tmp_path / "listed")
        rows = [(f.relative_to(root).as_posix(), f.parent.name) for f in sorted(root.rglob("*.png"))]
        pd.DataFrame(rows, columns=["path", "label"]).to_csv(root / "images.csv", index=False)
        return root
    (tmp_path / "notes").mkdir()
    return images if name == "folder" else tmp_path / "notes"


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_reads_what_it_lists(name: str, tmp_path: Path, images: Path, small_cifar10: None) -> None:
    root = root_for(name, tmp_path, images)
    items = scan(root, source=name)
    reader = SOURCES[name].open(root)
    wanted = [item for item in items if item.problem is None]
    assert len(wanted) >= 60
    assert len({item.path for item in items}) == len(items)
    assert len({item.label for item in wanted}) in (3, 10)
    for item in wanted[::7]:
        assert open_rgb(reader.read(item.path)).size[0] in (8, 28, 32, 40)
    assert items == scan(root, source=name)


def test_digits_are_the_ones_of_scikit_learn(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    items = scan(tmp_path, source="digits")
    assert len(items) == 1797
    assert {item.label for item in items} == {str(digit) for digit in range(10)}
    pixels = np.asarray(open_rgb(SOURCES["digits"].open(tmp_path).read("0123.pgm")))[..., 0]
    assert np.array_equal(np.round(pixels / 255 * 16), load_digits().images[123])
    assert pixels.max() == 255


# keras.datasets


def test_keras_data_sets_have_their_names_and_official_parts(tmp_path: Path, keras_home: Path) -> None:
    import keras

    (x_train, _), (x_test, y_test) = keras.datasets.fashion_mnist.load_data()
    items = scan(tmp_path, source="fashion_mnist")
    assert [item.split for item in items] == ["train"] * 40 + ["test"] * 40
    assert items[9].label == "Ankle boot"
    assert items[40].label == keras_datasets.CLASSES["fashion_mnist"][y_test[0]]
    reader = SOURCES["fashion_mnist"].open(tmp_path)
    assert np.array_equal(np.asarray(open_rgb(reader.read(items[3].path)))[..., 0], x_train[3])
    assert np.array_equal(np.asarray(open_rgb(reader.read(items[43].path)))[..., 0], x_test[3])
    hundred = scan(tmp_path, source="cifar100")
    assert [item.label for item in hundred[:4]] == ["apple", "bowl", "chair", "dolphin"]
    colours = np.asarray(open_rgb(SOURCES["cifar100"].open(tmp_path).read(hundred[0].path)))
    assert np.array_equal(colours, keras.datasets.cifar100.load_data()[0][0][0])
    assert {name: len(set(names)) for name, names in keras_datasets.CLASSES.items()} == {
        "mnist": 10, "fashion_mnist": 10, "cifar10": 10, "cifar100": 100,
    }  # fmt: skip


def test_a_data_set_is_downloaded_once(tmp_path: Path, keras_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from keras.src.utils import file_utils

    file = keras_home / "datasets" / "mnist.npz"
    kept = file.rename(tmp_path / "elsewhere.npz")
    asked = []

    def urlretrieve(origin: str, target: str, hook: object) -> None:
        asked.append(origin.rsplit("/", 1)[1])
        shutil.copy(kept, target)

    monkeypatch.setattr(file_utils, "urlretrieve", urlretrieve)
    for _ in range(2):
        assert len(scan(tmp_path, source="mnist")) == 80
        keras_datasets._parts.cache_clear()
    assert asked == ["mnist.npz"]


def test_a_failed_download_says_what_to_do(tmp_path: Path, keras_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.error import URLError

    from keras.src.utils import file_utils

    def urlretrieve(*args: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(file_utils, "urlretrieve", urlretrieve)
    (keras_home / "datasets" / "mnist.npz").unlink()
    with pytest.raises(DataError) as caught:
        scan(tmp_path, source="mnist")
    message = str(caught.value)
    assert message.startswith(f"data.source: mnist must be in {keras_home}/datasets, where Keras puts it, or be down")
    assert "no network. Connect to the network once, or copy the file there" in message


def test_a_data_set_wants_a_directory_for_its_notes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must be a directory for data.source: cifar10 .*set data.path: data/keras"):
        scan(tmp_path / "none", source="cifar10")


# folder


def test_folder_accounts_for_every_file(tmp_path: Path, prepare: Prepare) -> None:
    write_drawings(tmp_path, 3)
    extra = encoded(drawing("circle", 9))
    (tmp_path / "circle" / "deeper").mkdir()
    (tmp_path / "circle" / "deeper" / "x.JPG").write_bytes(encoded(drawing("circle", 10), "JPEG"))
    (tmp_path / "circle" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "circle" / "notes.txt").write_text("x")
    (tmp_path / "circle" / "scan.heic").write_bytes(b"II*")
    (tmp_path / "loose.png").write_bytes(extra)
    (tmp_path / ".git" / "objects").mkdir(parents=True)
    (tmp_path / ".git" / "objects" / "x.png").write_bytes(extra)
    (tmp_path / "square").symlink_to(tmp_path / "circle", target_is_directory=True)
    (tmp_path / "circle" / "wide\u3000space, né.png").write_bytes(extra)
    (tmp_path / "circle" / "odd\nname.png").write_bytes(extra)
    Path(os.fsdecode(bytes(tmp_path / "circle" / "caf") + b"\xe9.png")).write_bytes(extra)
    found = prepare(tmp_path)
    ignored = found.catalogue[found.catalogue["state"] == "ignored"]
    assert dict(zip(ignored["path"], ignored["reason"], strict=True)) == {
        ".git": "hidden directory",
        "circle/.DS_Store": "hidden file",
        "circle/notes.txt": "not the name of an image file",
    }
    names = ("unusable name", "control characters, or bytes that are not UTF-8")
    assert found.aside == {
        "'circle/odd\\nname.png'": names,
        "'circle/caf\\udce9.png'": names,
        "circle/scan.heic": ("format not read", ".heic; convert it to PNG or JPEG"),
        "loose.png": ("no label", "not in a class directory"),
        "square": ("link to a directory", "DVC does not see what changes below it; copy it here"),
    }
    used = found.catalogue[found.catalogue["state"] == "used"].set_index("path")
    assert len(used) == 11
    assert used.loc["circle/deeper/x.JPG", "label"] == "circle"
    assert used.loc["circle/wide\u3000space, né.png", "label"] == "circle"
    assert (
        "3 other files ignored: hidden directory (1), hidden file (1), not the name of an image file (1)"
    ) in found.said


def test_what_was_never_an_image_counts_for_nothing(tmp_path: Path, prepare: Prepare) -> None:
    """Whatever else is wrong with it: links to nowhere, pipes, control characters in the name."""
    write_drawings(tmp_path, 3)
    folder = tmp_path / "circle"
    (folder / "Icon\r").write_text("x")
    (folder / "notes.txt").symlink_to("/nowhere/notes.txt")
    (folder / "README").symlink_to("/etc/hostname")
    os.mkfifo(folder / "queue")
    for name in ("@eaDir", "__MACOSX", "lost+found"):
        (folder / name).mkdir()
        (folder / name / "copy.png").write_bytes(encoded(drawing("circle", 9)))
    found = prepare(tmp_path, {"max_bad_fraction": 0.0})
    assert found.aside == {}
    ignored = found.catalogue[found.catalogue["state"] == "ignored"]
    assert len(ignored) == 7
    assert (found.metrics["used"], found.metrics["quarantined"]) == (9, 0)


@pytest.mark.parametrize(
    ("depth", "labels"),
    [
        (1, {"fruit", "tool"}),
        (2, {"fruit/apple", "fruit/pear", "tool/saw"}),
        (None, {"fruit/apple/golden", "fruit/apple/red", "fruit/pear", "tool/saw"}),
    ],
)
def test_nested_classes(tmp_path: Path, depth: int | None, labels: set[str]) -> None:
    for k, folder in enumerate(("fruit/apple/golden", "fruit/apple/red", "fruit/pear", "tool/saw")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.png").write_bytes(encoded(drawing("circle", k)))
    (tmp_path / "fruit" / "shallow.png").write_bytes(encoded(drawing("circle", 9)))
    items = scan(tmp_path, {"folder.class_depth": depth})
    assert {item.label for item in items if item.problem is None} == labels | ({"fruit"} if depth != 2 else set())
    shallow = next(item for item in items if item.path == "fruit/shallow.png")
    if depth == 2:
        assert shallow.problem is not None
        assert shallow.problem.reason == "no label"
        assert shallow.problem.detail == "fewer than 2 directories above it"


@pytest.mark.parametrize(
    ("pattern", "labels"),
    [
        ("{label}.*.jpg", {"cat.0.jpg": "cat", "sub/dog.12.JPG": "dog"}),
        ("{label}_*.jpg", {"great_pyrenees_12.jpg": "great_pyrenees", "a_b.jpg": "a"}),
        (r"(?P<label>[A-Z])\d+\.png", {"A10.png": "A", "sub/B2.png": "B"}),
        ("*/{label}-?.png", {"sub/x-1.png": "x"}),
    ],
)
def test_labels_in_the_names_of_files(tmp_path: Path, pattern: str, labels: dict[str, str]) -> None:
    (tmp_path / "sub").mkdir()
    names = ("cat.0.jpg", "sub/dog.12.JPG", "great_pyrenees_12.jpg", "a_b.jpg", "A10.png", "sub/B2.png", "sub/x-1.png")
    for name in (*names, "x-1.png"):
        (tmp_path / name).touch()
    items = scan(tmp_path, {"folder.label": pattern})
    assert {item.path: item.label for item in items if item.problem is None} == labels
    assert {item.problem.reason for item in items if item.problem} == {"no label"}
    assert len(items) == 8
    with pytest.raises(DataError, match=r"data\.folder\.label: must be like names of images\. None of 8 is like"):
        scan(tmp_path, {"folder.label": "{label}-*.bmp"})


def test_labels_in_names_below_an_official_split(tmp_path: Path) -> None:
    for part in ("train", "val"):
        (tmp_path / part).mkdir()
        for name in ("cat.0.png", "dog.1.png", "stray.png"):
            (tmp_path / part / name).touch()
    items = scan(tmp_path, {"folder.label": "{label}.*.png"})
    assert [(item.split, item.label) for item in items if item.problem is None] == [
        ("train", "cat"), ("train", "dog"), ("validation", "cat"), ("validation", "dog"),
    ]  # fmt: skip
    assert {item.problem.detail for item in items if item.problem} == {"its name is not like {label}.*.png"}


@pytest.mark.parametrize("validation", ["validation", "val"])
def test_an_official_split_is_used_as_it_is(tmp_path: Path, validation: str, prepare: Prepare) -> None:
    for i, name in enumerate(("train", validation, "test")):
        write_drawings(tmp_path / name, 3 + i, first_seed=100 * i)
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "x.png").write_bytes(encoded(drawing("circle", 999)))
    found = prepare(tmp_path)
    assert all(side == path.split("/")[0].replace("validation", "val").replace("val", "validation")
               for path, side in found.sides.items())  # fmt: skip
    assert found.metrics["split"] == {"train": 9, "validation": 12, "test": 15, "unused": 0}
    assert found.aside == {"extra/x.png": ("no label", "outside train, validation and test")}


@pytest.mark.parametrize(
    ("directories", "message"),
    [
        (("test", "validation"), "has test, validation but no train directory"),
        (("train", "val", "validation"), "has both val and validation"),
        (("Train", "Test"), "has Test, Train, which look like parts of a split"),
        (("train", "testing"), "has testing, which look like parts of a split"),
        ((), r"must hold directories of jpg, .*images, one per class. Found none in .*, but: no file at all"),
    ],
)
def test_folders_that_are_refused(tmp_path: Path, directories: tuple[str, ...], message: str) -> None:
    for name in directories:
        write_drawings(tmp_path / name, 1)
    with pytest.raises(DataError, match=message):
        scan(tmp_path)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.path: '.*/none' does not exist, seen from"):
        scan(tmp_path / "none")
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(
        DataError, match=r"must be a directory or a whole archive .*text\.zip is neither, or is damaged"
    ):
        scan(tmp_path / "text.zip")


def test_many_files_in_one_directory(tmp_path: Path) -> None:
    """Listing is linear and reads nothing; 100,000 real images are in benchmarks/."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = tmp_path / "a" / "000000.png"
    first.write_bytes(b"")
    for i in range(1, 20_000):
        os.link(first, tmp_path / "a" / f"{i:06d}.png")
    items = scan(tmp_path)
    assert [items[0].path, items[-1].path, len(items)] == ["a/000000.png", "a/019999.png", 20_000]


# archives


def archived(folder: Path, path: Path) -> Path:
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
            for file in sorted(folder.rglob("*")):
                out.write(file, file.relative_to(folder.parent))
    else:
        with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as tar:
            tar.add(folder, folder.name)
    return path


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
@pytest.mark.parametrize("source", ["folder", "mnist"])
def test_an_archive_is_read_without_unpacking(tmp_path: Path, source: str, suffix: str, prepare: Prepare) -> None:
    for name in ("train", "test"):
        write_drawings(tmp_path / "set" / name, 4, first_seed=50 * len(name))
    plain = prepare(tmp_path / "set", source=source)
    (tmp_path / "packed").mkdir()
    path = archived(tmp_path / "set", tmp_path / "packed" / f"set{suffix}")
    packed = prepare(path, source=source)
    assert sorted(packed.catalogue["path"]) == sorted(plain.catalogue["path"])
    assert (tmp_path / "packed").iterdir().__next__() == path, "nothing is unpacked beside it"
    for name in ("split", "catalogue"):
        pd.testing.assert_frame_equal(
            getattr(packed, name).sort_values("path", ignore_index=True),
            getattr(plain, name).sort_values("path", ignore_index=True),
        )


def test_an_archive_with_hostile_members(tmp_path: Path, prepare: Prepare) -> None:
    write_drawings(tmp_path / "set", 3)
    path = archived(tmp_path / "set", tmp_path / "set.tar")
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("set/circle/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        pipe = tarfile.TarInfo("set/circle/pipe.png")
        pipe.type = tarfile.FIFOTYPE
        tar.addfile(pipe)
        out = tarfile.TarInfo("set/../../out.png")
        content = encoded(drawing("circle", 77))
        out.size = len(content)
        tar.addfile(out, io.BytesIO(content))
    found = prepare(path)
    assert found.aside == {
        "circle/link.png": ("link in an archive", "add the file itself"),
        "circle/pipe.png": ("not a regular file", "a pipe, socket or device"),
        "../../out.png": ("unusable name", "leaves the archive"),
    }
    assert found.metrics["used"] == 9
    assert not (tmp_path.parent / "out.png").exists()


def test_a_tar_that_claims_a_terabyte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sparse member of a small file; and many that are each within the limit."""
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / "cache"))
    write_drawings(tmp_path / "images", 2)
    (tmp_path / "images" / "circle" / "notes.bin").write_bytes(bytes(10**6))
    for name, size in (("huge.png", 2**40), ("large.png", 2**20)):
        (tmp_path / "images" / "circle" / name).touch()
        os.truncate(tmp_path / "images" / "circle" / name, size)
    command = ["tar", "--sparse", "-cf", str(tmp_path / "images.tar"), "-C", str(tmp_path / "images"), "."]
    subprocess.run(command, check=True)
    problems = {item.path: item.problem for item in scan(tmp_path / "images.tar")}
    assert problems["circle/huge.png"] == Problem(QUARANTINED, "too large", "more than 512 MB unpacked")
    assert problems["circle/large.png"] is None
    (copy,) = (tmp_path / "cache" / "archives").iterdir()
    assert copy.stat().st_size < 2**21
    monkeypatch.setattr(packed, "LEAST_LIMIT", 2**19)
    monkeypatch.setattr(packed, "MOST_RATIO", 1)
    copy.unlink()
    with pytest.raises(DataError, match=r"must be an archive of images. Its members take more than 0\.\d GB unpacked"):
        scan(tmp_path / "images.tar")
    assert CliRunner().invoke(cache_commands.app, ["prune", "--max-gb", "0"]).exit_code == 0


def test_a_zip_that_becomes_large_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MOST_BYTES", 2**20)
    with zipfile.ZipFile(tmp_path / "images.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("a/bomb.png", bytes(2**21))
        out.writestr("b/fine.png", encoded(drawing("circle", 1)))
    problems = {item.path: item.problem and item.problem.reason for item in scan(tmp_path / "images.zip")}
    assert problems == {"a/bomb.png": "too large", "b/fine.png": None}


PEAK = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from graft.examples.sources import tree
from graft.runtime.room import Room

tree.UNPACKING, tree.LARGE_BYTES = Room(2**24), 2**22

def size(archive, path):
    try:
        return str(len(archive.read(path)))
    except OSError as error:
        return error.strerror[:40]

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10

for path in sys.argv[1:]:
    archive, before = tree.open_tree(Path(path)), peak()
    with ThreadPoolExecutor(8) as pool:
        (found,) = set(pool.map(lambda entry: size(archive, entry.path), archive.entries()))
    print(peak() - before, archive.cheap_to_open, found)
"""


def test_what_is_unpacked_at_once_has_a_limit(tmp_path: Path) -> None:
    """Bombs; headers that say less; and eight threads on members of 8 MB, of which two have room."""
    for name, method in (("bombs", zipfile.ZIP_BZIP2), ("honest", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(tmp_path / name, "w", method) as out:
            for i in range(8):
                out.writestr(f"a/{i}.png", bytes(2**23))
    content = (tmp_path / "honest").read_bytes()
    (tmp_path / "lies").write_bytes(content.replace(struct.pack("<I", 2**23), struct.pack("<I", 1000)))
    command = [sys.executable, "-c", PEAK, *(tmp_path / name for name in ("lies", "bombs", "honest"))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lies, bombs, honest = (line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert bombs[1] == "False packed by another method than deflate; p"
    assert lies[1] == "True damaged in the archive: Bad CRC-32 for f"
    assert honest[1] == f"False {2**23}"
    assert int(bombs[0]) < 8
    assert int(lies[0]) < 8
    assert int(honest[0]) < 40


def test_room_is_shared_by_threads() -> None:
    """What does not fit waits; what would never fit has it alone."""
    room, inside, most = Room(10), [0], [0]

    def work(n_bytes: int) -> None:
        with room.taken(n_bytes):
            inside[0] += n_bytes
            most[0] = max(most[0], inside[0])
            time.sleep(0.001)
            inside[0] -= n_bytes

    for sizes, expected in (([4] * 30, 8), ([4, 25] * 10, 25)):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, sizes))
        assert (inside[0], most[0]) == (0, expected)


def test_a_damaged_archive(tmp_path: Path, prepare: Prepare) -> None:
    write_drawings(tmp_path / "set", 3)
    packed = archived(tmp_path / "set", tmp_path / "set.tar.gz")
    packed.write_bytes(packed.read_bytes()[:-400])
    with pytest.raises(DataError, match=r"set\.tar\.gz must be a whole archive. Got: .*Fetch it again"):
        scan(packed)
    zipped = archived(tmp_path / "set", tmp_path / "set.zip")
    content = bytearray(zipped.read_bytes())
    with zipfile.ZipFile(zipped) as members:
        start = members.getinfo("set/circle/000.png").header_offset + 60
    content[start : start + 20] = bytes(20)
    zipped.write_bytes(content)
    found = prepare(zipped)
    assert list(found.aside) == ["circle/000.png"]
    assert found.aside["circle/000.png"][0] == "cannot be read"
    assert found.metrics["used"] == 8


@pytest.mark.parametrize("kind", ["header", "between members", "checksum", "two archives"])
def test_a_tar_that_is_not_whole_is_refused(tmp_path: Path, kind: str) -> None:
    """tarfile ends without a word at a bad header, and does not read a checksum that stands after its own end."""
    write_drawings(tmp_path / "set", 3)
    path = archived(tmp_path / "set", tmp_path / ("set.tar.gz" if kind == "checksum" else "set.tar"))
    content = bytearray(path.read_bytes())
    if kind == "checksum":
        content[-6] ^= 0xFF
    elif kind == "two archives":
        content = content + content
    else:
        with tarfile.open(path) as tar:
            offset = tar.getmember("set/cross/001.png").offset
        if kind == "header":
            content[offset + 20] ^= 0xFF
        else:
            del content[offset:]
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"data\.path: .*set\.tar.* must be a whole archive\. Got: "):
        scan(path)


def test_members_that_cannot_be_read_lose_no_others(tmp_path: Path, prepare: Prepare) -> None:
    """Hard links to nothing, names in another encoding, a member twice: each accounted for."""
    write_drawings(tmp_path / "set", 3)
    path = archived(tmp_path / "set", tmp_path / "set.tar")
    content = encoded(drawing("circle", 78))
    with tarfile.open(path, "a", encoding="latin-1") as tar:
        link = tarfile.TarInfo("set/circle/hard.png")
        link.type, link.linkname = tarfile.LNKTYPE, "set/circle/nowhere.png"
        tar.addfile(link)
        for name in ("set/circle/caf\xe9.png", "set/circle/twice.png", "set/circle/twice.png"):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
            content = encoded(drawing("circle", 79))
    found = prepare(path)
    assert found.aside == {"circle/hard.png": ("link in an archive", "add the file itself")}
    assert found.metrics["used"] == 11
    overridden = found.catalogue[found.catalogue["reason"] == "overridden by a later member of the same name"]
    assert overridden["path"].tolist() == ["(earlier member 1)"]
    assert found.metrics["found"] == 13


@pytest.mark.parametrize("kind", ["cut short", "a byte of an image", "another archive", "a link", "a pipe"])
def test_a_copy_of_a_tar_that_is_not_its_copy_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """With the rights that the umask leaves; what a link leads to stays as it is."""
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("graft.runtime.cache.SETTLED_SECONDS", -1.0)
    write_drawings(tmp_path / "set", 3)
    path = archived(tmp_path / "set", tmp_path / "set.tar")
    before = os.umask(0o002)
    try:
        tree.open_tree(path)
    finally:
        os.umask(before)
    (copy,) = (tmp_path / "cache" / "archives").iterdir()
    whole = copy.read_bytes()
    assert copy.stat().st_mode & 0o777 == 0o664
    assert tree.open_tree(path).read("circle/000.png") == (tmp_path / "set" / "circle" / "000.png").read_bytes()
    assert capsys.readouterr().err.count("copying into") == 1
    if kind == "cut short":
        copy.write_bytes(whole[:2000])
    elif kind == "a byte of an image":
        copy.write_bytes(whole[:90] + bytes([whole[90] ^ 1]) + whole[91:])
    elif kind == "another archive":
        archived(tmp_path / "set" / "circle", tmp_path / "other.zip").replace(copy)
    elif kind == "a link":
        copy.rename(tmp_path / "moved.zip")
        copy.symlink_to(tmp_path / "moved.zip")
    else:
        copy.unlink()
        os.mkfifo(copy)
    tree.open_tree(path)
    assert f"note: {copy} is damaged, or no file of graft's; not used" in capsys.readouterr().err
    assert not copy.is_symlink()
    assert copy.read_bytes() == whole
    tree.open_tree(path)
    assert capsys.readouterr().err == ""


def test_a_cache_that_takes_no_copy_of_a_tar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "archives").symlink_to(tmp_path)
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / "cache"))
    write_drawings(tmp_path / "set", 3)
    with pytest.raises(DataError, match=r"cache/archives: must be a folder of graft's cache\. Got a link\. Remove it"):
        scan(archived(tmp_path / "set", tmp_path / "set.tar"))
    monkeypatch.setenv("GRAFT_CACHE_DIR", "/proc/none")
    with pytest.raises(DataError, match=r"GRAFT_CACHE_DIR: must be a folder that can be written\. Got '/proc/none'"):
        scan(tmp_path / "set.tar")


def test_a_file_that_no_image_can_be_is_not_read(tmp_path: Path, prepare: Prepare) -> None:
    write_drawings(tmp_path / "set", 3)
    with (tmp_path / "set" / "circle" / "sparse.png").open("wb") as file:
        file.truncate(300 * 10**9)
    detail = f"{300 * 10**9} bytes, more than an image of data.max_pixels has"
    assert prepare(tmp_path / "set").aside == {"circle/sparse.png": ("cannot be read", detail)}


def test_deep_directories_and_a_class_called_train(tmp_path: Path, prepare: Prepare) -> None:
    write_drawings(tmp_path, 3)
    (tmp_path / "circle").rename(tmp_path / "train")
    deep = tmp_path / "cross"
    for _ in range(300):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "x.png").write_bytes(encoded(drawing("cross", 55)))
    found = prepare(tmp_path)
    assert found.split["label"].value_counts().to_dict() == {"cross": 4, "train": 3, "stripes": 3}


def test_what_was_found_instead_of_images(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.heic").write_bytes(b"II*")
    (tmp_path / "a" / "y.txt").write_bytes(b"")
    with pytest.raises(DataError, match=r"but: format not read \(1\), not the name of an image file \(1\)\."):
        scan(tmp_path)


# manifest


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """photos/<id>.png, 8 for each of CLASSES, and nothing in the names that tells the class."""
    root = tmp_path / "shop"
    (root / "photos").mkdir(parents=True)
    for i in range(24):
        (root / "photos" / f"{i:02d}.png").write_bytes(encoded(drawing(CLASSES[i % 3], i)))
    return root


def manifest_rows() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image id": [f"{i:02d}" for i in range(24)],
            "article": [CLASSES[i % 3] for i in range(24)],
            "part": ["train"] * 12 + ["val"] * 6 + ["test"] * 6,
            "shopper": [f"s{i // 4}" for i in range(24)],
            "trust": [1.0 + (i % 2) for i in range(24)],
        }
    )


MANIFEST = {
    "manifest.root": "photos",
    "manifest.suffix": ".png",
    "manifest.columns": {
        **NO_TEXT,
        "path": "image id",
        "label": "article",
        "split": "part",
        "group": None,
        "weight": "trust",
    },
}


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_a_manifest_of_any_kind(listed: Path, kind: str, prepare: Prepare) -> None:
    rows = manifest_rows()
    file = listed / f"catalogue.{kind}"
    if kind == "parquet":
        rows.to_parquet(file)
    else:
        rows.to_csv(file, index=False, sep="," if kind == "csv" else "\t")
    found = prepare(listed, {**MANIFEST, "manifest.file": file.name}, source="manifest")
    assert found.metrics["split"] == {"train": 12, "validation": 6, "test": 6, "unused": 0}
    assert found.sides["photos/13.png"] == "validation"
    assert dict(zip(found.split["path"], found.split["label"], strict=True))["photos/04.png"] == "cross"
    assert found.split["weight"].astype(float).tolist() == rows["trust"].tolist()


def test_a_manifest_of_another_system(tmp_path: Path, prepare: Prepare) -> None:
    """Absolute paths below data.path; names that a Mac wrote decomposed, and the table composed."""
    rows = ["path,label"]
    for i in range(6):
        name = f"caf\u00e9{i}.png"
        (tmp_path / unicodedata.normalize("NFD", name)).write_bytes(encoded(drawing("circle", i)))
        path = tmp_path / name if i % 2 else name
        rows.append(f"{path},c{i % 3}")
    (tmp_path / "images.csv").write_text("\n".join(rows), encoding="utf-8")
    found = prepare(tmp_path, source="manifest")
    assert (found.aside, found.metrics["used"]) == ({}, 6)
    used = found.catalogue[found.catalogue["state"] == "used"]
    assert list(used["path"]) == [unicodedata.normalize("NFD", f"caf\u00e9{i}.png") for i in range(6)]


def test_split_lists(listed: Path, prepare: Prepare) -> None:
    for name, start, stop, form in (("train", 0, 12, "{}, {}"), ("val", 12, 18, "{},{}"), ("test", 18, 24, "{} {}")):
        lines = [form.format(f"photos/{i:02d}.png", CLASSES[i % 3]) for i in range(start, stop)]
        (listed / f"{name}.txt").write_text("# path, label\n" + "\n".join(lines) + "\n\n")
    lists = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}
    changes = {"manifest.file": None, "manifest.lists": lists, "manifest.columns.path": 0, "manifest.columns.label": 1}
    found = prepare(listed, changes, source="manifest")
    assert found.metrics["split"] == {"train": 12, "validation": 6, "test": 6, "unused": 0}
    assert found.metrics["found"] == 24
    # as some editors save it
    for text in ("\ufeffphotos/12.png, circle\n", "\ufeff\n# nothing\nphotos/12.png circle\n"):
        (listed / "val.txt").write_text(text)
        items = scan(listed, changes, "manifest")
        assert [item.path for item in items if item.split == "validation"] == ["photos/12.png"]
    (listed / "val.txt").write_bytes(b"photos/caf\xe9.png, circle\n")
    with pytest.raises(DataError, match=r"val\.txt must be UTF-8 text\. Got: 'utf-8' codec can't decode"):
        scan(listed, changes, "manifest")
    (listed / "val.txt").write_text("photos/12.png\n")
    with pytest.raises(DataError, match=r"columns\.label: must be below 1, the number of columns of val\.txt"):
        scan(listed, changes, "manifest")


def test_a_manifest_accounts_for_every_row_and_file(listed: Path, prepare: Prepare) -> None:
    rows = manifest_rows()[["image id", "article"]]
    rows.loc[3, "article"] = ""
    more = [("99", "cross"), ("../../etc/x", "cross"), ("00", "circle"), ("01", "stripes")]
    rows = pd.concat([rows.iloc[:20], pd.DataFrame(more, columns=rows.columns)])
    rows.to_csv(listed / "images.csv", index=False)
    columns = {**NO_TEXT, "path": "image id", "label": "article", "split": None, "group": None, "weight": None}
    found = prepare(listed, {**MANIFEST, "manifest.columns": columns}, source="manifest")
    assert found.aside == {
        "photos/99.png": ("missing file", ""),
        "../etc/x.png": ("path leaves the directory", ""),
        "photos/03.png": ("no label", "nothing in the label column"),
        "photos/01.png": ("conflicting labels", "listed as cross and as stripes"),
    }
    ignored = found.catalogue[found.catalogue["state"] == "ignored"]
    assert dict(zip(ignored["path"], ignored["reason"], strict=True)) == {
        f"photos/{i}.png": "not in the manifest" for i in range(20, 24)
    }
    assert found.metrics["used"] == 18


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"manifest.file": "none.csv"}, r"none\.csv must be a file below data\.path. Got: No such file"),
        ({"manifest.file": "photos/00.png"}, r"must end in \.csv, \.tsv, \.txt, \.json, \.jsonl, \.parquet"),
        ({"manifest.file": "bad.parquet"}, r"bad\.parquet must be a parquet table"),
        (
            {"manifest.columns": {**NO_TEXT, "path": "image", "label": "article", "split": None, "group": None,
                                  "weight": None}},
            r"data\.manifest\.columns\.path: must be one of image id, .* Got 'image'. Did you mean 'image id'\?",
        ),
        (
            {"manifest.columns": {**NO_TEXT, "path": "image id", "label": "article", "split": "shopper", "group": None,
                                  "weight": None}},
            r"images\.csv, line 2: shopper must be one of train, validation, val, valid, dev, eval, test. "
            r"Got 's0' for '00' \(24 such rows\)",
        ),
        (
            {"manifest.columns": {**NO_TEXT, "path": "image id", "label": "part", "split": None, "group": None,
                                  "weight": "article"}},
            r"images\.csv, line 2: article must be a number of at least 0. Got 'circle'",
        ),
        ({"manifest.suffix": ".jpg"}, r"None of its 24 rows does; the first is 'photos/00\.jpg': missing file\."),
    ],
)  # fmt: skip
def test_manifests_that_are_refused(listed: Path, changes: dict[str, Any], message: str) -> None:
    manifest_rows().to_csv(listed / "images.csv", index=False)
    (listed / "bad.parquet").write_bytes(b"PAR1 or not")
    with pytest.raises(DataError, match=message):
        scan(listed, {**MANIFEST, **changes}, "manifest")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,label\n\xff,a\n", r"images\.csv must be UTF-8 text\. Got: 'utf-8' codec can't decode"),
        (
            b"path,label\na.png,x\nb.png,y,\n",
            r"images\.csv, line 3: must have 2 fields, as the first line has\. Got 3: b",
        ),
        (b"path,label,label\na.png,x,y\n", r"columns\.label: must be in images\.csv once\. Got it 2 times"),
        (b'path,label\n"a.png,x\nb.png,y\n', r"images\.csv, line 3: must be a table\. Got: unexpected end of data"),
        (
            b"file;label\na.png;x\n",
            r"columns\.path: must be one of file, label\. Got 'path'.* give the columns' numbers",
        ),
        (b"", r"data\.manifest\.columns\.path: must be one of "),
    ],
    ids=["not UTF-8", "a field too many", "a column twice", "an open quote", "another name", "nothing"],
)
def test_tables_that_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "images.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        scan(tmp_path, source="manifest")


def test_numbers_in_parquet_stay_what_they_are(tmp_path: Path, prepare: Prepare) -> None:
    """Whole numbers beside a missing one are no decimals; a list is no label."""
    for i in range(9):
        (tmp_path / f"{i}.png").write_bytes(encoded(drawing(CLASSES[i % 3], i)))
    labels = pd.array([i % 3 for i in range(8)] + [None], dtype="Int64")
    table = pd.DataFrame({"path": range(9), "label": labels, "tags": [["a"]] * 9})
    table.to_parquet(tmp_path / "images.parquet")
    changes = {"manifest.file": "images.parquet", "manifest.suffix": ".png"}
    found = prepare(tmp_path, changes, source="manifest")
    assert set(found.split["label"]) == {"0", "1", "2"}
    assert found.aside == {"8.png": ("no label", "nothing in the label column")}
    columns = {**NO_TEXT, "path": "path", "label": "tags", "split": None, "group": None, "weight": None}
    with pytest.raises(DataError, match=r"'tags' of images\.parquet has lists: that is a multi-label data set"):
        scan(tmp_path, {**changes, "manifest.columns": columns}, "manifest")


def test_labels_with_control_characters_do_not_reach_a_table(tmp_path: Path, prepare: Prepare) -> None:
    for i in range(9):
        (tmp_path / f"{i}.png").write_bytes(encoded(drawing(CLASSES[i % 3], i)))
    (tmp_path / "strange.heic").write_bytes(b"")
    lines = [f"{i}.png,{CLASSES[i % 3]}" for i in range(8)] + ['8.png,"a\rb"', "7.png,circle"]
    (tmp_path / "images.csv").write_text("path,label\n" + "\n".join(lines) + "\n", newline="")
    found = prepare(tmp_path, source="manifest")
    assert found.aside == {
        "8.png": ("unusable label", "control characters in the label or group"),
        "7.png": ("conflicting labels", "listed as circle and as cross"),
    }
    assert len(found.catalogue) == found.metrics["found"] == 10


# reading later


def test_a_changed_image_is_noticed(tmp_path: Path, prepare: Prepare) -> None:
    write_drawings(tmp_path, 3)
    used = catalogue.read(prepare(tmp_path).folder / "catalogue.csv").used
    (tmp_path / "cross" / "001.png").write_bytes(encoded(drawing("cross", 77)))
    read = catalogue.reader(SOURCES["folder"], tmp_path)
    with pytest.raises(StaleError, match=r"cross/001\.png: changed since `prepare` catalogued it. Run `dvc repro`."):
        [read(path, sha256) for path, sha256 in zip(used["path"], used["sha256"], strict=True)]


def test_the_catalogue_survives_its_file(tmp_path: Path) -> None:
    """Labels that look like numbers, nothing or truth stay what they are."""
    rows = [(f"{label}/a, b.png", "0" * 64, 1, 2, 3, label, "used", "", "") for label in ("007", "NA", "true", "né")]
    written = catalogue.Catalogue(pd.DataFrame(rows, columns=list(catalogue.COLUMNS)))
    written.write(tmp_path / "catalogue.csv")
    assert catalogue.read(tmp_path / "catalogue.csv").used["label"].tolist() == ["007", "NA", "true", "né"]


def test_what_a_newcomer_points_at_gets_the_sentence_that_helps(tmp_path: Path, prepare: Prepare) -> None:
    with pytest.raises(DataError, match=r"photos' does not exist, seen from"):
        scan(tmp_path / "photos")
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.png").write_bytes(encoded(drawing("circle", 1)))
    with pytest.raises(DataError, match=r"must hold a directory for each class. Got 1 images in .* such as a.png"):
        scan(tmp_path / "flat")
    write_drawings(tmp_path / "nested" / "photos", 3)
    (tmp_path / "nested" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"If circle, cross, stripes below it are the classes, let data.path end"):
        prepare(tmp_path / "nested")


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_an_archive_of_archives_is_told_from_one_of_images(tmp_path: Path, suffix: str, prepare: Prepare) -> None:
    """Packed once too often, or a competition's download: its parts as archives beside a table."""
    write_drawings(tmp_path / "set", 3)
    (tmp_path / "outer").mkdir()
    archived(tmp_path / "set", tmp_path / "outer" / "set.zip")
    (tmp_path / "outer" / "sample.csv").write_text("id,label\n")
    path = archived(tmp_path / "outer", tmp_path / f"twice{suffix}")
    with pytest.raises(DataError) as caught:
        scan(path)
    assert str(caught.value) == (
        f"data.path: {path} must be an archive of images. It holds archives instead: set.zip. Unpack it once, and name "
        "what comes out (pack it again where it is several)."
    )
    write_drawings(tmp_path / "outer", 3)
    both = archived(tmp_path / "outer", tmp_path / f"both{suffix}")
    assert prepare(both).catalogue["state"].value_counts()["used"] == 9


def test_whole_numbers_are_one_class_however_they_are_written(tmp_path: Path, prepare: Prepare) -> None:
    for i in range(6):
        (tmp_path / f"{i}.png").write_bytes(encoded(drawing("circle", i)))
    rows = [f"{i}.png,{label}" for i, label in enumerate(("1", "1.0", "2", "2.0", "1", "2"))]
    (tmp_path / "images.csv").write_text("\n".join(["path,label", *rows]))
    found = prepare(tmp_path, source="manifest")
    assert sorted(set(found.split["label"])) == ["1", "2"]
    assert "labels are whole numbers, and some are written like 1.0: 1.0 is 1" in found.said
    (tmp_path / "images.csv").write_text("\n".join(["path,label", *rows[:5], "5.png,v2.0"]))
    assert set(prepare(tmp_path, source="manifest").split["label"]) == {"1", "1.0", "2", "2.0", "v2.0"}
