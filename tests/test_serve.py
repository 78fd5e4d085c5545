"""`graft serve`: real requests to a real server; what is wrong with one is a sentence, and the next is answered."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
import uvicorn
from PIL import Image

from conftest import CLASSES, drawing, encoded
from graft.backbones import build, table
from graft.errors import DataError, StaleError
from graft.features.engines.base import Forward
from graft.models import assemble, card, heads
from graft.prediction import engine
from graft.prediction import heads as heads_of
from graft.server import app, images
from graft.server.limits import Limits
from graft.server.work import Work
from graft.serving import pyfunc
from graft.serving.classifier import Classifier

SIDE = 32
LIMITS = Limits(body_bytes=200_000, examples=5, waiting=4, seconds=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says something, and its card."""
    folder = tmp_path_factory.mktemp("models")
    loaded = build.build("MobileNetV2", 0.35, SIDE, "bundled", 0)
    head = heads.build("linear", {"pooling": "avg", "dropout": 0.0}, (1280,), len(CLASSES), 3)
    network = assemble.classifier(loaded, "avg", head)
    made_with = {
        "input": {"kind": "image", "side": SIDE, "resize": "stretch", "interpolation": "bilinear"},
        "preprocessing": loaded.row.preprocessing,
        "alpha": 0.35,
        "weights_sha256": loaded.weights_sha256,
        "backbone": "MobileNetV2",
    }
    network.save(folder / "model.keras")
    card.write(card.make(CLASSES, made_with, None, build.digest(network), {}, None), folder / "card.json")
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Classifier:
    return Classifier.read(folder)


@pytest.fixture(scope="module")
def forward(model: Classifier) -> Forward:
    return engine.forward(model)


class Served:
    """A server on a thread of this process."""

    def __init__(self, application: Any) -> None:
        self.server = uvicorn.Server(uvicorn.Config(application, port=0, log_level="warning", lifespan="off"))
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"

    def post(
        self, path: str = "/predict", body: bytes = b"", kind: str = "image/png", **query: Any
    ) -> requests.Response:
        return requests.post(self.address + path, body, headers={"Content-Type": kind}, params=query, timeout=30)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()


def heat_map(image: Any) -> dict[str, Any]:
    return {"label": "circle", "jpeg": "a picture"}


@pytest.fixture(scope="module")
def served(model: Classifier, forward: Forward) -> Iterator[Served]:
    server = Served(app.made(Work(model, forward, LIMITS), heat_map))
    yield server
    server.stop()


@pytest.fixture
def serving() -> Iterator[Callable[[Any], Served]]:
    """Serves an application until the test is over."""
    begun: list[Served] = []

    def start(application: Any) -> Served:
        begun.append(Served(application))
        return begun[-1]

    yield start
    for one in begun:
        one.stop()


FILES = [encoded(drawing(kind, seed), "JPEG") for seed, kind in enumerate(CLASSES)]
TEXTS = [base64.b64encode(file).decode() for file in FILES]


def predictions(response: requests.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    return list(response.json()["predictions"])


def said(model: Classifier, images: Any, top_k: int = 5) -> list[dict[str, Any]]:
    return list(model.predict(images, top_k).to_dict("records"))


def same(got: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert [one["top_labels"] for one in got] == [one["top_labels"] for one in expected]
    assert [one["label"] for one in got] == [one["label"] for one in expected]
    np.testing.assert_allclose(
        [one["top_probabilities"] for one in got], [one["top_probabilities"] for one in expected], atol=1e-5
    )
    assert [one["probability"] for one in got] == [one["top_probabilities"][0] for one in got]


def test_the_bytes_of_a_file(served: Served, model: Classifier) -> None:
    for file in FILES:
        same(predictions(served.post(body=file, top_k=2)), said(model, file, 2))


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": TEXTS},
        {"inputs": {"image": TEXTS}},
        {"instances": [{"image": text} for text in TEXTS]},
        {"dataframe_split": {"columns": ["image"], "data": [[text] for text in TEXTS]}},
        {"dataframe_records": [{"any name": text} for text in TEXTS]},
    ],
    ids=lambda body: next(iter(body)),
)
def test_every_form_of_mlflow(body: dict[str, Any], served: Served, model: Classifier) -> None:
    """What MLflow's own server answers, from the same code."""
    import pandas as pd

    response = served.post("/invocations", json.dumps(body | {"params": {"top_k": 2}}).encode(), "application/json")
    mlflows = pyfunc.Served(model).predict(pd.DataFrame({"image": FILES}), {"top_k": 2})
    same(predictions(response), list(mlflows.to_dict("records")))


