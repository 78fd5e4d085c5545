"""Images that lie in a bucket or on the web: listed, read in place, and never others than those that were listed."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
import yaml
from typer.testing import CliRunner

from bucket import SECRET, Server, served
from conftest import CLASSES, PreparedData, default_params, drawing, encoded, make_project, tiny_params, write_drawings
from graft import cli
from graft.errors import DataError, StaleError
from graft.examples import inventory
from graft.examples.sources import listing as listings
from graft.examples.sources.listed import Listed
from graft.runtime.reading import marks, patience, storage

Prepare = Callable[..., PreparedData]
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with served() as server:
        yield server


@pytest.fixture
def bucket(server: Server) -> str:
    """A new one."""
    name = f"bucket-{next(NUMBERS)}"
    server.make(name)
    return name


@pytest.fixture
def photos(server: Server, bucket: str, tmp_path: Path) -> Path:
    """Six drawings of each class, in a folder and in the bucket, below `photos`."""
    write_drawings(tmp_path / "photos", 6)
    server.put(tmp_path / "photos", bucket, "photos")
    return tmp_path / "photos"


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "WAITS_SECONDS", (0.0, 0.0, 0.0, 0.0))


def graft(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, ["data", *arguments])


def written(tmp_path: Path, address: str, data: Any = None) -> Path:
    """The listing of an address, as a file."""
    file = tmp_path / f"{next(NUMBERS)}.listing"
    file.write_bytes(inventory.take(address, lambda: data)[0].to_bytes())
    return file


def of_bytes(prepared: PreparedData) -> list[tuple[str, ...]]:
    columns = ["path", "sha256", "bytes", "width", "label", "state", "reason"]
    return [tuple(row) for row in prepared.catalogue[columns].itertuples(index=False)]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read, by their places."""
    found: list[str] = []
    reading = marks.read

    def noted(filesystem: Any, kind: str, path: str, mark: str) -> bytes:
        found.append(path)
        return reading(filesystem, kind, path, mark)

    monkeypatch.setattr(marks, "read", noted)
    return found


def test_a_bucket_is_read_as_the_folder_it_came_from(
    photos: Path, bucket: str, server: Server, tmp_path: Path, prepare: Prepare, read: list[str]
) -> None:
    """Each file once; not again where nothing has changed; nor where a copy lies in another bucket."""
    from_bucket = prepare(written(tmp_path, f"s3://{bucket}/photos"))
    assert sorted(read) == sorted(f"{bucket}/photos/{f.relative_to(photos)}" for f in photos.rglob("*.png"))
    assert of_bytes(from_bucket) == of_bytes(prepare(photos))
    assert len(from_bucket.catalogue) == 18
    read.clear()
    again = prepare(written(tmp_path, f"s3://{bucket}/photos"))
    assert read == []
    assert "18 images have not changed since they were examined: not read again" in again.said
    server.put(photos, bucket, "moved/elsewhere")
    moved = prepare(written(tmp_path, f"s3://{bucket}/moved/elsewhere"))
    assert (read, of_bytes(moved)) == ([], of_bytes(from_bucket))


def test_a_listing_is_the_same_bytes_and_in_order(photos: Path, bucket: str, server: Server, tmp_path: Path) -> None:
    """And has no place for what stands for a folder."""
    server.storage().put_object(Bucket=bucket, Key="photos/circle/", Body=b"")
    first, again = (written(tmp_path, f"s3://{bucket}/photos{end}").read_bytes() for end in ("", "/"))
    assert first == again
    head, *rows = map(json.loads, first.splitlines())
    assert head == {"listing": 1, "root": f"s3://{bucket}/photos", "asked": f"s3://{bucket}/photos"}
    assert [row["path"] for row in rows] == [f"{kind}/{i:03d}.png" for kind in CLASSES for i in range(6)]
    etags = server.storage().list_objects_v2(Bucket=bucket, Prefix="photos/circle/0")["Contents"]
    assert [(row["size"], f'"{row["mark"]}"') for row in rows[:6]] == [(one["Size"], one["ETag"]) for one in etags]


