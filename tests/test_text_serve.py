"""`graft serve` with a model on texts: plain, in every form of MLflow, explained, and the page for people."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests

import text_network
from graft.backbones import build, text
from graft.backbones.encoders import ENCODERS
from graft.inputs.text import tokenizer
from graft.models import assemble, card, heads
from graft.prediction import engine
from graft.server import app, texts
from graft.server.limits import Limits
from graft.server.work import Work
from graft.serving import pyfunc
from graft.serving.classifier import Classifier
from test_serve import Served, predictions, said, same

CLASSES = ("lost", "top_up", "<b>transfer</b>")
LIMITS = Limits(body_bytes=200_000, examples=3, waiting=4, seconds=60)
TEXTS = ["where is my card", "top up?", "transfer not money, i"]
JSON = "application/json"


def classifier(folder: Path, pair: bool) -> Classifier:
    """A model that says something, as if read from its file."""
    network = text_network.write(folder)
    loaded = build.Loaded(ENCODERS["Bert"], text.encoder(ENCODERS["Bert"], str(network)), "0" * 64)
    head = heads.build("linear", {"pooling": "avg", "dropout": 0.0}, (text_network.HIDDEN,), len(CLASSES), 3)
    spec = {"kind": "text", "max_tokens": 16, "pair": pair, "tokenizer": tokenizer.read(str(network))}
    made_with = {
        "input": spec, "preprocessing": "tokens", "alpha": None, "weights_sha256": "0" * 64, "backbone": "Bert",
    }  # fmt: skip
    made = card.make(CLASSES, made_with, None, "0" * 64, {}, None)
    return Classifier(assemble.classifier(loaded, "avg", head), made)


def serving(model: Classifier) -> Served:
    forward = engine.forward(model)
    return Served(app.made(Work(model, forward, LIMITS), texts.explained(model, forward)))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return classifier(tmp_path_factory.mktemp("bert"), pair=False)


@pytest.fixture(scope="module")
def of_pairs(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return classifier(tmp_path_factory.mktemp("bert"), pair=True)


@pytest.fixture(scope="module")
def served(model: Classifier) -> Iterator[Served]:
    server = serving(model)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def served_pairs(of_pairs: Classifier) -> Iterator[Served]:
    server = serving(of_pairs)
    yield server
    server.stop()


def test_a_plain_text(served: Served, model: Classifier) -> None:
    for one in (*TEXTS, "日本 é"):
        for kind in ("text/plain", "text/plain; charset=utf-8", "application/x-www-form-urlencoded"):
            same(predictions(served.post(body=one.encode(), kind=kind, top_k=2)), said(model, one, 2))


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": TEXTS},
        {"inputs": {"text": TEXTS}},
        {"instances": TEXTS},
        {"instances": [{"text": one} for one in TEXTS]},
        {"dataframe_split": {"columns": ["text"], "data": [[one] for one in TEXTS]}},
        {"dataframe_split": {"columns": ["id", "text"], "data": [[1, one] for one in TEXTS]}},
        {"dataframe_records": [{"any name": one} for one in TEXTS]},
    ],
    ids=lambda body: json.dumps(body)[:40],
)
def test_every_form_of_mlflow(body: dict[str, Any], served: Served, model: Classifier) -> None:
    """What MLflow's own server answers, from the same code."""
    response = served.post("/invocations", json.dumps(body | {"params": {"top_k": 2}}).encode(), JSON)
    mlflows = pyfunc.Served(model).predict(pd.DataFrame({"text": TEXTS}), {"top_k": 2})
    same(predictions(response), list(mlflows.to_dict("records")))


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": {"second": TEXTS[1:], "text": TEXTS[:2]}},
        {"instances": [[TEXTS[0], TEXTS[1]], [TEXTS[1], TEXTS[2]]]},
        {"instances": [{"second": TEXTS[1], "text": TEXTS[0]}, {"text": TEXTS[1], "second": TEXTS[2]}]},
        {"dataframe_split": {"columns": ["second", "text"], "data": [[TEXTS[1], TEXTS[0]], [TEXTS[2], TEXTS[1]]]}},
    ],
    ids=lambda body: json.dumps(body)[:40],
)
def test_pairs(body: dict[str, Any], served_pairs: Served, of_pairs: Classifier) -> None:
    found = predictions(served_pairs.post(body=json.dumps(body).encode(), kind=JSON))
    same(found, said(of_pairs, [(TEXTS[0], TEXTS[1]), (TEXTS[1], TEXTS[2])]))


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b"", "text/plain", "the body must be a text in UTF-8 (text/plain); or JSON"),
        (b" \n", "text/plain", "text 1: must be a text that can be used. Got: empty: only white space."),
        (b"\xff", "text/plain", "text 1: must be a text that can be used. Got: not UTF-8"),
        (b"a" * 100_001, "text/plain", "text 1: must be a text that can be used. Got: too long: 100001 characters"),
        (b'{"inputs": ["a", ""]}', JSON, "text 2: must be a text that can be used. Got: empty"),
        (b'{"inputs": ["a", 3]}', JSON, "text 2: must be a str, "),
        (b'{"inputs": [["a", "b"]]}', JSON, "text 1: must be a str, "),
        (b'{"inputs": 3}', JSON, "inputs: must hold a list of texts. Got 3."),
        (b'{"inputs": {"text": ["a"], "b": 1}}', JSON, "inputs: columns must be lists of one length."),
        (b'{"instances": [{"a": "x", "b": "y"}]}', JSON, "text 1: a row must have text. Got ['a', 'b']."),
        (b'{"inputs": []}', JSON, "a request must have a text. Got an empty list."),
        (b'{"inputs": ["a", "b", "c", "d"]}', JSON, "a request must have at most 3 texts (--most-texts). Got 4."),
        (b'{"inputs": "\\ud800"}', JSON, "text 1: must be a text that can be used. Got: not UTF-8"),
    ],
)
def test_what_is_wrong_is_one_sentence(body: bytes, kind: str, message: str, served: Served) -> None:
    for path in ("/predict", "/explain"):
        response = served.post(path, body, kind)
        expected = message if path == "/predict" or "text 2" not in message else "/explain takes one text. Got 2."
        assert (response.status_code, response.json()["error"][: len(expected)]) == (422, expected), path
    assert predictions(served.post(body=b"my card", kind="text/plain"))


