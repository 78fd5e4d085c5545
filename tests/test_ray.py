"""What `prepare`, `extract` and `train` give on a Ray cluster: the same bytes as here, whatever dies on the way, and
one error where it ends."""

from __future__ import annotations

import functools
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml

from conftest import REPOSITORY, few_layers, params_of, paths_in, write_drawings
from graft.cluster import connection, pool
from graft.cluster import worker as of_cluster
from graft.cluster.pool import Pool
from graft.cluster.worker import Begun, Columns, Place, Worker
from graft.config.schema import RayParams
from graft.convex import statistics, system
from graft.errors import DataError, GraftError, ParamsError, StaleError, SurroundingsError
from graft.examples import catalogue, split
from graft.examples.checks import verdict_cache
from graft.examples.checks.runners.worker import Examination
from graft.examples.sources import SOURCES
from graft.features import compute, plan, store
from graft.features.runners import RUNNERS, local, worker
from graft.features.runners import ray as on_ray
from graft.features.runners.base import Job
from graft.inputs.batches import Read
from graft.models import heads
from graft.models.runners import base as of_head
from graft.models.runners.worker import Solving, made_with
from graft.runtime.computing import numerics
from graft.stages import extract
from graft.stages import prepare as stage

OWN = RayParams(address=None, actors=1, cpus=1, gpus=0.0)
"""One actor on a cluster of this machine's own: each that starts imports TensorFlow, which takes seconds."""

PER_CLASS = 8

SOURCES_HERE = os.pathsep.join(str(REPOSITORY / name) for name in ("src", "tests"))
"""PYTHONPATH of actors, which import what tests put in the place of graft's own."""


def spied(notes: str, asking: int, fatal: str, times: int, source: str, path: str) -> Read:
    """`extract`'s reader, which notes what processes other than `asking` read; `fatal` kills the first `times`."""
    inner = catalogue.reader(SOURCES[source], Path(path))

    def read(path: str, sha256: str) -> bytes:
        if os.getpid() != asking:
            with open(Path(notes, "read"), "a") as file:
                file.write(f"{path}\n")
            deaths = Path(notes, "deaths")
            if path == fatal and len(deaths.read_text() if deaths.exists() else "") < times:
                with open(deaths, "a") as file:
                    file.write("x")
                os.kill(os.getpid(), signal.SIGKILL)
            if Path(notes, "slow").exists():
                time.sleep(0.25)
        return inner(path, sha256)

    return read


class Extraction:
    """Runs `extract` on drawings, with a network of few layers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_drawings(folder / "images", PER_CLASS)
        given = {"data.source": "folder", "data.path": str(folder / "images"), "extract.views": 1}
        self.changes, self.paths = few_layers(folder) | given, paths_in(folder / "out")
        stage.run(params_of(self.changes), self.paths)
        self.every = catalogue.read(self.paths.catalogue)

    def run(self, runner: str, cache: str, first: int | None = None) -> dict[str, bytes]:
        """output/file -> its bytes. cache: a name. first: so many examples alone."""
        catalogue.Catalogue(self.every.used.iloc[:first]).write(self.paths.catalogue)
        os.environ["GRAFT_CACHE_DIR"] = str(self.folder / cache)
        extract.run(params_of(self.changes | {"extract.runner": runner}), self.paths)
        return self.written()

    def written(self) -> dict[str, bytes]:
        folders = (self.paths.features, self.paths.activations)
        return {f"{folder.name}/{file.name}": file.read_bytes() for folder in folders for file in folder.iterdir()}


@pytest.fixture(scope="module")
def extraction(tmp_path_factory: pytest.TempPathFactory) -> Extraction:
    return Extraction(tmp_path_factory.mktemp("drawings"))


@pytest.fixture(scope="module")
def expected(extraction: Extraction) -> dict[str, bytes]:
    """What a run in this process writes."""
    return extraction.run("local", "expected")


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[None]:
    """One for this file: a stage uses the Ray that runs already."""
    pytest.importorskip("ray")
    os.environ["PYTHONPATH"] = SOURCES_HERE
    with connection.connected("extract.runner", OWN) as n_actors:
        assert n_actors == 1
        yield


@pytest.fixture(scope="module")
def job(extraction: Extraction) -> Job:
    """What a runner is given for these drawings."""
    seen: list[Job] = []

    def kept(job: Job) -> Generator[compute.Results]:
        seen.append(job)
        yield from local.run(job)

    with mock.patch.dict(RUNNERS, {"local": kept}):
        extraction.run("local", "job")
    return seen[0]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker in this process finds TensorFlow started, which it can be once."""
    monkeypatch.setattr(worker, "start_tensorflow", lambda: None)


