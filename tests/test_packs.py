"""`graft cache push` and `pull`: features travel through DVC's remote by content, whole or not at all."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import s3fs
import yaml
from typer.testing import CliRunner

from bucket import SECRET, served
from conftest import REPOSITORY
from graft import cli
from graft.errors import StaleError, SurroundingsError
from graft.features import cache, packs
from graft.features.cache import FeatureCache, Part

PART = Part((3,), "float32")
WHAT = {"backbone": {"name": "Tiny"}, "engine": "none"}
SHA256 = [f"{number:064x}" for number in range(1, 6)]
KEYS = [(sha256, view) for sha256 in SHA256 for view in (0, 1)]
VALUES = [np.arange(3, dtype=np.float32) + 10 * number for number in range(len(KEYS))]


def features() -> FeatureCache:
    return FeatureCache(WHAT, PART)


def put(some: slice = slice(None)) -> None:
    features().put(list(zip(KEYS[some], VALUES[some], strict=True)))


def found() -> list[list[float] | None]:
    return [None if value is None else value.tolist() for value in features().get(KEYS)]


def known(some: slice = slice(None)) -> list[list[float] | None]:
    return [value.tolist() if key in KEYS[some] else None for key, value in zip(KEYS, VALUES, strict=True)]


def catalogue(sha256s: list[str]) -> None:
    """Of a project that has these images."""
    paths = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["vars"][0]["paths"]
    Path("dvc.yaml").write_text(yaml.safe_dump({"vars": [{"paths": paths}]}))
    Path(paths["catalogue"]).parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{number}.png,{sha256},1,8,8,a,used,," for number, sha256 in enumerate(sha256s)]
    header = "path,sha256,bytes,width,height,label,state,reason,detail"
    Path(paths["catalogue"]).write_text("\n".join([header, *rows, ""]))


def graft(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, ["cache", *arguments])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One with a folder as its remote; its cache is named `first`."""
    folder = tmp_path / "project"
    folder.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").write_text("[core]\n    remote = team\n['remote \"team\"']\n    url = ../../remote\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / "first"))
    catalogue(SHA256)
    return folder


def elsewhere(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As somebody else, whose cache is empty."""
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(Path.cwd().parent / name))


def in_remote() -> list[Path]:
    return sorted((Path.cwd().parent / "remote" / "graft").rglob("*.parquet"))


def test_features_travel_and_are_pushed_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(slice(0, 6))
    assert graft("push").stdout.endswith("6 values in all to team\n")
    put()
    assert "4 values of Tiny" in graft("push").stdout, "what is there already stays at home"
    assert graft("push").stdout == "nothing to move to team\n"
    assert len(in_remote()) == 2
    elsewhere(monkeypatch, "second")
    put(slice(4, 7))
    assert "7 values of Tiny" in graft("pull").stdout
    assert found() == known()
    assert graft("pull").stdout == "nothing to move from team\n"
    assert cache.verify() == (10, 0)
    elsewhere(monkeypatch, "third")
    assert graft("pull", "--remote", "team").exit_code == 0
    (held,) = cache.held()
    assert (held.backbone, held.what) == ("Tiny", WHAT)


def test_only_what_the_project_has_comes(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put()
    graft("push")
    elsewhere(monkeypatch, "second")
    catalogue(SHA256[:2])
    assert graft("pull").stdout.endswith("4 values in all from team\n")
    assert found() == known(slice(0, 4))


def test_only_what_the_project_has_goes(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The features of other projects are none of this remote's business."""
    put()
    Path("dvc.yaml").rename("away.yaml")
    done = graft("push")
    assert isinstance(done.exception, StaleError)
    assert not in_remote()
    catalogue(SHA256[3:])
    assert graft("push").stdout.endswith("4 values in all to team\n")
    elsewhere(monkeypatch, "second")
    Path("dvc.yaml").unlink()
    graft("pull")
    assert found() == [value if number >= 6 else None for number, value in enumerate(known())]


def test_packs_are_of_a_size_that_travels(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "PACK_BYTES", 3 * PART.n_bytes)
    put()
    graft("push")
    assert len(in_remote()) == 4, "three, three, three and one"
    elsewhere(monkeypatch, "second")
    graft("pull")
    assert found() == known()


def test_what_is_damaged_is_left_out(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack that was cut short, one with other values than its name says, and a description of something else."""
    monkeypatch.setattr(packs, "PACK_BYTES", 4 * PART.n_bytes)
    put()
    graft("push")
    cut, changed, whole = in_remote()
    cut.write_bytes(cut.read_bytes()[:-20])
    shutil.copy(whole, changed)
    elsewhere(monkeypatch, "second")
    done = graft("pull")
    assert done.exit_code == 0
    assert f"{cut.name} in the remote is damaged; left out" in done.stderr
    kept = set(pq.read_table(whole, columns=["key"])["key"].to_pylist())
    here = [bytes.fromhex(sha256) + view.to_bytes(4) in kept for sha256, view in KEYS]
    assert found() == [value if there else None for value, there in zip(known(), here, strict=True)]
    (whole.parent / "what.json").write_text("{}")
    elsewhere(monkeypatch, "third")
    done = graft("pull")
    assert "is not what its name says; left out" in done.stderr
    assert done.stdout == "nothing to move from team\n"
    assert cache.held() == []


def test_what_is_no_remote_is_one_sentence(project: Path) -> None:
    done = graft("push", "--remote", "nowhere")
    assert isinstance(done.exception, SurroundingsError)
    assert str(done.exception).startswith(
        "--remote: must be a remote of DVC's that can be used, a bucket or a folder (nowhere). Got: "
    )


def test_features_travel_through_a_bucket(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole or not at all, by the credentials that DVC has for it, which are not said."""
    with served() as server:
        for name in server.environment:
            monkeypatch.delenv(name, raising=False)
        server.make("team")
        (project / ".dvc" / "config").write_text(
            "[core]\n    remote = team\n['remote \"team\"']\n    url = s3://team/graft\n"
            f"    endpointurl = {server.endpoint}\n    access_key_id = somebody\n    secret_access_key = {SECRET}\n"
        )
        put(slice(0, 6))
        assert graft("push").stdout.endswith("6 values in all to team\n")
        put()
        assert "4 values of Tiny" in graft("push").stdout
        assert graft("push").stdout == "nothing to move to team\n"
        elsewhere(monkeypatch, "second")
        assert "10 values of Tiny" in graft("pull").stdout
        assert found() == known()
        keys = [one["Key"] for one in server.storage().list_objects_v2(Bucket="team")["Contents"]]
        (pack, *_) = [key for key in keys if key.endswith(".parquet")]
        server.storage().put_object(Bucket="team", Key=pack, Body=b"no parquet")
        elsewhere(monkeypatch, "third")
        done = graft("pull")
        assert "in the remote is damaged; left out" in done.stderr
        assert done.exit_code == 0
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    away = graft("pull")
    assert isinstance(away.exception, SurroundingsError)
    assert SECRET not in str(away.exception)