def test_one_text_is_no_pair(served_pairs: Served) -> None:
    for body, kind in ((b"my card", "text/plain"), (b'{"inputs": ["my card"]}', JSON)):
        response = served_pairs.post(body=body, kind=kind)
        assert response.status_code == 422
        assert "pairs" in response.json()["error"]


def test_the_words_that_speak_for_the_label(served: Served, model: Classifier) -> None:
    """The pieces are the text; each score is by how much the logit of the label falls without the word."""
    one = "  where is\tmy <card>"
    answer = served.post("/explain", one.encode(), "text/plain").json()
    expected = said(model, one)[0]["label"]
    assert answer["label"] == expected
    (pieces,) = answer["texts"]
    assert "".join(piece["text"] for piece in pieces) == one
    words = {piece["text"]: piece["score"] for piece in pieces if piece["score"] is not None}
    assert list(words) == ["where", "is", "my", "<", "card", ">"]

    def logit(text: str) -> float:
        logs = np.log(model.probabilities(text)[0])
        return float((logs - logs.mean())[CLASSES.index(expected)])

    assert abs(words["my"] - (logit(one) - logit("where is <card>"))) < 1e-3
    assert abs(words["card"] - (logit(one) - logit("where is my <>"))) < 1e-3
    assert max(abs(piece["share"]) for piece in pieces) == 1
    assert max(map(abs, words.values())) > 0.01
    assert served.post("/explain", json.dumps({"inputs": TEXTS[:2]}).encode(), JSON).status_code == 422


def test_both_texts_of_a_pair_are_explained(served_pairs: Served) -> None:
    body = json.dumps({"instances": [{"text": "my card", "second": "is lost"}]}).encode()
    texts_of_it = served_pairs.post("/explain", body, JSON).json()["texts"]
    assert [[piece["text"] for piece in one if piece["score"] is not None] for one in texts_of_it] == [
        ["my", "card"],
        ["is", "lost"],
    ]


def test_what_is_counted_and_shown(served: Served) -> None:
    def counted() -> float:
        text = requests.get(f"{served.address}/metrics", timeout=9).text
        return float(next(line for line in text.splitlines() if line.startswith("graft_texts_total")).split()[1])

    before = counted()
    served.post(body=json.dumps({"inputs": TEXTS}).encode(), kind=JSON)
    assert counted() == before + len(TEXTS)
    page = requests.get(served.address, headers={"Accept": "text/html"}, timeout=9).text
    assert "<b>transfer" not in page
    assert "&lt;b&gt;transfer" in page
    assert 'id="second"' not in page


CHROME = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


@pytest.mark.skipif(not (CHROME and DRIVER), reason="no Chromium with its driver here")
def test_a_person_writes_a_text(served: Served, model: Classifier) -> None:
    """In a real browser: the label, a bar for each class, the words; and an error for nothing."""
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(option)
    options.binary_location = str(CHROME)
    with webdriver.Chrome(options, webdriver.ChromeService(DRIVER)) as browser:
        browser.get(served.address)
        box, button = browser.find_element(By.ID, "text"), browser.find_element(By.TAG_NAME, "button")
        box.send_keys("where is my <i>card")
        button.click()
        WebDriverWait(browser, 30).until(lambda b: b.find_element(By.ID, "words").is_displayed())
        (expected,) = said(model, "where is my <i>card")
        assert browser.find_element(By.CLASS_NAME, "label").text == expected["label"]
        assert f"{100 * expected['probability']:.1f} %" in browser.find_element(By.ID, "answers").text
        assert browser.find_element(By.ID, "marked").text == "where is my <i>card"
        box.clear()
        button.click()
        WebDriverWait(browser, 30).until(lambda b: "empty" in b.find_element(By.ID, "error").text)
        assert not browser.find_element(By.ID, "said").is_displayed()