def test_the_command_says_what_has_changed(
    photos: Path, bucket: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tree = default_params()
    tree["data"] |= {"source": "folder", "path": "data/photos.listing"}
    Path("params.yaml").write_text(yaml.safe_dump(tree))
    assert "ADDRESS: must be given, since there is no data/photos.listing yet" in str(graft("list").exception)
    first = graft("list", f"s3://{bucket}/photos")
    size = sum(file.stat().st_size for file in photos.rglob("*.png")) / 1e6
    assert first.stdout == f"data/photos.listing: 18 files, {size:.1f} MB, at s3://{bucket}/photos\n"
    assert graft("list").stdout.endswith("nothing has changed\n")
    client = server.storage()
    client.put_object(Bucket=bucket, Key="photos/circle/007.png", Body=b"new")
    client.put_object(Bucket=bucket, Key="photos/circle/000.png", Body=b"other")
    client.delete_object(Bucket=bucket, Key="photos/cross/001.png")
    assert graft("list").stdout.splitlines()[1:] == [
        "1 added: circle/007.png", "1 gone: cross/001.png", "1 changed: circle/000.png",
    ]  # fmt: skip
    assert "--to: must be a file that ends in .listing" in str(graft("list", "s3://a/b", "--to", "a.csv").exception)
    Path("data/photos.listing").write_text('{"listing": 1')
    assert "Line 1 is not one's" in str(graft("list").exception)
    assert graft("list", f"s3://{bucket}/photos").stdout.startswith("data/photos.listing: 18 files")


@pytest.mark.parametrize("how", ["changed", "gone"])
def test_prepare_stops_where_the_bucket_is_not_as_listed(
    how: str, photos: Path, bucket: str, server: Server, tmp_path: Path, prepare: Prepare
) -> None:
    """Other bytes of the same size: the ETag that comes with the answer tells."""
    write_drawings(photos, 6, first_seed=50 if how == "gone" else 100)  # which no other test has examined
    server.put(photos, bucket, "photos")
    listing = written(tmp_path, f"s3://{bucket}/photos")
    client, key = server.storage(), "photos/cross/002.png"
    if how == "gone":
        client.delete_object(Bucket=bucket, Key=key)
    else:
        content = bytearray((photos / "cross" / "002.png").read_bytes())
        content[-20] ^= 1
        client.put_object(Bucket=bucket, Key=key, Body=bytes(content))
    with pytest.raises(StaleError) as caught:
        prepare(listing)
    text = str(caught.value)
    assert text.startswith(f"s3://{bucket}/{key}: ")
    assert how in text
    assert f"since it was listed in {listing}. Run `graft data list`" in text


def test_a_table_in_the_bucket(photos: Path, bucket: str, server: Server, tmp_path: Path, prepare: Prepare) -> None:
    """Its paths are below the address, or have the address before them."""
    files = sorted(photos.rglob("*.png"))
    rows = [
        (f"s3://{bucket}/photos/" * (i % 2) + f.relative_to(photos).as_posix(), f.parent.name)
        for i, f in enumerate(files)
    ]
    table = pd.DataFrame([*rows, ("cross/lost.png", "cross")], columns=["path", "label"]).to_csv(index=False)
    server.storage().put_object(Bucket=bucket, Key="photos/images.csv", Body=table.encode())
    listed = prepare(written(tmp_path, f"s3://{bucket}/photos"), source="manifest")
    assert listed.aside == {"cross/lost.png": ("missing file", "")}
    used = listed.catalogue[listed.catalogue["state"] == "used"]
    assert sorted(zip(used["path"], used["label"], strict=True)) == [
        (f.relative_to(photos).as_posix(), f.parent.name) for f in files
    ]


def test_images_in_a_parquet_in_the_bucket(
    photos: Path, bucket: str, server: Server, tmp_path: Path, prepare: Prepare
) -> None:
    """As `datasets` writes them, several row groups; a copy of it in the bucket is read in blocks."""
    files = sorted(photos.rglob("*.png"))
    cells = [{"bytes": f.read_bytes(), "path": f.name} for f in files]
    table = pa.table({"image": cells, "label": [f.parent.name for f in files]})
    (tmp_path / "tables").mkdir()
    pq.write_table(table, tmp_path / "tables" / "train-00000-of-00001.parquet", row_group_size=5)
    server.put(tmp_path / "tables", bucket, "tables")
    values = {"manifest.file": "*.parquet", "manifest.columns.path": "image", "split.method": "fractions"}
    there = prepare(written(tmp_path, f"s3://{bucket}/tables"), values, "manifest")
    assert of_bytes(there) == of_bytes(prepare(tmp_path / "tables", values, "manifest"))
    used = there.catalogue[there.catalogue["state"] == "used"]
    assert len(used) == 18
    single = written(tmp_path, f"s3://{bucket}/tables/train-00000-of-00001.parquet")
    assert of_bytes(prepare(single, values, "manifest")) == of_bytes(there)


def shard(samples: list[dict[str, bytes]]) -> bytes:
    """A tar in WebDataset's layout. samples: ending -> content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number, sample in enumerate(samples):
            for ending, content in sample.items():
                info = tarfile.TarInfo(f"{number:04d}.{ending}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def shards(folder: Path, side: Callable[[int, str], dict[str, bytes]]) -> Path:
    """Two of training and one of validation images. side: a sample's label, as members."""
    folder.mkdir()
    for number, name in enumerate(("train-0000", "train-0001", "val-0000")):
        pictures = [(kind, encoded(drawing(kind, 100 * number + i), "PNG")) for i in range(4) for kind in CLASSES]
        samples = [{"png": picture, **side(number, kind)} for kind, picture in pictures]
        (folder / f"{name}.tar").write_bytes(shard(samples))
    return folder


LABELS: dict[str, tuple[Callable[[int, str], dict[str, bytes]], str]] = {
    "cls": (lambda number, kind: {"cls": str(CLASSES.index(kind)).encode()}, "cls"),
    "txt": (lambda number, kind: {"txt": f"{kind}\n".encode(), "npy": b"\x93NUMPY"}, "txt"),
    "json": (lambda number, kind: {"json": json.dumps({"kind": kind, "shop": number}).encode()}, "kind"),
}


@pytest.mark.parametrize("ending", LABELS)
def test_shards_of_webdataset(ending: str, bucket: str, server: Server, tmp_path: Path, prepare: Prepare) -> None:
    """In a folder and in a bucket alike; split by their names; a second `prepare` goes through no shard."""
    side, column = LABELS[ending]
    folder = shards(tmp_path / "shards", side)
    (folder / "names.txt").write_text("\n".join(CLASSES))
    server.put(folder, bucket)
    values: dict[str, Any] = {
        "manifest.file": "*.tar", "manifest.columns.path": "image", "manifest.columns.label": column,
        "manifest.classes": "names.txt" if ending == "cls" else None,
    }  # fmt: skip
    here, there = prepare(folder, values, "manifest"), prepare(written(tmp_path, f"s3://{bucket}"), values, "manifest")
    assert of_bytes(there) == of_bytes(here)
    used = here.catalogue[here.catalogue["state"] == "used"]
    assert [(p, label) for p, label in zip(used["path"], used["label"], strict=True)][:4] == [
        ("train-0000.tar/0000.png", "circle"), ("train-0000.tar/0001.png", "cross"),
        ("train-0000.tar/0002.png", "stripes"), ("train-0000.tar/0003.png", "circle"),
    ]  # fmt: skip
    assert set(here.split.loc[here.split["path"].str.startswith("val"), "split"]) == {"validation"}
    by_pattern = inventory.take(f"s3://{bucket}/{{train,val}}-{{0000..0001}}.tar", lambda: None)
    assert (sorted(by_pattern[0].files), by_pattern[1]) == (
        sorted(f.name for f in folder.glob("*.tar")),
        ["val-0001.tar"],
    )
    listing = written(tmp_path, f"s3://{bucket}")
    for name in ("train-0000.tar", "train-0001.tar", "val-0000.tar"):
        server.storage().delete_object(Bucket=bucket, Key=name)
    assert of_bytes(prepare(listing, values, "manifest")) == of_bytes(there), "all of it is known"


def test_a_shard_is_read_by_many_at_a_time(bucket: str, server: Server, tmp_path: Path) -> None:
    """Of more shards than stay open."""
    from graft.examples.sources.tables.shards import AT_ONCE, Shards
    from graft.examples.sources.tree import open_tree

    contents = {f"{k:02d}.tar": [f"{k} {i} ".encode() * 999 for i in range(9)] for k in range(AT_ONCE + 3)}
    for name, members in contents.items():
        body = shard([{"jpg": content} for content in members])
        server.storage().put_object(Bucket=bucket, Key=name, Body=body)
    tree = Shards(open_tree(written(tmp_path, f"s3://{bucket}")))
    wrong: list[str] = []

    def work(first: int) -> None:
        for i in range(first, first + 9):
            for name, members in contents.items():
                if tree.read(f"{name}/{i % 9:04d}.jpg") != members[i % 9]:
                    wrong.append(name)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (shard([{"png": b"x" * 9999, "cls": b"1"}])[:6000], "must be a whole tar"),
        (b"\x1f\x8b" + b"x" * 3000, "must be a whole tar that is not compressed"),
        (shard([{"png": b"x", "json": b"{"}]), "0000.json: must be JSON"),
    ],
)
def test_a_damaged_shard_is_one_error(content: bytes, fault: str, tmp_path: Path, prepare: Prepare) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.tar").write_bytes(content)
    with pytest.raises(DataError, match=fault):
        prepare(tmp_path / "shards", {"manifest.file": "*.tar", "manifest.columns.path": "image"}, "manifest")


