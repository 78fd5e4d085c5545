"""One forward pass per image, ever: what is computed, what comes from the cache, and that it is the same."""

from __future__ import annotations

import functools
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from conftest import REPOSITORY, PreparedData, drawing, encoded, params_of, paths_in, tiny_params, write_drawings
from graft.backbones import build, cuts
from graft.cli import cache as cache_commands
from graft.errors import BackboneError, DataError, StaleError
from graft.examples import catalogue
from graft.features import ahead, arrays, cache, compute, engines, plan, sink, staleness, store
from graft.features.engines.base import CannotRunError, Engine, Forward
from graft.inputs.batches import Task
from graft.inputs.image import augment
from graft.inputs.image.decode import Resizing, decode
from graft.inputs.spec import Arrays
from graft.runtime import cache as runtime_cache
from graft.runtime import database
from graft.stages import extract

Prepare = Callable[..., PreparedData]
AUGMENT = {
    "rotation_degrees": 10.0, "width_shift": 0.1, "height_shift": 0.1, "zoom": 0.1, "horizontal_flip": True,
    "brightness": 0.0, "contrast": 0.0, "fill_mode": "nearest", "seed": 0,
}  # fmt: skip
SMALL = {"backbone.input_size": 32, "extract.batch_size": 8, "extract.views": 0, "extract.augment": AUGMENT}

LIGHT = {"backbone__name": "MobileNet", "backbone__alpha": 0.25, "backbone__weights": "random"}
"""A network of few layers: an engine takes a second to convert another one, where the images themselves take none."""

BUILT = functools.cache(build.build)
"""Building a network takes longer than running these images through it."""


class Extraction:
    """Runs `prepare` and `extract` on a folder of images, and counts the images that go through the network."""

    def __init__(self, root: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self._prepare = root, prepare
        self.forwarded = 0
        self._lock = threading.Lock()
        monkeypatch.setattr(build, "build", BUILT)
        for name, engine in list(engines.ENGINES.items()):
            monkeypatch.setitem(engines.ENGINES, name, self._counting(engine))

    def _counting(self, engine: Engine) -> Engine:
        def counted(*args: Any) -> Forward:
            forward = engine(*args)

            def count(arrays: Arrays) -> tuple[np.ndarray, ...]:
                with self._lock:
                    self.forwarded += len(arrays["pixels"])
                return forward.run(arrays)

            return Forward(count, forward.batch_size)

        return counted

    def run(
        self, data: dict[str, Any] | None = None, cut: Any = None, seed: int = 0, **changes: Any
    ) -> tuple[int, dict[str, bytes]]:
        """(images that went through the network, output/file -> its bytes). changes: extract__views=2."""
        prepared = self._prepare(self.root, data, seed=seed)
        before = self.forwarded
        given = {f"data.{key}": value for key, value in (data or {}).items()}
        self.params = params_of(
            SMALL
            | {"data.source": "folder", "data.path": str(self.root), "finetune.enabled": cut is not None}
            | {"finetune.cut": cut}
            | given
            | {key.replace("__", "."): value for key, value in changes.items()}
        )
        self.paths = paths_in(prepared.folder)
        extract.run(self.params, self.paths)
        folders = (self.paths.features, self.paths.activations)
        files = {f"{folder.name}/{file.name}": file.read_bytes() for folder in folders for file in folder.iterdir()}
        return self.forwarded - before, files


@pytest.fixture
def extraction(tmp_path: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> Extraction:
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / "cache"))
    write_drawings(tmp_path / "images", 7)
    return Extraction(tmp_path / "images", prepare, monkeypatch)