def test_arrays(served: Served, model: Classifier) -> None:
    pixels = np.stack([drawing(kind, 5) for kind in CLASSES])
    out = io.BytesIO()
    np.save(out, pixels)
    same(predictions(served.post(body=out.getvalue(), kind="application/x-npy; x=y")), said(model, pixels))
    body = json.dumps({"inputs": [pixels[0].tolist()]}).encode()
    same(predictions(served.post(body=body, kind="application/json")), said(model, pixels[0]))


JSON = "application/json"


@pytest.mark.parametrize(
    ("body", "kind", "status", "message"),
    [
        (b"", "image/png", 422, "the body must be the bytes of an image file; or JSON"),
        (b"not an image", "image/png", 422, "image 1: must be a whole image file. Got: not an image"),
        (FILES[0][:400], "image/jpeg", 422, "image 1: must be a whole image file. Got: truncated"),
        (b"{", JSON, 422, "the body must be JSON"),
        (b"[" * 100_000, JSON, 422, "the body must be JSON"),
        (b"[1]", JSON, 422, "a JSON body must have one of dataframe_split, dataframe_records, instances, inputs."),
        (b'{"inputs": ["?"]}', JSON, 422, "image 1: a text must be base64 of an image file. Got '?'"),
        (b'{"inputs": ["/etc/passwd"]}', JSON, 422, "image 1: "),
        (b'{"inputs": []}', JSON, 422, "a request must have an image. Got an empty list."),
        (b'{"inputs": [3]}', JSON, 422, "image 1: must be base64 or nested lists of pixels. Got 3."),
        (b'{"inputs": [[[1, 2], [3]]]}', JSON, 422, "image 1: lists must be (height, width, 3) numbers"),
        (b'{"inputs": [[[[1, 2, 300]]]]}', JSON, 422, "image 1: pixels must lie in [0, 255]"),
        (json.dumps({"instances": [TEXTS[0], "QUJD"]}).encode(), JSON, 422, "image 2: must be a whole image file"),
        (json.dumps({"instances": TEXTS * 2}).encode(), JSON, 422, "a request must have at most 5 images"),
        (b'{"inputs": ["QUJD"], "params": {"top_k": 0}}', JSON, 422, "top_k: must be a whole number above 0. Got 0."),
        (b"x", "application/x-npy", 422, "the body must be an array as `numpy.save` writes it"),
        (bytes(200_001), "image/png", 413, "the body must be at most 200000 bytes"),
    ],
)
def test_what_is_wrong_is_one_sentence(body: bytes, kind: str, status: int, message: str, served: Served) -> None:
    response = served.post(body=body, kind=kind)
    assert response.status_code == status
    assert response.json()["error"].startswith(message)
    assert predictions(served.post(body=FILES[0]))


def test_a_body_without_a_length_is_not_held_beyond_the_limit(served: Served) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(30):
            yield bytes(10_000)

    response = requests.post(f"{served.address}/predict", pieces(), timeout=30)
    assert response.status_code == 413


def test_a_bomb_is_not_decoded(served: Served) -> None:
    wide = bytearray(encoded(drawing("circle", 3), "BMP"))
    wide[18:26] = (60_000).to_bytes(4, "little") * 2
    response = served.post(body=bytes(wide))
    assert (response.status_code, "too large: 60000 x 60000 pixels" in response.json()["error"]) == (422, True)