def public(server: Server, bucket: str, key: str, content: bytes) -> None:
    server.storage().put_object(Bucket=bucket, Key=key, Body=content, ACL="public-read")


def test_a_table_on_the_web(photos: Path, bucket: str, server: Server, tmp_path: Path, prepare: Prepare) -> None:
    """Names the files, of which one is not there; a file that changes afterwards stops `prepare`."""
    files = sorted(photos.rglob("*.png"))
    for f in files:
        public(server, bucket, f"web/{f.relative_to(photos)}", f.read_bytes())
    public(server, bucket, "web/cross/odd name #1.png", files[0].read_bytes())
    names = [f.relative_to(photos).as_posix() for f in files] + ["cross/lost.png", "cross/odd name #1.png"]
    table = pd.DataFrame([(name, name.split("/")[0]) for name in names], columns=["path", "label"]).to_csv(index=False)
    public(server, bucket, "web/images.csv", table.encode())
    from conftest import data_params

    address = f"{server.endpoint}/{bucket}/web"
    now, missing = inventory.take(f"{address}/images.csv", lambda: data_params({"source": "manifest"}))
    assert (now.root, missing, len(now.files)) == (address, ["cross/lost.png"], 20)
    listing = tmp_path / "web.listing"
    listing.write_bytes(now.to_bytes())
    values = {"duplicates.conflicting_labels.identical": "keep"}
    found = prepare(listing, values, "manifest")
    assert found.aside == {"cross/lost.png": ("missing file", "")}
    assert set(found.catalogue.loc[found.catalogue["state"] == "used", "path"]) == set(names) - {"cross/lost.png"}
    public(server, bucket, "web/circle/000.png", files[1].read_bytes())
    with pytest.raises(StaleError, match=r"circle/000.png: changed"):
        Listed(now, listing).read("circle/000.png")