def test_each_change_costs_what_it_changes(extraction: Extraction) -> None:
    """Nothing for a split, a label map, a rename; N for N new images; everything for another network."""
    run = functools.partial(extraction.run, **LIGHT)
    first = run()
    assert first[0] == 21
    assert run() == (0, first[1])
    assert run(seed=5)[0] == 0
    assert run({"split.method": "folds"})[0] == 0
    assert run({"classes": {"circle": "circle", "other": "*"}})[0] == 0
    (extraction.root / "cross").rename(extraction.root / "x")
    assert run()[0] == 0
    for i in range(4):
        (extraction.root / "x" / f"new{i}.png").write_bytes(encoded(drawing("cross", 500 + i)))
    assert run()[0] == 4
    (extraction.root / "x" / "copy.png").write_bytes((extraction.root / "x" / "new0.png").read_bytes())
    assert run()[0] == 0
    assert run(backbone__random_seed=1)[0] == 25, "a copy goes through once"
    assert run(extract__pooling="max")[0] == 25
    assert run(backbone__interpolation="bicubic")[0] == 25
    assert run(extract__dtype="float16")[0] == 25
    assert run()[0] == 0


@pytest.mark.slow
def test_views_cost_one_forward_pass_each(extraction: Extraction) -> None:
    """More views: the new ones. Other ranges or another seed: the views, not the images. A split: nothing."""
    first = extraction.run(extract__views=2)
    assert first[0] == 21 * 3
    assert extraction.run(extract__views=0)[0] == 0
    assert extraction.run(extract__views=3, seed=9)[0] == 21
    assert extraction.run(extract__views=1, extract__augment=AUGMENT | {"zoom": 0.3})[0] == 21
    assert extraction.run(extract__views=1, extract__augment=AUGMENT | {"seed": 1})[0] == 21
    assert extraction.run(extract__views=2) == (0, first[1])
    (extraction.root / "cross" / "new.png").write_bytes(encoded(drawing("cross", 500)))
    assert extraction.run(extract__views=3)[0] == 4


def test_another_cut_computes_activations_only(extraction: Extraction) -> None:
    """The features stay as they are, to the byte of meta.json, so that DVC leaves the head alone."""
    first = extraction.run(cut="block_13_expand")
    assert first[0] == 21, "features and activations from one forward pass"
    other = extraction.run(cut="block_16_expand")
    assert other[0] == 21
    for file in ("array.npy", "meta.json"):
        assert other[1][f"features/{file}"] == first[1][f"features/{file}"]
        assert other[1][f"activations/{file}"] != first[1][f"activations/{file}"]
    assert extraction.run(cut="block_13_expand") == (0, first[1])
    assert extraction.run(cut=38)[0] == 0, "block_13_expand by the number of layers"
    assert json.loads((extraction.paths.activations / "meta.json").read_text())["output"] == {
        "asked": 38, "cut": "block_13_expand"
    }  # fmt: skip


def test_where_fine_tuning_is_off_no_activations_are_stored(extraction: Extraction) -> None:
    first = extraction.run(cut="block_13_expand")
    without = extraction.run(finetune__cut="block_13_expand", finetune__enabled=False)
    assert without[0] == 0
    assert set(without[1]) == {f"features/{name}" for name in ("array.npy", "meta.json", "sample.npy")} | {
        "activations/meta.json"
    }
    meta = json.loads(without[1]["activations/meta.json"])
    assert (meta["stored"], meta["reason"], meta["output"]["cut"]) == (False, "finetune.enabled is false", None)
    assert without[1]["features/array.npy"] == first[1]["features/array.npy"]
    used = catalogue.read(extraction.paths.catalogue).used["sha256"]
    assert store.load(extraction.paths.activations, used) is None
    with pytest.raises(StaleError, match="holds nothing, as its meta"):
        store.require(extraction.paths.activations, used)


@pytest.mark.slow
def test_features_do_not_depend_on_the_activations_beside_them(extraction: Extraction, tmp_path: Path) -> None:
    """At each kind of cut: where a BatchNorm reads the tensor, an engine computes otherwise if it must give it out."""
    alone = extraction.run(backbone__weights="random")[1]["features/array.npy"]
    for cut in ("block_13_expand_BN", "block_13_expand_relu", "block_13_depthwise", "block_14_expand"):
        os.environ["GRAFT_CACHE_DIR"] = str(tmp_path / cut)
        n, files = extraction.run(cut=cut, backbone__weights="random")
        assert files["features/array.npy"] == alone, cut
        assert n == (42 if cut.endswith("_BN") else 21), cut