def test_what_a_watcher_reads(served: Served, model: Classifier) -> None:
    assert requests.get(f"{served.address}/health", timeout=9).json() == {"status": "ok"}
    assert requests.get(f"{served.address}/card", timeout=9).json() == json.loads(json.dumps(model.card))
    assert served.post(body=FILES[0]).json()["model"] == model.card["weights_sha256"]
    assert requests.get(f"{served.address}/", timeout=9).json()["classes"] == list(CLASSES)

    def counted() -> float:
        text = requests.get(f"{served.address}/metrics", timeout=9).text
        return float(next(line for line in text.splitlines() if line.startswith("graft_images_total")).split()[1])

    before = counted()
    served.post(body=json.dumps({"inputs": TEXTS}).encode(), kind=JSON)
    served.post(body=b"no image")
    assert counted() == before + len(TEXTS)
    text = requests.get(f"{served.address}/metrics", timeout=9).text
    assert 'graft_requests_total{path="/predict",status="422"}' in text
    assert 'graft_request_seconds_bucket{le="0.1",path="/predict"}' in text


def test_the_page_is_escaped(model: Classifier, forward: Forward, serving: Callable[[Any], Served]) -> None:
    hostile = Classifier(model.network, model.card | {"classes": ["<script>alert(1)</script>", "b", "c"]})
    server = serving(app.made(Work(hostile, forward, LIMITS)))
    page = requests.get(server.address, headers={"Accept": "text/html"}, timeout=9).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    response = server.post("/explain", FILES[0])
    assert response.status_code == 404


def test_what_a_label_came_from(served: Served) -> None:
    answer = served.post("/explain", FILES[0])
    assert answer.json() == {"label": "circle", "jpeg": "a picture"}
    assert served.post("/explain", json.dumps({"inputs": TEXTS[:2]}).encode(), JSON).status_code == 422


def test_a_heat_map_is_a_picture_of_the_image(model: Classifier, forward: Forward) -> None:
    """Of a network that has one place at this size there is none; else it is as large as the input."""
    assert images.explained(model, forward) is None
    loaded = build.build("MobileNetV2", 0.35, 96, "bundled", 0)
    head = heads.build("linear", {"pooling": "avg", "dropout": 0.0}, (1280,), len(CLASSES), 3)
    side = model.card | {"input": model.card["input"] | {"side": 96}}
    wider = Classifier(assemble.classifier(loaded, "avg", head), side)
    explain = images.explained(wider, forward)
    assert explain is not None
    answer = explain(FILES[0])
    assert answer["label"] == said(wider, FILES[0])[0]["label"]
    assert Image.open(io.BytesIO(base64.b64decode(answer["jpeg"]))).size == (96, 96)