def test_shards_on_the_web_by_a_pattern(bucket: str, server: Server, tmp_path: Path, prepare: Prepare) -> None:
    folder = shards(tmp_path / "shards", LABELS["txt"][0])
    for file in folder.iterdir():
        public(server, bucket, file.name, file.read_bytes())
    now, missing = inventory.take(f"{server.endpoint}/{bucket}/{{train,val}}-{{0000..0001}}.tar", lambda: None)
    assert sorted(now.files) == ["train-0000.tar", "train-0001.tar", "val-0000.tar"]
    assert missing == ["val-0001.tar"]
    listing = tmp_path / "web.listing"
    listing.write_bytes(now.to_bytes())
    values = {"manifest.file": "*.tar", "manifest.columns.path": "image", "manifest.columns.label": "txt"}
    assert of_bytes(prepare(listing, values, "manifest")) == of_bytes(prepare(folder, values, "manifest"))


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("s3://no-such-bucket/x", "could not be listed. Got: nothing there. Look whether the address is right"),
        ("s3://{bucket}/none", "could not be listed. Got: nothing there. Look whether the address is right"),
        ("s3://me:my-password@{bucket}/x", "must be an address without a user, password or signature"),
        ("{endpoint}/{bucket}/x.csv?X-Amz-Signature=my-password", "without a user, password or signature"),
        ("{endpoint}/{bucket}/photos", "the web does not list what lies in a folder"),
        ("{endpoint}/{bucket}/{{a,b}}/c.tar", "must have braces behind its last slash alone"),
        ("ftp://host/x", "must begin with s3://, gs://"),
        ("gs://bucket/x", "`pip install gcsfs`"),
        ("{endpoint}/{bucket}/{{1..2}}.tar", "must name files that are there. None of 2 is"),
    ],
)
def test_what_cannot_be_listed_is_one_error(
    address: str, fault: str, bucket: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    if address.startswith("gs:"):  # as where nobody has installed it
        monkeypatch.setitem(storage.PACKAGES, "gs", "gcsfs")
        monkeypatch.setitem(sys.modules, "gcsfs", None)
        storage._filesystem.cache_clear()
    public(server, bucket, "there.txt", b"so that what is not there is no secret")
    server.storage().put_bucket_acl(Bucket=bucket, ACL="public-read")
    with pytest.raises(DataError) as caught:
        inventory.take(address.format(bucket=bucket, endpoint=server.endpoint), lambda: None)
    assert fault.format(bucket=bucket) in str(caught.value)
    assert "my-password" not in str(caught.value)


def test_credentials_are_never_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv(
        "FSSPEC_S3", json.dumps({"anon": False, "secret": "another-secret", "endpoint_url": "http://h:1"})
    )
    said = storage.cleaned(f"at https://me:pw@host/a?sig=xyz\nand {SECRET}, 'another-secret' of http://h:1")
    assert said == "at https://host/a and ***, '***' of http://h:1"


def test_credentials_that_are_refused_are_one_error(
    photos: Path, bucket: str, server: Server, monkeypatch: pytest.MonkeyPatch, no_waiting: None
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(photos))
    storage._filesystem.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        with pytest.raises(DataError, match=r"Give credentials that may read there"):
            inventory.take(f"s3://{bucket}/photos", lambda: None)
    finally:
        storage._filesystem.cache_clear()
        s3fs.S3FileSystem.clear_instance_cache()


class AnsweredError(Exception):
    """As azure-core's HttpResponseError and gcsfs's HttpError, which name the number of an answer otherwise."""

    def __init__(self, name: str, number: int, said: str) -> None:
        super().__init__(said)
        setattr(self, name, number)


@pytest.mark.parametrize("name", ["status_code", "code", "status"])
def test_every_storages_answers_are_told_apart(name: str, no_waiting: None) -> None:
    tries = []

    def busy() -> None:
        tries.append(1)
        raise AnsweredError(name, 503, "ServerBusy")

    with pytest.raises(AnsweredError):
        patience.patiently(busy)
    assert len(tries) == 5
    refused = AnsweredError(
        name, 403, "Server failed to authenticate. RequestId:e2a7-39 Content: <?xml version='1.0'?>"
    )
    with pytest.raises(DataError) as caught:
        storage.fail("az://shop/photos", "listed", refused)
    assert str(caught.value) == (
        "az://shop/photos: could not be listed. Got: Server failed to authenticate. Give credentials that may read "
        "there, as the storage's own tools take them (docs/data.md)."
    )


def test_a_storage_that_lacks_credentials_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def lacking(*_: object, **__: object) -> None:
        raise ValueError("Must provide either a connection_string or account_name with credentials!!")

    monkeypatch.setattr(fsspec, "filesystem", lacking)
    storage._filesystem.cache_clear()
    with pytest.raises(DataError, match=r"with credentials\. Give credentials that may read there"):
        storage.opened("az://shop/photos")


@pytest.mark.parametrize(
    ("times", "kind", "fails"), [(3, ConnectionError, False), (9, ConnectionError, True), (1, ValueError, True)]
)
def test_what_passes_is_tried_again(
    times: int, kind: type[Exception], fails: bool, photos: Path, bucket: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, no_waiting: None,
) -> None:  # fmt: skip
    listing = written(tmp_path, f"s3://{bucket}/photos")
    reading, tries = marks.read, []

    def flaky(*arguments: Any) -> bytes:
        tries.append(1)
        if len(tries) <= times:
            raise kind("reset by peer")
        return reading(*arguments)

    monkeypatch.setattr(marks, "read", flaky)
    tree = Listed(listings.read(listing), listing)
    if fails:
        with pytest.raises(DataError, match=r"circle/000.png: could not be read. Got: reset by peer. Look whether"):
            tree.read("circle/000.png")
        assert len(tries) == (5 if kind is ConnectionError else 1)
    else:
        assert tree.read("circle/000.png") == (photos / "circle" / "000.png").read_bytes()
        assert len(tries) == 4


def test_a_server_that_is_away_stops_prepare(
    photos: Path, bucket: str, tmp_path: Path, prepare: Prepare, monkeypatch: pytest.MonkeyPatch, no_waiting: None
) -> None:
    """No image is set aside for it."""
    write_drawings(photos, 1, first_seed=77)  # other bytes than any test has examined
    listing = tmp_path / "away.listing"
    files = {"circle/000.png": listings.File(10, "a"), "cross/000.png": listings.File(10, "b")}
    listing.write_bytes(listings.Listing("http://127.0.0.1:9", "http://127.0.0.1:9", files).to_bytes())
    with pytest.raises(DataError, match=r"000.png: could not be read. Got: .*[Cc]onnect"):
        prepare(listing)


def test_an_address_in_params_is_one_error(params_with: Callable[..., Path]) -> None:
    from graft.config.load import load
    from graft.errors import ParamsError

    with pytest.raises(ParamsError) as caught:
        load(params_with({"data.path": "s3://me:secret@shop/photos of 2024/"}))
    assert caught.value.faults == (
        "data.path: must be a directory, an archive, or a listing of what lies at an address. Got s3://shop/photos of "
        "2024. Run `graft data list s3://shop/photos of 2024 --to data/photos-of-2024.listing`, and set data.path: "
        "data/photos-of-2024.listing.",
    )


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"listing": 2, "root": "s3://a", "asked": "s3://a"}', "not JSON"])
def test_a_file_that_is_no_listing_is_one_error(content: str, tmp_path: Path, prepare: Prepare) -> None:
    file = tmp_path / "x.listing"
    file.write_text(content)
    with pytest.raises(DataError, match=r"x.listing must be a listing that `graft data list ADDRESS` wrote. Line 1 "):
        prepare(file)