def test_a_killed_extraction_leaves_no_arrays_that_pass_for_whole(
    extraction: Extraction, monkeypatch: pytest.MonkeyPatch
) -> None:
    extraction.run(cut="block_13_expand")
    paths = extraction.paths
    used = catalogue.read(paths.catalogue).used["sha256"]
    assert store.load(paths.features, used) is not None

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sink.Sink, "fill", killed)
    with pytest.raises(KeyboardInterrupt):
        extract.run(extraction.params, paths)
    for folder in (paths.features, paths.activations):
        with pytest.raises(StaleError, match=r"meta\.json"):
            store.load(folder, used)


def test_a_cut_that_keeps_more_than_the_pixels_says_so(
    extraction: Extraction, capsys: pytest.CaptureFixture[str]
) -> None:
    extraction.run(cut="block_13_expand")
    assert "more than its" not in capsys.readouterr().err
    extraction.run(cut="block_1_expand")  # 16 x 16 x 8 float16
    said = capsys.readouterr().err
    assert "block_1_expand take 4 kB of disk for each image and view, more than its 3 kB of pixels" in said
    assert "at block_1_project_BN, the next cut that takes less than that, 1 kB" in said


def test_what_is_stored_is_what_the_network_gives(extraction: Extraction) -> None:
    """Row by row and view by view: the features, and the activations from which the rest of it gives them again."""
    import keras

    extraction.run(extract__views=2, cut="block_13_expand")
    prepared = catalogue.read(extraction.paths.catalogue).used
    features = store.require(extraction.paths.features, prepared["sha256"])
    activations = store.require(extraction.paths.activations, prepared["sha256"])
    assert (activations.array.dtype, activations.array.shape) == (np.float16, (21, 3, 2, 2, 32))
    loaded = BUILT("MobileNetV2", 0.35, 32, "bundled", 0)
    model = build.feature_model(loaded, "avg")
    above = keras.Model(cuts.boundary(loaded.model, "block_13_expand"), loaded.model.output)
    for row in (0, 11, 20):
        path, sha256 = prepared.loc[row, ["path", "sha256"]]
        plain = decode((extraction.root / path).read_bytes(), Resizing(32, "stretch", "bilinear"))
        seen = [plain, *(augment.numbered(plain, AUGMENT, sha256, k) for k in (1, 2))]
        assert not np.array_equal(seen[1], seen[2])
        expected = np.asarray(model(np.stack(seen).astype(np.float32)))
        np.testing.assert_allclose(features.array[row], expected, atol=1e-4)
        again = np.asarray(above(activations.array[row].astype(np.float32))).mean((1, 2))
        np.testing.assert_allclose(again, expected, atol=0.02)