def working(work: Any, begun: Begun = lambda name: 1, machine: str | None = None) -> Worker:
    """In this process, for one on a machine."""
    return Worker(work, begun, Place(os.getcwd(), machine or os.uname().nodename, 1))


def computing(job: Job, begun: Begun = lambda name: 1, machine: str | None = None) -> Worker:
    return working(worker.Extraction(job.plan, job.wanted, job.open_reader), begun, machine)


def block(items: Sequence[Any]) -> Columns:
    return {of_cluster.BLOCK: np.array([0]), of_cluster.ITEMS: np.array([pickle.dumps(items)], object)}


def fault(answer: Columns) -> Exception:
    assert list(answer) == [of_cluster.ERROR]
    error: Exception = pickle.loads(answer[of_cluster.ERROR][0])
    return error


@pytest.mark.slow
@pytest.mark.parametrize("deaths", [0, 1])
def test_the_same_bytes_though_an_actor_dies_and_what_is_cached_is_not_sent(
    own_cluster: None,
    extraction: Extraction,
    expected: dict[str, bytes],
    deaths: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = f"other{deaths}"
    extraction.run("local", other, first=PER_CLASS)
    fatal = str(extraction.every.used["path"].iloc[-1])
    monkeypatch.setattr(extract, "_reader", functools.partial(spied, str(tmp_path), os.getpid(), fatal, deaths))
    capsys.readouterr()
    assert extraction.run("ray", other) == expected
    read = (tmp_path / "read").read_text().splitlines()
    assert set(read) == set(extraction.every.used["path"].iloc[PER_CLASS:])
    assert read.count(fatal) == 1 + deaths
    said = "".join(capsys.readouterr())
    again = "note: blocks that were worked on again, since actors died on them: "
    assert (again in said) == bool(deaths)
    assert f"extracting features and activations: {4 * PER_CLASS} images in" in said
    lines = [line for line in said.splitlines() if not line.startswith(("note: ", "extracting "))]
    assert lines[-1].startswith("Ray 2.")
    assert len(lines) == 4, f"Ray itself says something: {lines}"


@pytest.mark.slow
def test_what_a_user_can_mend_is_raised_as_graft_says_it(own_cluster: None, extraction: Extraction) -> None:
    gone = extraction.folder / "images" / str(extraction.every.used["path"].iloc[0])
    aside = gone.rename(extraction.folder / gone.name)
    with pytest.raises(StaleError, match=f"{gone.name}: must be readable, as it was for `prepare`"):
        extraction.run("ray", "gone")
    aside.rename(gone)


def test_a_worker_computes_what_is_computed_here(started: None, job: Job) -> None:
    expected = {key: one for keys, outputs in local.run(job) for key, *one in zip(keys, *outputs.values(), strict=True)}
    whole = computing(job)(block(job.tasks[:5]))
    singly = computing(job, begun=lambda name: 2)(block(job.tasks[:5]))
    keys = list(zip(whole[worker.SHA256].tolist(), whole[worker.VIEW].tolist(), strict=True))
    assert keys == [(task.sha256, view) for task in job.tasks[:5] for view in (0, 1)]
    for answer in (whole, singly):
        assert list(answer) == [worker.SHA256, worker.VIEW, *job.wanted]
        for i, key in enumerate(keys):
            for name, value in zip(job.wanted, expected[key], strict=True):
                assert answer[name][i].tobytes() == value.tobytes()


def test_an_example_on_which_three_processes_died_is_named(started: None, job: Job) -> None:
    times = {"block 0": 5, f"item {job.tasks[2].sha256}": 4}
    answer = computing(job, begun=lambda name: times.get(name, 1))(block(job.tasks[:5]))
    assert str(fault(answer)).startswith(f"{job.tasks[2].path}: must be an example that can be computed. Got: 3 proc")


@pytest.mark.parametrize("machine", [None, "another"])
def test_an_error_elsewhere_says_where(started: None, job: Job, machine: str | None) -> None:
    error = fault(computing(job, machine=machine)(block([replace(job.tasks[0], sha256="0" * 64)])))
    assert isinstance(error, StaleError)
    ending = f"That was on {os.uname().nodename}, a machine of the Ray cluster. data.path must lead to the same"
    assert (ending in str(error)) == (machine is not None)


def test_a_machine_with_other_libraries_computes_nothing(started: None, job: Job) -> None:
    def other(output: plan.Output) -> plan.Output:
        keys = [one | {"libraries": one["libraries"] | {"numpy": "1.0"}} for one in output.keys]
        return replace(output, keys=(keys[0], keys[1]))

    outputs = {name: other(output) for name, output in job.plan.outputs.items()}
    error = fault(computing(replace(job, plan=replace(job.plan, outputs=outputs)))(block(job.tasks[:1])))
    assert isinstance(error, SurroundingsError)
    assert f"Different: numpy must be 1.0, is {np.__version__}. Install the same there" in str(error)


def test_a_machine_that_is_set_otherwise_says_so(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    error = fault(computing(job, machine="another")(block(job.tasks[:1])))
    assert str(error).startswith("ONEDNN_MAX_CPU_ISA: must be AVX2 or unset for numerics: portable. Got 'SSE41'")
    assert "That was on" in str(error)


def test_blocks_hold_every_task_once_and_are_small_enough_for_all_to_share(job: Job) -> None:
    one, two = (Pool("extract.runner", OWN, n_actors) for n_actors in (1, 2))
    assert on_ray._block_views(job, two) == 3 * PER_CLASS * 2 / (pool.BLOCKS_EACH * 2)
    blocks = pool.in_blocks(job.tasks, 6, lambda task: len(task.views))
    assert [len(tasks) for tasks in blocks] == [3] * PER_CLASS
    assert [task for tasks in blocks for task in tasks] == list(job.tasks)
    part = plan.Part((2**20,), "float32")
    large = SimpleNamespace(part=part)
    outputs: Any = dict.fromkeys(job.wanted, large)
    few = on_ray._block_views(replace(job, plan=replace(job.plan, outputs=outputs)), one)
    assert few == on_ray.BLOCK_BYTES // (2 * part.n_bytes)


def test_without_ray_it_is_one_error_that_says_what_to_install(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        SurroundingsError, match=r"extract.runner: ray needs Ray .* pip install 'graft-transfer\[ray\]'"
    ):
        next(RUNNERS["ray"](job))


def test_nobody_else_imports_ray() -> None:
    script = "import sys, graft.stages.extract, graft.stages.train; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_the_documented_job_is_for_the_ray_that_is_locked() -> None:
    text = (REPOSITORY / "docs" / "scale.md").read_text()
    job = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    cluster_spec = job["spec"]["rayClusterSpec"]
    version = cluster_spec["rayVersion"]
    assert f"\nray=={version} " in (REPOSITORY / "requirements.lock").read_text()
    assert f"FROM rayproject/ray:{version}-py311" in text
    pods = [cluster_spec["headGroupSpec"], *cluster_spec["workerGroupSpecs"]]
    for pod in (one["template"]["spec"] for one in pods):
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for one in pod["containers"] for mount in one["volumeMounts"]} == volumes


def test_gpus_want_an_engine_that_uses_them(job: Job) -> None:
    with pytest.raises(SurroundingsError, match=r"ray.gpus: above 0, .* Got the openvino engine"):
        next(RUNNERS["ray"](replace(job, cluster=OWN.model_copy(update={"gpus": 1.0}))))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (None, "extract.runner: Ray must be able to start on this machine. Got: no room. Set extract.runner: local."),
        ("host:6379", "ray.address: must be the address of a Ray cluster .* Got 'host:6379': no room."),
    ],
)
def test_a_cluster_that_is_not_there(address: str | None, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(*_: object, **__: object) -> None:
        raise ConnectionError("no\nroom")

    absent: Any = SimpleNamespace(init=init, is_initialized=lambda: False)
    monkeypatch.setattr(connection, "library", lambda key: absent)
    monkeypatch.delenv(connection.OF_A_JOB, raising=False)
    given = OWN.model_copy(update={"address": address})
    with pytest.raises(SurroundingsError, match=message), connection.connected("extract.runner", given):
        pass


@pytest.mark.parametrize(("cpus", "actors"), [(1, 4), (3, 1), (8, 1)])
def test_a_ray_of_this_machines_own_is_as_large_as_its_actors_and_one_more_cpu(
    cpus: int, actors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def init(address: str, **more: Any) -> None:
        asked.update(more, address=address)

    def nodes() -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": float(asked["num_cpus"])}}, {"Alive": False, "Resources": {}}]

    own: Any = SimpleNamespace(
        init=init, nodes=nodes, is_initialized=lambda: bool(asked), shutdown=asked.clear, __version__="2"
    )
    monkeypatch.setattr(connection, "library", lambda key: own)
    monkeypatch.delenv(connection.OF_A_JOB, raising=False)
    monkeypatch.setenv("GRAFT_THREADS", "4")
    several = OWN.model_copy(update={"cpus": cpus, "actors": None})
    with connection.connected("extract.runner", several) as n_actors:
        assert n_actors == actors
        assert (asked["address"], asked["num_cpus"]) == ("local", actors * cpus + 1)
    assert not asked, "ended"


def test_actors_are_as_many_as_fit(capsys: pytest.CaptureFixture[str]) -> None:
    machines = [{"CPU": 8.0, "GPU": 1.0}, {"CPU": 3.0}]
    every = OWN.model_copy(update={"actors": None})
    assert connection._actors(every, machines) == 11
    assert connection._actors(every.model_copy(update={"cpus": 2}), machines) == 5
    assert connection._actors(every.model_copy(update={"gpus": 0.5}), machines) == 2
    assert connection._actors(OWN, machines) == 1
    assert capsys.readouterr().err == ""
    assert connection._actors(OWN.model_copy(update={"actors": 20}), machines) == 20
    assert "of 20 actors (ray.actors), 11 fit" in capsys.readouterr().err
    with pytest.raises(SurroundingsError, match=r"an actor of 16 CPUs .* with 8 CPUs and 1 GPUs, 3 CPUs"):
        connection._actors(OWN.model_copy(update={"cpus": 16}), machines)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"ray.address": "ray://host:10001"},
            "ray.address: must be auto, or host:port .* submit graft",
        ),
        ({"ray.gpus": 1.0, "extract.engine": "openvino"}, "ray.gpus: must be 0.0 for extract.engine"),
        ({"extract.runner": "spark"}, "extract.runner: must be one of local, ray. Got 'spark'"),
        ({"ray.cpus": 0}, "ray.cpus: must be greater than or equal to 1. Got 0."),
        (
            {"data.runner": "ray", "data.kind": "text", "data.source": "folder"},
            "data.runner: must be local for data.kind: text; .* Got 'ray'",
        ),
        (
            {"train.runner": "ray"},
            "train.runner: must be local for train.head: linear; ridge and taps alone .* Got 'ray'",
        ),
    ],
)
def test_params_that_no_cluster_has(params_with: Callable[..., Path], changes: dict[str, Any], message: str) -> None:
    from graft.config.load import load

    with pytest.raises(ParamsError, match=message):
        load(params_with(changes))