def test_extract_has_the_next_examples_on_their_way(tmp_path: Path) -> None:
    """Each is read once, in whatever order they are asked for, and those that nobody wants are called off."""
    from graft.examples import ahead
    from graft.inputs.batches import Task

    tasks = [Task(f"{i}.png", f"sha {i}") for i in range(300)]
    asked: list[str] = []
    full = threading.Event()

    def read(path: str, sha256: str) -> bytes:
        asked.append(path)
        if len(asked) == ahead.AT_ONCE + 1:
            full.set()
        return f"{path} {sha256}".encode()

    with ahead.reading(read, tasks, tmp_path / "photos.listing") as early:
        assert early("200.png", "sha 200") == b"200.png sha 200"
        assert full.wait(10), "others are read meanwhile"
        order = [task for task in tasks if task.path != "200.png"][:250]
        assert [early(task.path, task.sha256) for task in order] == [f"{t.path} {t.sha256}".encode() for t in order]
    assert len(asked) == len(set(asked)) <= 251 + ahead.MOST
    with ahead.reading(read, tasks, tmp_path) as early:
        assert early is read


def test_pages_go_without_pictures_where_the_bucket_is_away(tmp_path: Path, no_waiting: None) -> None:
    """A run is logged all the same."""
    from graft.examples import excerpts, thumbnails

    listing = tmp_path / "away.listing"
    files = {f"a/{i}.png": listings.File(10, "a") for i in range(3)} | {"a/0.txt": listings.File(10, "a")}
    listing.write_bytes(listings.Listing("http://127.0.0.1:9", "http://127.0.0.1:9", files).to_bytes())
    assert thumbnails.of("folder", listing, list(files)) == {}
    assert excerpts.of("folder", listing, ["a/0.txt"]) == {}