def test_a_large_array_is_several_files(extraction: Extraction, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same values; `meta.json` does not tell. Back below the size, it is the same file as before."""
    run = functools.partial(extraction.run, **LIGHT, extract__views=1)
    first = run()
    sha256s = catalogue.read(extraction.paths.catalogue).used["sha256"]
    whole = store.require(extraction.paths.features, sha256s).array[:]
    with monkeypatch.context() as patched:
        patched.setattr(arrays, "FILE_BYTES", 8 * whole[0].nbytes)
        _, files = run()
    assert set(first[1]) - set(files) == {"features/array.npy"}
    assert set(files) - set(first[1]) == {f"features/array-0000{number}.npy" for number in range(3)}
    assert files["features/meta.json"] == first[1]["features/meta.json"]
    np.testing.assert_array_equal(store.require(extraction.paths.features, sha256s).array[:], whole)
    assert run() == (0, first[1])


def test_each_epoch_draws_one_view_of_each_image() -> None:
    array = np.stack([np.full((50, 2), view) for view in range(4)], axis=1)
    stored = store.Stored(array, store.Meta({}, {}, array.shape, "int64", ""))
    rows = np.arange(50)
    first, second = (stored.drawn(rows, 7, epoch) for epoch in (0, 1))
    assert not np.array_equal(first, second)
    assert set(first[:, 0]) == {0, 1, 2, 3}
    assert np.array_equal(stored.drawn(rows[::-5], 7, 0), first[::-5]), "whatever batch an image is in"
    assert not stored.plain(rows).any()


@pytest.mark.parametrize(("n_bytes", "way"), [(256, "drawn"), (6000, "plain"), (300_000, "drawn"), (6000, "every")])
def test_the_kernel_is_told_in_order_of_disk_which_bytes_are_read_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_bytes: int, way: str
) -> None:
    """Every page of what is read and no other, and as few requests as that takes."""
    n, views = 60, 3
    values = np.random.default_rng(0).normal(size=(n, views, n_bytes // 4)).astype(np.float32)
    meta = store.Meta({}, {}, values.shape, "float32", store.examples_digest("abc"))
    np.save(tmp_path / store.ARRAY, values)
    store.write_meta(tmp_path, meta)
    stored = store.require(tmp_path, "abc")
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda file, start, size, advice: asked.append((start, start + size)))
    rows = np.array([41, 7, 8, 7, 55, 9])
    chosen = store.draw(7, 0, n, views)[rows] if way == "drawn" else np.zeros(6, int)
    found = stored.drawn(rows, 7, 0) if way == "drawn" else getattr(stored, way)(rows)
    np.testing.assert_array_equal(found, values[rows] if way == "every" else values[rows, chosen])
    assert asked == sorted(asked)
    pages = {at // 4096 for start, stop in asked for at in range(start, stop, 4096)}
    first, last = (0, views) if way == "every" else (chosen, chosen + 1)
    start = stored.array.offset + (rows * views + first) * n_bytes
    stop = stored.array.offset + (rows * views + last) * n_bytes
    needed = {page for a, b in zip(start, stop, strict=True) for page in range(a // 4096, (b - 1) // 4096 + 1)}
    assert pages == needed
    runs = sum(page - 1 not in needed for page in needed)
    assert runs <= len(asked) <= runs + 6 * -(-n_bytes * views // ahead.PIECE)


def test_features_that_do_not_fit_the_params_are_refused_by_name(extraction: Extraction) -> None:
    extraction.run(extract__pooling="max", cut=0.1)
    params, paths = extraction.params, extraction.paths
    staleness.require_current(params, paths)

    def other(**sections: dict[str, Any]) -> Any:
        return params.model_copy(
            update={name: getattr(params, name).model_copy(update=values) for name, values in sections.items()}
        )

    def refused(changed: Any) -> str:
        with pytest.raises(StaleError) as caught:
            staleness.require_current(changed, paths)
        return str(caught.value)

    assert refused(other(extract={"pooling": "avg"}, backbone={"resize": "crop"})) == (
        f"{paths.features}/meta.json: must fit params.yaml. input is {{'interpolation': 'bilinear', 'kind': 'image', "
        "'resize': 'stretch', 'side': 32}, but params.yaml says {'kind': 'image', 'side': 32, 'resize': 'crop', "
        "'interpolation': 'bilinear'}; pooling is 'max', but params.yaml says 'avg'. Run `dvc repro`."
    )
    assert refused(other(finetune={"cut": "block_13_expand"})) == (
        f"{paths.activations}/meta.json: must fit params.yaml. asked is 0.1, but params.yaml says 'block_13_expand'. "
        "Run `dvc repro`."
    )
    assert "stored is True, but params.yaml says False" in refused(other(finetune={"enabled": False}))
    (paths.activations / "meta.json").unlink()
    assert "activations: must hold what `graft extract` writes" in refused(params)


def test_values_that_float16_cannot_hold(extraction: Extraction, monkeypatch: pytest.MonkeyPatch) -> None:
    def huge(*args: Any) -> Forward:
        return Forward(lambda arrays: (np.full((len(arrays["pixels"]), 1280), 1e5, np.float32),), 8)

    monkeypatch.setitem(engines.ENGINES, "openvino", huge)
    with pytest.raises(BackboneError, match=r"values up to 1e\+05, which float16 cannot hold"):
        extraction.run(extract__dtype="float16")


FULL_DISK = """
import resource, sys
from pathlib import Path
from graft import cli
from graft.features import sink
sink.KEEP_EVERY_SECONDS = 0
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop()), resource.RLIM_INFINITY))
cli.run()
"""


@pytest.mark.slow
def test_a_full_disk_is_one_error_and_keeps_what_was_done(tmp_path: Path) -> None:
    """No file may grow beyond a limit, which is what a full disk looks like to a process."""
    write_drawings(tmp_path / "images", 60)
    tree = tiny_params()
    tree["data"]["path"] = "images"
    tree["backbone"] |= {"input_size": 64}
    tree["extract"] |= {"views": 0, "pooling": None}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "GRAFT_CACHE_DIR": str(tmp_path / "cache")}

    def graft(*arguments: str, limit: int = 2**40) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", FULL_DISK, *arguments, str(limit)],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip

    shutil.copy(REPOSITORY / "dvc.yaml", tmp_path)
    assert graft("prepare").returncode == 0
    done = graft("extract", limit=3_000_000)
    assert done.returncode == 1
    assert done.stderr.count("graft: ") == 1, done.stderr
    assert "array.npy: could not be written: File too large." in done.stderr
    assert "Traceback" not in done.stderr
    done = graft("extract")
    assert done.returncode == 0, done.stderr
    assert "features of 180 images: 0 of 180" not in done.stderr
    assert "features of 180 images: " in done.stderr


@pytest.mark.parametrize("engine", ["openvino", pytest.param("tensorflow", marks=pytest.mark.slow)])
def test_the_same_bytes_whatever_was_cached(extraction: Extraction, engine: str) -> None:
    """Everything, nothing, or a part; in batches of another size."""
    asked: dict[str, Any] = {"extract__engine": engine, "extract__views": 2}
    whole = extraction.run(cut="block_13_expand", **asked)
    os.environ["GRAFT_CACHE_DIR"] += "-part"
    for path in sorted(extraction.root.rglob("*.png"))[::3]:
        path.rename(path.with_suffix(".away"))
    part = extraction.run(cut="block_13_expand", **asked | {"extract__batch_size": 3, "extract__views": 1})
    assert part[0] == 28
    for path in sorted(extraction.root.rglob("*.away")):
        path.rename(path.with_suffix(".png"))
    rest = extraction.run(cut="block_13_expand", **asked | {"extract__batch_size": 5})
    assert rest == (35, whole[1])
    assert set(rest[1]) == {
        f"{name}/{file}" for name in ("features", "activations") for file in ("array.npy", "meta.json")
    } | {"features/sample.npy"}


def test_a_damaged_value_is_computed_again(extraction: Extraction) -> None:
    """Too short, of other bytes, or what belongs to another key."""
    first = extraction.run(**LIGHT)
    (held,) = cache.held()
    environment = database.Database.opened(f"{cache.KIND}/{held.folder.name}")._environment
    assert environment is not None
    with environment.begin(write=True) as transaction:
        keys = [key for key, _ in transaction.cursor()]
        assert len(keys) == 21
        transaction.put(keys[0], b"short")
        transaction.put(keys[1], bytes(4 + 256 * 4 - 1) + b"x")
        transaction.put(keys[2], transaction.get(keys[3]))
    assert extraction.run(**LIGHT) == (3, first[1])
    with environment.begin(write=True) as transaction:
        transaction.put(keys[2], b"short")
    assert cache.verify() == (21, 1)
    assert cache.verify() == (20, 0)
    assert extraction.run(**LIGHT) == (1, first[1])


def test_a_stopped_extraction_goes_on_where_it_was(extraction: Extraction, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = engines.ENGINES["openvino"]

    def stopping(*args: Any) -> Forward:
        forward = counted(*args)

        def stop(arrays: Arrays) -> tuple[np.ndarray, ...]:
            if len(arrays["pixels"]) < 8:  # the last of three calls
                raise KeyboardInterrupt
            return forward.run(arrays)

        return Forward(stop, 8)

    monkeypatch.setitem(engines.ENGINES, "openvino", stopping)
    with pytest.raises(KeyboardInterrupt):
        extraction.run(**LIGHT)
    monkeypatch.setitem(engines.ENGINES, "openvino", counted)
    assert extraction.run(**LIGHT)[0] == 5


@pytest.mark.parametrize("place", ["/proc/nope", "/etc/hostname"])
def test_a_place_that_cannot_be_written_costs_time_only(
    extraction: Extraction, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one line, however many parts of the cache there are."""
    monkeypatch.setenv("GRAFT_CACHE_DIR", place)
    told: list[str] = []
    monkeypatch.setattr(runtime_cache, "say", told.append)
    for memory in (database._opened, runtime_cache.say_once):
        memory.cache_clear()
    assert extraction.run(**LIGHT)[0] == 21
    (line,) = told
    assert line.startswith("note: graft's cache cannot be used (GRAFT_CACHE_DIR: must be a folder that can be written.")
    assert cache.held() == []
    for command in (["info"], ["prune", "--max-gb", "0"], ["verify"]):
        assert CliRunner().invoke(cache_commands.app, command).exit_code == 0


