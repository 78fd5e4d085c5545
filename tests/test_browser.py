"""What people look at, in a real browser: `mlflow ui` on three runs, and the page of `dvc plots` without a network.

Asserted is what a person sees: words, pictures that were drawn, lines of a curve. What MLflow's and DVC's pages are
made of is theirs to change, so that elements are found by their words where that is possible.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pytest
import yaml

from conftest import REPOSITORY, Project, changed, few_layers, whole_pass, written
from graft.evaluation import plots
from graft.evaluation.metrics import Judged
from graft.training import history
from logged_passes import GIT, entered

CHROME = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROME and DRIVER), reason="no Chromium with its driver here")

T = TypeVar("T")
NOWHERE = "--host-resolver-rules=MAP * ~NOTFOUND"
"""An option of Chromium's: no name of a host leads anywhere."""

EDITS: tuple[dict[str, Any], ...] = (
    {"train.learning_rate": 0.05},
    {"finetune.learning_rate": 0.005, "finetune.epochs": 3},
)
NAMES = (
    "linear, from conv_pw_13, MobileNet 0.25 few.weights.h5",
    "learning_rate=0.05",
    "finetune.learning_rate=0.005, finetune.epochs=3",
)
"""Of the runs: what is trained where params.yaml is as committed, else what differs."""