@pytest.mark.slow
def test_dvc_sees_what_the_listing_says(server: Server, bucket: str, tmp_path: Path) -> None:
    """Real DVC: the bucket is asked by `graft data list` alone; `dvc repro` follows what that wrote."""
    tree = tiny_params()
    tree["data"] |= {"source": "folder", "path": "data/photos.listing"}
    project = make_project(tmp_path / "project", tree, per_class=6)
    server.put(project.folder / "data" / "drawings", bucket, "photos")
    project.run("graft", "data", "list", f"s3://{bucket}/photos", "--to", "data/photos.listing")
    project.commit()
    assert project.executed(project.run("dvc", "repro", "prepare").stdout) == ["prepare"]
    lock = yaml.safe_load((project.folder / "dvc.lock").read_text())
    assert lock["stages"]["prepare"]["deps"][0]["path"] == "data/photos.listing"
    server.storage().delete_object(Bucket=bucket, Key="photos/circle/003.png")
    other = encoded(drawing("circle", 4321))
    server.storage().put_object(Bucket=bucket, Key="photos/circle/004.png", Body=other)
    assert project.executed(project.run("dvc", "repro", "prepare").stdout) == []
    stale = project.run("dvc", "repro", "--force", "prepare", ok=False, GRAFT_CACHE_DIR=str(tmp_path / "empty"))
    assert stale.returncode != 0
    said = stale.stdout + stale.stderr
    assert f"graft: s3://{bucket}/photos/circle/00" in said
    assert "Traceback" not in said
    assert SECRET not in said
    listed = project.run("graft", "data", "list").stdout
    assert listed.splitlines()[1:] == ["1 gone: circle/003.png", "1 changed: circle/004.png"]
    assert project.executed(project.run("dvc", "repro", "prepare").stdout) == ["prepare"]
    catalogue = pd.read_csv(project.folder / "data" / "prepared" / "catalogue.csv").set_index("path")
    assert len(catalogue) == 17
    assert catalogue.loc["circle/004.png", "sha256"] == hashlib.sha256(other).hexdigest()