def test_a_cache_that_may_only_be_read_is_used(extraction: Extraction, monkeypatch: pytest.MonkeyPatch) -> None:
    _, files = extraction.run(**LIGHT)
    database._opened.cache_clear()
    monkeypatch.setattr(database.os, "access", lambda path, mode: False)
    assert extraction.run(**LIGHT) == (0, files)
    database._opened.cache_clear()


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of a process whose files a group may write."""
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / "cache"))
    runtime_cache.say_once.cache_clear()
    before = os.umask(0o002)
    yield tmp_path / "cache"
    os.umask(before)


VALUE = np.arange(3, dtype=np.float32)
KEY = ("a" * 64, 0)


def opened(what: dict[str, Any]) -> cache.FeatureCache:
    return cache.FeatureCache(what, cache.Part((3,), "float32"))


def test_a_group_may_write_what_is_made(shared: Path) -> None:
    opened({}).put([(KEY, VALUE)])
    found = {path.name: path.stat().st_mode & 0o777 for path in (shared, *shared.rglob("*"))}
    folders = ("cache", cache.KIND, opened({}).name)
    assert found == dict.fromkeys(folders, 0o775) | dict.fromkeys((cache.WHAT, "data.mdb", "lock.mdb"), 0o664)


@pytest.mark.parametrize("link", ["data.mdb", "lock.mdb", ".", ".."])
def test_a_cache_behind_a_link_is_not_used(
    shared: Path, tmp_path: Path, link: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of its files, its folder, the folder above; wherever that leads, it stays as it is."""
    opened({}).put([(KEY, VALUE)])
    part = (shared / cache.KIND / opened({}).name / link).resolve()
    part.rename(tmp_path / "elsewhere")
    part.symlink_to(tmp_path / "elsewhere")
    database._opened.cache_clear()
    assert opened({}).get([KEY]) == [None]
    said = capsys.readouterr().err
    assert said.count(f"note: graft's cache cannot be used ({part}: must be a f") == 1
    assert "Got a link" in said
    assert "Remove it" in said
    assert part.is_symlink()