class Person:
    """Looks at pages and clicks on words."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser

    def sees(self, look: Callable[[], T | None], what: str) -> T:
        """What `look` finds as soon as it is something; pages fill themselves after they were opened."""
        given_up = time.monotonic() + 60
        while time.monotonic() < given_up:
            try:
                if found := look():
                    return found
            except Exception as error:  # an element that was drawn anew meanwhile
                if "selenium" not in type(error).__module__:
                    raise
            time.sleep(0.1)
        raise AssertionError(f"{what} is not seen within a minute. The page says: {self.reads()[-3000:]}")

    def opens(self, address: str) -> None:
        self.browser.get("about:blank")  # another part of an address alone loads nothing
        self.browser.get(address)

    def reads(self) -> str:
        return str(self.browser.find_element("tag name", "body").text)

    def reads_all(self, *words: str) -> None:
        self.sees(lambda: all(word in self.reads() for word in words), f"{words}")

    def all(self, selector: str) -> list[Any]:
        return [one for one in self.browser.find_elements("css selector", selector) if one.is_displayed()]

    def clicks(self, words: str) -> None:
        path = f"//*[normalize-space(text())='{words}']"

        def click() -> bool:
            shown = [one for one in self.browser.find_elements("xpath", path) if one.is_displayed()]
            if shown:
                shown[0].click()
            return bool(shown)

        self.sees(click, words)

    def pictures(self) -> dict[str, tuple[int, int]]:
        """Address -> natural width and height of what was drawn: 0 where the file is missing or none."""
        sizes = "return [arguments[0].naturalWidth, arguments[0].naturalHeight]"
        shown = {one.get_attribute("src"): self.browser.execute_script(sizes, one) for one in self.all("img")}
        return {address: (width, height) for address, (width, height) in shown.items()}


@contextmanager
def person(*options: str) -> Iterator[Person]:
    from selenium import webdriver

    chosen = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=2400,1600", *options):
        chosen.add_argument(option)
    chosen.binary_location = str(CHROME)
    with webdriver.Chrome(chosen, webdriver.ChromeService(DRIVER)) as browser:
        yield Person(browser)


@dataclass
class Board:
    """address: of `mlflow ui`. ids: run name -> its id. figures: run name -> what it is worth."""

    address: str
    ids: dict[str, str]
    figures: dict[str, dict[str, float]]

    def of_run(self, name: str, page: str = "") -> str:
        return f"{self.address}/#/experiments/1/runs/{self.ids[name]}{page}"


def passes(folder: Path) -> tuple[dict[str, str], dict[str, dict[str, float]]]:
    """Three passes of a tiny network in a committed project, the later ones with other rates: ids and figures."""
    from graft.stages import evaluate, finetune, train
    from graft.tracking import run

    made = whole_pass(folder, few_layers(folder) | {"extract.views": 0}, 20)
    data = {"path": str(folder / "images"), "hash": "md5", "md5": "d41d8c.dir"}
    (folder / "dvc.lock").write_text(yaml.safe_dump({"stages": {"prepare": {"deps": [data], "outs": []}}}))
    (folder / ".gitignore").write_text("/*\n!/params.yaml\n!/.gitignore\n")
    for command in (("init", "-q"), ("add", "."), ("commit", "-qm", "state")):
        subprocess.run([*GIT, *command], cwd=folder, check=True, capture_output=True)
    committed = (folder / "params.yaml").read_text()
    ids, figures = {}, {}
    params, paths = made.params, made.paths
    for edit in ({}, *EDITS):
        if edit:
            params, paths = written(folder, changed(yaml.safe_load(committed), edit))
            train.run(params, paths, lambda epoch, values: None)
            finetune.run(params, paths, lambda epoch, values: None)
            evaluate.run(params, paths)
        logged = run.complete(params, paths, None)
        ids[logged.name], figures[logged.name] = logged.run_id, json.loads(paths.summary.read_text())
    return ids, figures


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """`mlflow ui`, started in the project's folder without flags that say where runs are."""
    folder = tmp_path_factory.mktemp("board")
    with entered(folder):
        ids, figures = passes(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1"]
    with (folder / "ui.log").open("w") as said:
        environment = Project(folder).environment
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
    try:
        given_up = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (folder / "ui.log").read_text()
                assert time.monotonic() < given_up, (folder / "ui.log").read_text()
                time.sleep(0.2)
        yield Board(f"http://127.0.0.1:{port}", ids, figures)
    finally:
        server.terminate()
        server.wait(60)


@pytest.mark.slow
def test_the_runs_and_the_numbers_that_matter(board: Board) -> None:
    """In the table, by what differs; test_accuracy stands first among the metrics that it offers as columns."""
    assert tuple(board.ids) == NAMES
    with person() as someone:
        someone.opens(f"{board.address}/#/experiments/1/runs")
        someone.reads_all(*NAMES, "3 matching runs")
        someone.clicks("Columns")
        someone.reads_all("test_accuracy")
        offered = someone.reads().split("Metrics (")[1].splitlines()[1:]
        assert offered[0] == "test_accuracy"
        for figure in ("test_accuracy", "test_log_loss"):
            someone.clicks(figure)
        cells = "[role=gridcell][col-id='metrics.`{}`']"
        for figure in ("test_accuracy", "test_log_loss"):
            expected = [board.figures[name][figure] for name in reversed(NAMES)]  # the newest first
            read = someone.sees(
                lambda figure=figure: [float(one.text) for one in someone.all(cells.format(figure)) if one.text],
                figure,
            )
            assert read == expected


@pytest.mark.slow
def test_three_runs_compared(board: Board) -> None:
    """What differs between them, and the test accuracy of each; MLflow draws the first metric: what a run is worth."""
    wanted = json.dumps(list(board.ids.values()))
    with person() as someone:
        someone.opens(f'{board.address}/#/compare-runs?runs={wanted}&experiments=["1"]')
        someone.reads_all("Comparing 3 Runs from 1 Experiment", *NAMES)
        chosen = someone.sees(lambda: someone.reads().split("Metrics:")[1].split("Clear All")[0].split(), "the metric")
        assert chosen == ["test_accuracy"]
        assert someone.reads().split("Parameters:")[1].split("Metrics:")[0].split() == [
            "finetune.epochs", "finetune.learning_rate", "train.learning_rate",
        ]  # fmt: skip
        someone.sees(lambda: someone.all("svg .parcoords, .parcoords canvas, svg .y-axis"), "the plot")
        table = someone.reads().split("\nMetrics\n")[1].split("\nArtifacts\n")[0].split()
        numbers = [float(one) for one in table if one[0].isdigit()]
        rows = ["test_accuracy", "test_ece", "test_f1", "test_log_loss"]  # by the alphabet, each with its three numbers
        expected = [board.figures[name][row] for row in rows for name in NAMES]
        assert numbers[: len(expected)] == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
def test_the_curves_of_both_trainings(board: Board) -> None:
    """A line each, with as many points as there were epochs; fine-tuning starts at 0, the head before it."""
    with person() as someone:
        someone.opens(board.of_run(NAMES[2], "/model-metrics"))
        box = someone.sees(lambda: someone.all("input[placeholder='Search metric charts']"), "the search")[0]
        box.send_keys("while_")
        curves = [
            f"while_{stage}_{name}"
            for stage in ("finetuning", "training")
            for name in ("accuracy", "loss", "val_accuracy", "val_loss")
        ]
        someone.reads_all("(8)", *curves)
        drawn = someone.sees(
            lambda: len(charts := someone.all(".js-plotly-plot")) == len(curves) and charts, "eight charts"
        )
        points = "return arguments[0].data.map(line => [line.x.length, Math.min(...line.x), Math.max(...line.x)])"
        for chart in drawn:
            assert someone.browser.execute_script("return arguments[0].querySelectorAll('path.js-line').length", chart)
        lines = [someone.browser.execute_script(points, chart)[0] for chart in drawn]
        assert (lines.count([4, 0, 3]), lines.count([3, 1, 3])) == (2, 6)


@pytest.mark.slow
def test_the_artefacts_of_a_run(board: Board) -> None:
    """Pictures are drawn, the page about the data is a page, and the model has its card."""
    with person() as someone:
        someone.opens(board.of_run(NAMES[0], "/artifacts"))
        someone.clicks("plots")
        for picture in ("curves.png", "confusion.png", "calibration.png"):
            someone.clicks(picture)
            someone.reads_all(f"plots/{picture}")
            someone.sees(
                lambda: any(min(size) > 300 for address, size in someone.pictures().items() if "blob:" in address),
                picture,
            )
        someone.clicks("data")
        someone.clicks("report.html")
        frame = someone.sees(lambda: someone.all("iframe"), "the report")[0]
        someone.browser.switch_to.frame(frame)
        someone.reads_all("Data report", "60", "circle", "stripes")
        someone.browser.switch_to.default_content()
        someone.opens(board.of_run(NAMES[0]))
        someone.reads_all("test_accuracy", "Logged models")
        (model,) = {
            one.get_attribute("href") for one in someone.sees(lambda: someone.all("a[href*='/models/m-']"), "its model")
        }
        someone.opens(f"{model}/artifacts")
        someone.clicks("data")
        someone.clicks("card.json")
        said = someone.sees(lambda: '"weights_sha256"' in someone.reads() and someone.reads(), "the card")
        for word in ('"classes"', '"circle"', '"judged"', '"versions"', "model.keras"):
            assert word in said


@pytest.fixture
def plotted(tmp_path: Path) -> Project:
    """A committed project with what the stages plot, written by the code that writes it there."""
    folder = tmp_path / "project"
    pictures = folder / "plots" / "pictures"
    pictures.mkdir(parents=True)
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(REPOSITORY / name, folder)
    rows = [[epoch, epoch, 0.1, 0.5, 1 / (epoch + 1), 0.4, 1.2 / (epoch + 1), int(epoch == 3)] for epoch in range(1, 4)]
    curve = pd.DataFrame(rows, columns=list(history.COLUMNS))
    targets = np.array([0, 1, 0, 1])
    judged = {"head, test": Judged(np.eye(2, dtype=np.float32)[targets], targets, ["a", "b"], 1, 15, 0.95)}
    for stage in ("train", "finetune"):
        history.write(curve, folder / "plots" / f"{stage}.csv")
    for name, draw in plots.PLOTS.items():
        figure = draw({"train": curve, "finetune": curve}, judged)
        assert figure is not None
        plots.save(figure, pictures / f"{name}.png")
    plots.write_confusion(["a", "b"], ["a", "b"], folder / "plots" / "confusion.csv")
    project = Project(folder)
    project.run("git", "init", "-q")
    project.dvc("init -q")
    project.commit()
    return project


def test_plots_without_a_network_and_as_an_editor_reads_them(plotted: Project, tmp_path: Path) -> None:
    """`dvc plots show` loads Vega from the web for what can be pointed at; the same curves and confusion are pictures
    beside the page, whose addresses are relative: they are seen offline, and where the page is moved.

    DVC's extension for VS Code asks `dvc plots diff --json` for both, by their titles in dvc.yaml.
    """
    _, read = plotted.dvc("plots show -q", f"plots diff HEAD --json --split -o {tmp_path}/editor")
    found = json.loads(read)["data"]
    kinds = {name: {one["type"] for one in entries} for name, entries in found.items() if entries}
    titles = ("training loss", "fine-tuning loss", "accuracy", "confusion")
    assert {name for name, kind in kinds.items() if kind == {"vega"}} == set(titles)
    assert {name for name, kind in kinds.items() if kind == {"image"}} == {
        f"plots/pictures/{name}.png" for name in plots.PLOTS
    }
    # The extension takes pictures that are called by numbers for the steps of one.
    assert not any(name.isdigit() for name in plots.PLOTS)

    moved = tmp_path / "elsewhere" / "page"
    moved.parent.mkdir()
    (plotted.folder / "dvc_plots").rename(moved)
    shutil.rmtree(plotted.folder)
    with person(NOWHERE) as someone:
        someone.opens((moved / "index.html").as_uri())
        seen = someone.sees(lambda: len(someone.pictures()) == len(plots.PLOTS) and someone.pictures(), "the pictures")
        assert min(min(size) for size in seen.values()) > 300
        for name in plots.PLOTS:
            assert f"plots/pictures/{name}.png" in someone.reads()