class Slow:
    """An engine that waits until it may go on."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def run(self, arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        self.go.wait(20)
        return (np.full((len(arrays["pixels"]), len(CLASSES)), 1 / 3, np.float32),)


def test_a_queue_that_is_full(model: Classifier, serving: Callable[[Any], Served]) -> None:
    slow = Slow()
    server = serving(app.made(Work(model, Forward(slow.run, 1), LIMITS)))
    with ThreadPoolExecutor(8) as pool:
        begun = [pool.submit(server.post, body=FILES[0]) for _ in range(LIMITS.waiting)]
        while b"graft_waiting 4.0" not in requests.get(f"{server.address}/metrics", timeout=9).content:
            time.sleep(0.02)
        refused = server.post(body=FILES[0])
        slow.go.set()
        assert [one.result().status_code for one in begun] == [200] * LIMITS.waiting
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "1"
    assert server.post(body=FILES[0]).status_code == 200


def test_time_that_is_up(model: Classifier, serving: Callable[[Any], Served]) -> None:
    slow = Slow()
    server = serving(app.made(Work(model, Forward(slow.run, 1), Limits(seconds=0.2))))
    response = server.post(body=FILES[0])
    slow.go.set()
    assert (response.status_code, response.json()["error"]) == (504, "the request took longer than it may (--seconds)")
    assert server.post(body=FILES[0]).status_code == 200


def test_images_of_a_request_run_side_by_side(model: Classifier, forward: Forward) -> None:
    work = Work(model, Forward(forward.run, 1), LIMITS)
    found = asyncio.run(work.probabilities(FILES))
    np.testing.assert_allclose(found[0], model.probabilities(FILES), atol=1e-5)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def answers(address: str) -> bool:
    try:
        return requests.post(f"{address}/predict", FILES[0], timeout=20).status_code == 200
    except requests.RequestException:
        return False


@pytest.mark.slow
def test_a_worker_that_is_killed_is_started_again(folder: Path) -> None:
    """It loses what it held; the other one goes on answering."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "graft", "serve", "--model", str(folder), "--port", str(port), "--workers", "2"]
    parent = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while not answers(address):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        workers = [one for one in psutil.Process(parent.pid).children() if "spawn_main" in " ".join(one.cmdline())]
        assert len(workers) == 2
        time.sleep(10)  # the second one may still be loading
        os.kill(workers[0].pid, signal.SIGKILL)
        tried = [answers(address) for _ in range(20)]
        assert sum(tried) >= 18
        while True:
            now = [one for one in psutil.Process(parent.pid).children() if "spawn_main" in " ".join(one.cmdline())]
            if len(now) == 2 and workers[0].pid not in {one.pid for one in now}:
                break
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        parent.terminate()
        assert parent.wait(150) is not None  # a worker that loads ends when it has loaded
    assert not [one for one in workers if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_several_heads_see_an_image_once(model: Classifier, serving: Callable[[Any], Served], tmp_path: Path) -> None:
    """A head alone, on the network that its card names, and a whole model: the same answers as of each model alone."""
    first = heads_of.of(model)
    (tmp_path / "a").mkdir()
    heads_of.write(first, tmp_path / "a")
    other = heads.build("linear", {"pooling": "avg", "dropout": 0.0}, (1280,), 2, 9)
    heads_of.write(heads_of.Head(other, first.card | {"classes": ["x", "y"]}), tmp_path / "b")
    assert (tmp_path / "b" / "head.keras").stat().st_size < 60_000
    read = {name: heads_of.read(tmp_path / name) for name in ("a", "b")}
    network = heads_of.together(read)
    passes = []
    forward = engine.forward(Classifier(network, first.card))

    def counted(arrays: Any) -> Any:
        passes.append(len(arrays["pixels"]))
        return forward.run(arrays)

    cards = {name: head.card for name, head in read.items()}
    work = Work(Classifier(network, first.card), Forward(counted, 1), LIMITS, cards)
    server = serving(app.made(work))
    answer = server.post(body=FILES[0]).json()
    said_by_all = answer["predictions"]
    assert answer["model"] == {name: head.card["weights_sha256"] for name, head in read.items()}
    assert server.post(body=FILES[0], head="b").json()["model"] == read["b"].card["weights_sha256"]
    assert passes == [1, 1]
    same(said_by_all["a"], said(model, FILES[0]))
    features = first.features(model.example(FILES[0], 1)["pixels"][None].astype(np.float32))
    expected = np.asarray(other(features))[0]
    assert said_by_all["b"][0]["label"] == ["x", "y"][int(expected.argmax())]
    assert abs(said_by_all["b"][0]["probability"] - expected.max()) < 1e-5
    assert predictions(server.post(body=FILES[0], head="b")) == said_by_all["b"]
    refused = server.post(body=FILES[0], head="c")
    assert (refused.status_code, refused.json()["error"]) == (422, "head: must be one of a, b. Got 'c'.")
    assert requests.get(f"{server.address}/card", timeout=9).json()["b"]["classes"] == ["x", "y"]


def test_heads_of_different_networks_are_refused(model: Classifier, tmp_path: Path) -> None:
    first = heads_of.of(model)
    other = first.card | {"input": model.card["input"] | {"side": 64}}
    with pytest.raises(DataError, match=r"a and b differ in input\."):
        heads_of.together({"a": first, "b": heads_of.Head(first.model, other)})
    tuned = Classifier(model.network, model.card | {"finetuned_from": "block_16_project"})
    with pytest.raises(DataError, match="this model is fine-tuned from block_16_project"):
        heads_of.of(tuned)
    with pytest.raises(StaleError, match=r"must hold head\.keras or model\.keras"):
        heads_of.read(tmp_path)


@pytest.mark.filterwarnings("ignore:`input_shape` is undefined")
def test_a_head_whose_network_cannot_be_had_is_one_sentence(
    model: Classifier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever weights lie on this machine: those of ImageNet are neither in an empty folder nor to be downloaded."""
    from keras.src.utils import file_utils

    first = heads_of.of(model)

    def refused(**changes: Any) -> str:
        card = first.card | {"backbone": model.card["backbone"] | changes}
        with pytest.raises(DataError) as caught:
            heads_of.together({"a": heads_of.Head(first.model, card)})
        return str(caught.value)

    asked: list[str] = []

    def refuse(address: str, *args: object, **kwargs: object) -> None:
        asked.append(address)
        raise urllib.error.URLError(OSError(101, "Network is unreachable"))

    monkeypatch.setattr(file_utils, "urlretrieve", refuse)
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path))
    bundled = model.card["backbone"]["weights_sha256"][:12]
    said = refused(weights_sha256="0" * 64)
    (address,) = asked
    assert said == (
        "heads: need MobileNetV2 0.35 with weights of sha256 000000000000, which cannot be had here: "
        f"bundled has other weights ({bundled}); imagenet cannot be loaded (URL fetch failure on {address}: None -- "
        "[Errno 101] Network is unreachable). Name a whole model on that network among --heads."
    )
    said = refused(alpha=0.3)
    assert "need MobileNetV2 0.3 with weights" in said
    assert "here: imagenet cannot be loaded (If imagenet weights are being loaded, alpha must be one of" in said
    assert "here: this version of graft has no network of that name. Name a whole model" in refused(name="NewNet")
    assert len(asked) == 1

    def others(name: str, alpha: float, side: int, weights: str, seed: int) -> build.Loaded:
        return build.Loaded(table.get(name), None, weights[0] * 64)

    monkeypatch.setattr(build, "build", others)
    assert (
        "bundled has other weights (bbbbbbbbbbbb); imagenet has other weights (iiiiiiiiiiii). Name a whole model"
    ) in refused()


CHROME = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


@pytest.mark.skipif(not (CHROME and DRIVER), reason="no Chromium with its driver here")
def test_a_person_drops_a_photo(served: Served, model: Classifier, tmp_path: Path) -> None:
    """In a real browser: the label, a bar for each class, and an error for what is no image."""
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    (tmp_path / "photo.jpg").write_bytes(FILES[1])
    (tmp_path / "words.jpg").write_text("no image")
    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(option)
    options.binary_location = str(CHROME)
    with webdriver.Chrome(options, webdriver.ChromeService(DRIVER)) as browser:
        browser.get(served.address)
        chooser = browser.find_element(By.ID, "file")
        chooser.send_keys(str(tmp_path / "photo.jpg"))
        WebDriverWait(browser, 20).until(lambda b: b.find_elements(By.CLASS_NAME, "label"))
        (expected,) = said(model, FILES[1])
        assert browser.find_element(By.CLASS_NAME, "label").text == expected["label"]
        rows = browser.find_element(By.ID, "answers").text.splitlines()
        assert rows[1] == expected["label"]
        assert rows[2] == f"{100 * expected['probability']:.1f} %"
        WebDriverWait(browser, 20).until(lambda b: b.find_element(By.ID, "heat").is_displayed())
        chooser.send_keys(str(tmp_path / "words.jpg"))
        WebDriverWait(browser, 20).until(lambda b: "must be a whole image file" in b.find_element(By.ID, "error").text)
        assert not browser.find_element(By.ID, "said").is_displayed()