def test_a_use_that_cannot_be_noted_costs_nothing(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = shared / cache.KIND / opened({}).name / cache.WHAT
    file.unlink()
    file.mkdir()
    opened({}).put([(KEY, VALUE)])
    np.testing.assert_array_equal(opened({}).get([KEY])[0], VALUE)
    assert capsys.readouterr().err.count("note: when features were used is not noted in graft's cache") == 1
    assert cache.held() == []


def test_a_description_is_neither_followed_nor_believed(shared: Path, tmp_path: Path) -> None:
    """A link is replaced; text of another folder, or of another version of graft, ends no command."""
    (tmp_path / "precious").write_text("{}")
    for what in ({}, {"backbone": "of another version"}):
        file = shared / cache.KIND / opened(what).name / cache.WHAT
        file.unlink()
        file.symlink_to(tmp_path / "precious")
        assert what not in [one.what for one in cache.held()]
        opened(what)
        assert not file.is_symlink()
    assert (tmp_path / "precious").read_text() == "{}"
    assert len(cache.held()) == 2
    assert CliRunner().invoke(cache_commands.app, ["info"]).stdout.count("an unknown backbone") == 2
    file.write_text("{}")
    assert [one.what for one in cache.held()] == [{}]
    assert "of an unknown backbone" in CliRunner().invoke(cache_commands.app, ["prune", "--max-gb", "0"]).stdout


def test_narrow_images_that_padding_would_lose_are_refused(extraction: Extraction) -> None:
    (extraction.root / "circle" / "strip.png").write_bytes(encoded(np.zeros((12, 2400, 3), np.uint8)))
    with pytest.raises(DataError, match=r"pad to 32 pixels leaves nothing of 1 images .*strip.png \(2400 x 12\)"):
        extraction.run({"min_side": 1}, backbone__resize="pad")


def test_an_engine_that_cannot_is_replaced_and_said(
    extraction: Extraction, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*args: object) -> None:
        raise CannotRunError("no such operation")

    monkeypatch.setitem(engines.ENGINES, "openvino", refuse)
    n, files = extraction.run()
    assert (n, json.loads(files["features/meta.json"])["made_with"]["engine"]) == (21, "tensorflow")
    assert "note: OpenVINO cannot run this network (no such operation); using the tensorflow" in capsys.readouterr().err


def test_the_cache_stays_within_its_limit(
    extraction: Extraction, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was not used for longest goes first; what was just made stays."""
    extraction.run(**LIGHT)
    (first,) = cache.held()
    os.utime(first.folder / cache.WHAT, (1, 1))
    extraction.run(extract__pooling="max", **LIGHT)
    assert len(cache.held()) == 2
    monkeypatch.setenv("GRAFT_CACHE_GB", "0.0000001")
    assert extraction.run(extract__pooling="max", **LIGHT)[0] == 0
    assert "features of MobileNet left the cache" in capsys.readouterr().err
    (left,) = cache.held()
    assert left.what["output"] == {"pooling": "max"}
    assert [one.folder for one in cache.prune(0)] == [left.folder]
    assert cache.held() == []


def test_the_commands(extraction: Extraction) -> None:
    extraction.run()
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}

    def graft(*arguments: str) -> str:
        command = [sys.executable, "-m", "graft", "cache", *arguments]
        return subprocess.run(
            command, env=environment, cwd=extraction.root, capture_output=True, text=True, check=True
        ).stdout

    info = graft("info")
    assert "MobileNetV2 0.35" in info
    assert "openvino float32" in info
    assert "GB of features in" in info
    assert graft("verify") == "21 features read, 0 damaged and dropped\n"
    assert graft("prune", "--max-gb", "0").startswith("removed ")
    assert "0.00 GB of features" in graft("info")


@pytest.mark.long
def test_the_specification_travels_to_another_process(extraction: Extraction) -> None:
    """What it computes from there is what `extract` wrote."""
    extraction.run(cut="block_13_expand", extract__views=1)
    used = catalogue.read(extraction.paths.catalogue).used
    loaded = BUILT("MobileNetV2", 0.35, 32, "bundled", 0)
    planned = plan.make(
        extraction.params, extraction.paths, loaded, "block_13_expand", "openvino", list(used["sha256"])
    )
    spec = pickle.loads(pickle.dumps(planned.spec))
    tasks = [Task(path, sha256, (0, 1)) for path, sha256 in zip(used["path"][:3], used["sha256"][:3], strict=True)]
    wanted = (compute.FEATURES, compute.ACTIVATIONS)
    parts = list(compute.computed(spec, wanted, tasks, lambda path, _: (extraction.root / path).read_bytes()))
    keys = [key for keys, _ in parts for key in keys]
    assert keys == [(task.sha256, view) for task in tasks for view in (0, 1)]
    for name, folder in (("features", extraction.paths.features), ("activations", extraction.paths.activations)):
        got = np.concatenate([results[name] for _, results in parts])
        expected = store.require(folder, used["sha256"]).array[:3].reshape(got.shape)
        assert got.tobytes() == expected.tobytes()