def test_a_project_starts_from_a_listing(photos: Path, bucket: str, tmp_path: Path) -> None:
    """Which git holds; an address says how to make one."""
    folder = tmp_path / "project"
    folder.mkdir()
    listing = written(tmp_path, f"s3://{bucket}/photos").rename(folder / "photos.listing")
    runner = CliRunner()
    done = runner.invoke(cli.app, ["init", str(folder), "--data", str(listing)])
    assert done.exit_code == 0, done.output
    assert "saw: 18 images of 3 classes" in done.output
    assert yaml.safe_load((folder / "params.yaml").read_text())["data"]["path"] == "photos.listing"
    assert "photos.listing" not in (folder / ".gitignore").read_text()
    address = runner.invoke(cli.app, ["init", str(tmp_path / "other"), "--data", f"s3://{bucket}/photos"])
    assert "`graft data list ADDRESS --to photos.listing` makes the listing" in str(address.exception)


def test_texts_in_a_bucket(bucket: str, server: Server, tmp_path: Path, prepare: Prepare) -> None:
    """Files of one class each, and rows of a table."""
    folder = tmp_path / "texts"
    for kind in ("short", "long"):
        (folder / kind).mkdir(parents=True)
        for i in range(40):
            (folder / kind / f"{i:02d}.txt").write_text(f"{kind} number {i * 7919} " * (9 if kind == "long" else 1))
    server.put(folder, bucket, "texts")
    there = prepare(written(tmp_path, f"s3://{bucket}/texts"), {"kind": "text"})
    here = prepare(folder, {"kind": "text"})
    assert there.catalogue.equals(here.catalogue)
    assert len(there.catalogue) == 80
    rows = pd.DataFrame([(f"text {i}, {i * i * 31}", "ab"[i % 2]) for i in range(30)], columns=["text", "label"])
    server.storage().put_object(Bucket=bucket, Key="table/all.csv", Body=rows.to_csv(index=False).encode())
    values = {"kind": "text", "manifest.file": "all.csv", "manifest.columns.text": "text"}
    found = prepare(written(tmp_path, f"s3://{bucket}/table"), values, "manifest").catalogue
    assert list(found["label"]) == list(rows["label"])
    assert found.loc[3, "sha256"] == hashlib.sha256(rows.loc[3, "text"].encode()).hexdigest()