@pytest.mark.slow
def test_an_image_that_kills_every_actor_is_named(
    own_cluster: None, extraction: Extraction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fatal = str(extraction.every.used["path"].iloc[3])
    monkeypatch.setattr(extract, "_reader", functools.partial(spied, str(tmp_path), os.getpid(), fatal, 99))
    with pytest.raises(
        DataError, match=f"{fatal}: must be an example that can be computed. Got: 3 processes that died"
    ):
        extraction.run("ray", "killing")
    assert (tmp_path / "deaths").read_text() == "x" * 4, "once with all of its block, three times alone"


SCRIPT = """\
import functools, os, pathlib, test_ray
from conftest import params_of, paths_in
from graft.stages import extract
extract._reader = functools.partial(test_ray.spied, {notes!r}, os.getpid(), "", 0)
os.environ["GRAFT_CACHE_DIR"] = {cache!r}  # after conftest, which has one of its own
extract.run(params_of({changes!r}), paths_in(pathlib.Path({out!r})))
"""


@pytest.mark.slow
def test_a_killed_driver_leaves_nobody_behind_and_goes_on_where_it_was(
    extraction: Extraction, expected: dict[str, bytes], tmp_path: Path
) -> None:
    """With a Ray of its own, whose processes end with it; no image whose values were kept is computed again."""
    pytest.importorskip("ray")
    notes, n_images = tmp_path / "read", len(extraction.every.used)
    (tmp_path / "slow").touch()
    changes = extraction.changes | {"extract.runner": "ray", "ray.actors": 1}
    script = SCRIPT.format(
        notes=str(tmp_path), changes=changes, out=str(extraction.folder / "out"), cache=str(tmp_path / "cache")
    )
    command, environment = [sys.executable, "-c", script], os.environ | {"PYTHONPATH": SOURCES_HERE}
    driver = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while (len(notes.read_text().splitlines()) if notes.exists() else 0) < n_images * 3 // 4:
        assert driver.poll() is None
        time.sleep(0.05)
    left = psutil.Process(driver.pid).children(recursive=True)
    assert left
    driver.kill()
    driver.wait()
    notes.unlink()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert 0 < len(notes.read_text().splitlines()) < n_images
    assert extraction.written() == expected
    _, alive = psutil.wait_procs(left, timeout=120)  # Ray's own agents look for their cluster for a minute
    assert not alive


@dataclass(frozen=True)
class Waiting:
    """Work whose items are seconds."""

    errors = (GraftError,)
    shared = ""

    def begin(self) -> Callable[[Sequence[float]], Columns]:
        def waited(items: Sequence[float]) -> Columns:
            for seconds in items:
                time.sleep(seconds)
            return {"seconds": np.array(items)}

        return waited

    def name(self, item: float) -> str:
        return str(item)


@pytest.mark.slow
def test_answers_come_in_the_order_of_the_blocks_where_that_is_asked_for(own_cluster: None) -> None:
    """Two actors, of which one takes longer for its first block than the other for all the rest."""
    work: Any = Waiting()
    seconds = [2.0, *(number / 100 for number in range(12))]
    answers = Pool("train.runner", OWN, 2).answers(work, [[one] for one in seconds], ordered=True)
    assert [float(answer["seconds"][0]) for answer in answers] == seconds


@dataclass(frozen=True)
class Spied:
    """Work of graft's, which notes the items that it is done on; on `fatal`, the first `times` processes die."""

    work: Any
    notes: str
    fatal: str
    times: int

    @property
    def errors(self) -> Any:
        return self.work.errors

    @property
    def shared(self) -> Any:
        return self.work.shared

    def name(self, item: Any) -> Any:
        return self.work.name(item)

    def died(self, item: Any) -> Any:
        return self.work.died(item)

    def begin(self) -> Callable[[Sequence[Any]], Columns]:
        do, deaths = self.work.begin(), Path(self.notes, "deaths")

        def noted(items: Sequence[Any]) -> Columns:
            for name in map(self.name, items):
                with open(Path(self.notes, "done"), "a") as file:
                    file.write(f"{name}\n")
                if name == self.fatal and len(deaths.read_text() if deaths.exists() else "") < self.times:
                    with open(deaths, "a") as file:
                        file.write("x")
                    os.kill(os.getpid(), signal.SIGKILL)
            columns: Columns = do(items)
            return columns

        return noted


def spy(monkeypatch: pytest.MonkeyPatch, notes: Path, fatal: str) -> None:
    """One actor dies on `fatal`; what actors do is noted."""
    answers = Pool.answers

    def spied(self: Pool, work: Any, *rest: Any, **more: Any) -> Iterator[Columns]:
        return answers(self, Spied(work, str(notes), fatal, 1), *rest, **more)

    monkeypatch.setattr(Pool, "answers", spied)


@pytest.mark.long
def test_images_are_examined_elsewhere_once_though_an_actor_dies(
    own_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("graft.runtime.cache.SETTLED_SECONDS", -1.0)  # stamps count at once
    root = tmp_path / "images"
    write_drawings(root, 4)
    (root / "circle" / "broken.png").write_bytes(b"broken")
    (root / "circle" / "copy.jpg").write_bytes((root / "circle" / "000.png").read_bytes())
    spy(monkeypatch, tmp_path, "cross/002.png")

    def prepared(runner: str, cache: str) -> dict[str, bytes]:
        monkeypatch.setenv("GRAFT_CACHE_DIR", str(tmp_path / cache))
        changes = {"data.source": "folder", "data.path": str(root), "data.max_bad_fraction": 1.0, "data.runner": runner}
        paths = paths_in(tmp_path / "out")
        stage.run(params_of(changes), paths)
        return {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}

    expected = prepared("local", "here")
    assert len(expected) == 5
    assert prepared("ray", "there") == expected
    done = (tmp_path / "done").read_text().splitlines()
    every = [path.relative_to(root).as_posix() for path in root.rglob("*.*")]
    assert set(done) == set(every)
    assert done.count("cross/002.png") == 2
    assert "note: blocks that were worked on again, since actors died on them: 1" in capsys.readouterr().err
    assert prepared("ray", "there") == expected
    said = capsys.readouterr().err
    assert f"{len(every)} images have not changed" in said
    assert "Ray" not in said, "nothing is sent, and no cluster asked for"


def made_up(folder: Path, n: int) -> Any:
    """What `train` reads, of n examples with a feature that tells their class and seven that do not."""
    paths, classes = paths_in(folder), np.arange(n) % 3
    numbers = [f"{number:064d}" for number in range(n)]
    used = {"path": numbers, "sha256": numbers, "label": [f"class{number}" for number in classes], "state": "used"}
    table = pd.DataFrame(used | {"bytes": 1, "width": 8, "height": 8, "reason": "", "detail": ""})
    catalogue.Catalogue(table).write(paths.catalogue)
    sides = np.where(np.arange(n) % 50 == 0, "validation", np.where(np.arange(n) % 50 == 1, "test", "train"))
    split.write(table.assign(split=sides)[["path", "label", "split"]], paths.split)
    features = np.random.default_rng(0).normal(size=(n, 1, 8)).astype(np.float32)
    features[:, 0, 0] += classes
    paths.features.mkdir()
    np.save(paths.features / store.ARRAY, features)
    digest = store.examples_digest(numbers)
    store.write_meta(paths.features, store.Meta({}, {"pooling": "avg"}, features.shape, "float32", digest))
    return paths


N_MADE_UP = 60_000
"""Two runs of blocks, the second not whole, of those that train."""

SOLVING = """\
import pathlib, pytest, test_ray
from conftest import params_of
from graft.convex import ridge
from graft.runtime.computing.tensorflow import start_tensorflow
from graft.stages import train
here = pathlib.Path({folder!r})
start_tensorflow()
paths, solve = test_ray.made_up(here, test_ray.N_MADE_UP), ridge.solve
def kept(*given):
    solution = solve(*given)
    (here / f"{{runner}}.float64").write_bytes(solution.kernel.tobytes() + solution.bias.tobytes())
    return solution
ridge.solve = kept
for runner in ("local", "ray"):
    train.run(params_of({changes!r} | {{"train.runner": runner}}), paths, lambda epoch, values: None)
    paths.head.rename(here / runner)
    test_ray.spy(pytest.MonkeyPatch(), here, {fatal!r})
"""


@pytest.mark.long
def test_a_head_is_solved_elsewhere_though_an_actor_dies(own_cluster: None, tmp_path: Path) -> None:
    """By a process that has joined the cluster, whose own processes know nothing of `numerics`."""
    import ray

    address = ray.get_runtime_context().gcs_address
    changes = {"train.head": "ridge", "ray.address": address, "ray.actors": 1}
    fatal = str(slice(32_768, 57_600))
    script = SOLVING.format(folder=str(tmp_path), changes=changes, fatal=fatal)
    environment = os.environ | {"PYTHONPATH": SOURCES_HERE} | numerics.settings("portable")
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("{}", "{}.float64"):
        assert (tmp_path / name.format("ray")).read_bytes() == (tmp_path / name.format("local")).read_bytes()
    worked = (tmp_path / "done").read_text().splitlines()
    assert sorted(worked) == sorted(2 * [str(slice(0, 32_768)), fatal] + [fatal]), "two passes, one run again"
    assert done.stderr.count("note: blocks that were worked on again, since actors died on them: 1") == 1


@pytest.fixture
def solving(tmp_path: Path) -> Solving:
    """What a process is told that sums features of a few examples."""
    paths = made_up(tmp_path, 30)
    meta, _ = store.read_meta(paths.features)
    build = functools.partial(heads.build, "ridge", {"pooling": "avg"}, (8,), 3, 0)
    job = of_head.Job(functools.partial(store.opened, paths.features, meta), build, "native")
    rows = np.arange(30)
    summed = system._summed
    return Solving(job, rows, rows % 3, np.ones(30), 3, summed, statistics.merged, made_with("native"))


def test_who_solves_with_other_libraries_or_without_the_features_is_told(solving: Solving, tmp_path: Path) -> None:
    folder, runs = paths_in(tmp_path).features, block([slice(0, 30)])
    answer = working(solving)(runs)
    assert pickle.loads(answer["answer"][0]).total == 30
    wanted = made_with("native") | {"products": "openblas 0.1 Zen", "libraries": {"numpy": "1.0"}}
    error = str(fault(working(replace(solving, made_with=wanted))(runs)))
    assert f"numpy must be 1.0, is {np.__version__}; products must be openblas 0.1 Zen, is " in error
    meta = store.Meta({}, {}, (30, 1, 8), "float32", "")
    moved = replace(solving, job=replace(solving.job, open_features=functools.partial(store.opened, folder, meta)))
    error = str(fault(working(moved, machine="another")(runs)))
    assert f"{folder}: must be the array that was opened where graft was started. Got another one. That was on" in error
    assert error.endswith("The project's folder must lead to the same data/features on each of them.")
    (folder / store.META).unlink()
    assert "must hold what `graft extract` writes" in str(fault(working(moved)(runs)))


def test_who_examines_with_other_libraries_or_dies_of_an_image_is_told(tmp_path: Path) -> None:
    write_drawings(tmp_path, 1)
    work = Examination("folder", tmp_path, 10**6, verdict_cache.rules())
    items = block(list(enumerate(["circle/000.png", "cross/000.png"])))
    other = working(replace(work, rules=verdict_cache.rules() | {"Pillow": "1.0"}))
    assert "Different: Pillow must be 1.0, is " in str(fault(other(items)))
    times = {"block 0": 2, "item cross/000.png": 4}
    error = fault(working(work, begun=lambda name: times.get(name, 1))(items))
    assert isinstance(error, DataError)
    assert str(error).startswith(f"{tmp_path}/cross/000.png: must be an image that can be examined. Got: 3 processes")


def test_a_fault_of_the_cluster_itself_is_one_error() -> None:
    error = pool._wrapped("data.runner", RuntimeError("a long story\n\nModuleNotFoundError: No module named 'graft'\n"))
    assert isinstance(error, GraftError)
    assert str(error).startswith("data.runner: ")
    assert "the same graft installed on every machine" in str(error)
    assert "Got: ModuleNotFoundError: No module named 'graft'." in str(error)
