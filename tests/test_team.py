"""What one person has computed, everyone has: features come from a place that a team shares before any is computed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import s3fs

from bucket import SECRET, Server, served
from conftest import Pass, extracted_pass, few_layers
from graft.doctor import sharing
from graft.features import cache, compute, team
from graft.features.cache import FeatureCache, Part
from graft.runtime import mounts
from graft.runtime.reading import patience, storage
from graft.stages import extract
from graft.tracking import remote


@dataclass
class Person:
    """Somebody with a cache of their own. computed: forward passes that they waited for."""

    passed: Pass
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def extracts(self, cache_dir: Path, each: float | None = 0.5) -> tuple[int, list[str], dict[str, str]]:
        """(examples that were computed, what was said of the team's cache, sha256 of what was written)"""
        self.monkeypatch.setenv("GRAFT_CACHE_DIR", str(cache_dir))
        computed, original = [], compute.computed

        def counted(spec: Any, wanted: Any, tasks: Any, *rest: Any) -> Any:
            computed.extend(tasks)
            return original(spec, wanted, tasks, *rest)

        self.monkeypatch.setattr(compute, "computed", counted)
        self.capsys.readouterr()
        extract.run(self.passed.params, self.passed.paths, team.around(remote.opened, lambda: each))
        self.monkeypatch.setattr(compute, "computed", original)
        said = [line for line in self.capsys.readouterr().err.splitlines() if "GRAFT_CACHE_REMOTE" in line]
        folders = (self.passed.paths.features, self.passed.paths.activations)
        files = [file for folder in folders for file in sorted(folder.iterdir())]
        return len(computed), said, {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Pass:
    """Five drawings a class with a view of each, features and activations."""
    folder = tmp_path_factory.mktemp("pass")
    weights = few_layers(folder)
    return extracted_pass(folder, weights | {"extract.views": 1}, 5)


@pytest.fixture
def person(passed: Pass, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Person:
    return Person(passed, monkeypatch, capsys)


def test_what_one_has_computed_the_other_has(person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """15 images and a view of each, twice: as features and as activations; 30 forward passes of half a second."""
    place = tmp_path / "team"
    monkeypatch.setenv(team.VARIABLE, str(place))
    monkeypatch.setenv(team.PUSH_VARIABLE, "yes")
    n_computed, said, first = person.extracts(tmp_path / "a")
    assert n_computed == 15
    assert said[0] == f"GRAFT_CACHE_REMOTE: nothing of what is lacking here is at {place}"
    assert said[1].startswith("GRAFT_CACHE_REMOTE_PUSH: 60 values, ")
    assert said[1].endswith(f" MB, to {place}")
    n_computed, said, second = person.extracts(tmp_path / "b")
    assert (n_computed, second) == (0, first)
    (line,) = said
    assert line.startswith("GRAFT_CACHE_REMOTE: 60 values, ")
    assert line.endswith(f" MB, from {place}, which save 30 forward passes, about 15 s")
    assert person.extracts(tmp_path / "b") == (0, [], first), "nothing is lacking: nobody is asked"


def test_what_is_damaged_there_is_computed_here(
    person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "team"
    monkeypatch.setenv(team.VARIABLE, str(place))
    monkeypatch.setenv(team.PUSH_VARIABLE, "1")
    _, _, first = person.extracts(tmp_path / "a", each=None)
    packs = sorted(place.rglob("*.parquet"))
    assert len(packs) == 4
    for pack in packs:
        content = bytearray(pack.read_bytes())
        content[len(content) // 2] ^= 255
        pack.write_bytes(bytes(content))
    n_computed, said, second = person.extracts(tmp_path / "b")
    assert (n_computed, second) == (15, first)
    assert said[0].startswith("GRAFT_CACHE_REMOTE: nothing of what is lacking here")


InTurn = Callable[[str, list[str]], list[str]]
WHAT = ({"backbone": {"name": "Tiny"}, "of": "plain"}, {"backbone": {"name": "Tiny"}, "of": "views"})
PLANNED: Any = SimpleNamespace(outputs={"features": SimpleNamespace(keys=WHAT)}, views=1)
SHA256S = [f"{number:064x}" for number in range(8)]
VALUES = {sha256: np.full(3, number, np.float32) for number, sha256 in enumerate(SHA256S)}


@pytest.fixture
def in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str, list[str]], list[str]]:
    """(whose cache, which examples they compute) -> what is said; a stage without a network."""

    def run(name: str, computes: list[str]) -> list[str]:
        monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / name))
        capsys.readouterr()
        with team.around(remote.opened, lambda: 2.0)(PLANNED, SHA256S):
            FeatureCache(WHAT[0], Part((3,), "float32")).put([((one, 0), VALUES[one]) for one in computes])
        return capsys.readouterr().err.splitlines()

    return run


@pytest.mark.parametrize(("consent", "said"), [(None, 0), ("no", 0), ("perhaps", 1)])
def test_nothing_goes_there_without_consent(
    consent: str | None, said: int, in_turn: InTurn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "team"
    monkeypatch.setenv(team.VARIABLE, str(place))
    if consent is not None:
        monkeypatch.setenv(team.PUSH_VARIABLE, consent)
    lines = in_turn("a", SHA256S)
    assert [line for line in lines if "must be yes or no. Got 'perhaps'; taken for no" in line] == lines[1:]
    assert len(lines) == 1 + said
    assert list(place.rglob("*.parquet")) == []


@pytest.mark.parametrize("where", ["s3://away/graft", "gopher://x/y", "no-such-remote", "https://127.0.0.1:9/x"])
def test_a_place_that_cannot_be_used_is_a_line(
    where: str, in_turn: InTurn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage goes on, and does not ask twice."""
    monkeypatch.setattr(patience, "WAITS_SECONDS", ())
    monkeypatch.setattr(storage, "OPTIONS", {})
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv(team.VARIABLE, where)
    monkeypatch.setenv(team.PUSH_VARIABLE, "yes")
    storage._filesystem.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.chdir(tmp_path)
    try:
        (line,) = in_turn("a", SHA256S)
    finally:
        storage._filesystem.cache_clear()
        s3fs.S3FileSystem.clear_instance_cache()
    assert line.startswith(f"note: GRAFT_CACHE_REMOTE: {where} cannot be used (")
    assert line.endswith("); going on without")
    assert SECRET not in line


@pytest.fixture
def server() -> Iterator[Server]:
    with served() as server:
        yield server


def test_through_a_bucket_only_what_is_lacking_comes(
    server: Server, in_turn: InTurn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two people who have computed different examples have all of them after a pass each."""
    server.make("team")
    monkeypatch.setenv(team.VARIABLE, "s3://team/features of all")
    monkeypatch.setenv(team.PUSH_VARIABLE, "on")
    assert "5 values" in in_turn("a", SHA256S[:5])[-1]
    brought, given = in_turn("b", SHA256S[5:])
    assert "5 values" in brought
    assert "save 5 forward passes, about 10 s" in brought
    assert "3 values" in given
    (brought,) = in_turn("a", [])
    assert "3 values" in brought
    for name in ("a", "b"):
        monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / name))
        found = FeatureCache(WHAT[0], Part((3,), "float32")).get([(sha256, 0) for sha256 in SHA256S])
        assert [None if one is None else one.tolist() for one in found] == [one.tolist() for one in VALUES.values()]
    assert in_turn("b", []) == []


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_lmdb_on_a_network_disk_is_refused_by_name(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mounts, "_mounts", lambda: (("/", "ext4"), (str(tmp_path / "team"), kind)))
    place = tmp_path / "team" / "cache"
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(place))
    features = FeatureCache({"of": kind}, Part((3,), "float32"))
    features.put([(("0" * 64, 0), np.zeros(3, np.float32))])
    assert features.get([("0" * 64, 0)]) == [None]
    assert list(place.rglob("*.mdb")) == []
    said = capsys.readouterr().err
    assert f"Got a folder on {kind}, where LMDB damages what two machines write. Set GRAFT_CACHE_DIR to a" in said
    assert "to share features, GRAFT_CACHE_REMOTE to the folder on the network" in said
    (finding,) = sharing.rights(SimpleNamespace(root=tmp_path))  # type: ignore[arg-type]
    assert (finding.state, kind in finding.says) == ("warning", True)
    monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / "teams own"))
    assert mounts.kind_of(tmp_path / "teams own") == "ext4", "a name that begins alike is another folder"
    assert cache.FeatureCache({"of": kind}, Part((3,), "float32"))._database.usable