@pytest.fixture
def moody() -> Iterator[tuple[str, list[str]]]:
    """(address, what is answered next) of a server: a number, `cut` for half an answer, or all of it."""
    moods: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            mood = moods.pop(0) if moods else "whole"
            self.send_response(int(mood) if mood.isdecimal() else 200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.send_header("ETag", f'"{hashlib.md5(CONTENT).hexdigest()}"')
            self.end_headers()
            if body:
                self.wfile.write(CONTENT[: len(CONTENT) // 2] if mood == "cut" else CONTENT)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", moods
    server.shutdown()
    thread.join()
    server.server_close()


CONTENT = b"an image, say" * 999


@pytest.mark.parametrize(
    ("answers", "fault"),
    [
        (["503", "429", "cut", "500"], None),
        (["503"] * 5, "a.png: could not be read. Got: .*503.* and the network there, and run it again"),
        (["403"], "a.png: could not be read. Got: .*403.*Give credentials that may read there"),
        (["404"], "a.png: is gone since it was listed"),
    ],
)
def test_a_server_in_a_mood_is_asked_again(
    answers: list[str], fault: str | None, moody: tuple[str, list[str]], tmp_path: Path, no_waiting: None
) -> None:
    address, moods = moody
    now, missing = inventory.take(f"{address}/{{a,b}}.png", lambda: None)
    assert (sorted(now.files), missing) == (["a.png", "b.png"], [])
    tree = Listed(now, tmp_path / "web.listing")
    moods += answers
    if fault is None:
        assert tree.read("a.png") == CONTENT
    else:
        with pytest.raises((DataError, StaleError), match=fault):
            tree.read("a.png")
    assert moods == []


def test_a_listing_is_not_made_of_a_server_in_a_mood(moody: tuple[str, list[str]], no_waiting: None) -> None:
    """What nobody could tell is not taken for a file that is not there."""
    address, moods = moody
    moods += ["503"] * 99
    with pytest.raises(DataError, match=r"could not be listed. Got: .*503"):
        inventory.take(f"{address}/{{a,b}}.png", lambda: None)
    moods.clear()
    moods += ["404"] * 4  # to HEAD and to GET
    with pytest.raises(DataError, match=r"must name files that are there. None of 2 is"):
        inventory.take(f"{address}/{{a,b}}.png", lambda: None)
