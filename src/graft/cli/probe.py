"""`graft probe`: which network, and which of its layers, to read features from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from graft.backbones import encoders, vision
from graft.config import yaml_file
from graft.config.load import FILE, of_tree
from graft.errors import ParamsError
from graft.inputs.spec import USUAL
from graft.pipeline import layout
from graft.runtime.computing import numerics
from graft.runtime.computing.tensorflow import start_tensorflow

if TYPE_CHECKING:
    from graft.config.schema import Params
    from graft.probing.judging import Candidate, Choice
    from graft.probing.tuning import Tuned

FOLDER = Path("data/probe")
WIDTH = 126

OF_KIND = {"image": "", "text": f", of a text of {USUAL} tokens"}
"""What is timed, beside the layer."""


def probe(
    backbones: Annotated[
        list[str] | None,
        typer.Option(
            "--backbone",
            help="NAME of `graft backbones`, NAME:WIDTH, of texts NAME:FOLDER; several. Default: params.yaml's.",
        ),
    ] = None,
    input_sizes: Annotated[
        list[int] | None,
        typer.Option("--input-size", help="Side of images in pixels; several. Default: params.yaml's."),
    ] = None,
    finetune: Annotated[
        int,
        typer.Option(help="Epochs of a fine-tune from each of up to six cuts of the best network; 0: none.", min=0),
    ] = 0,
) -> None:
    """Rank the layers of one or several networks by a ridge head on their features, of training and validation.

    Run `dvc repro prepare` first. Nothing of the pipeline is changed: set backbone and finetune.cut in params.yaml.
    """
    began, cpu = time.monotonic(), time.process_time()
    every = _every(backbones or [""], input_sizes or [0])
    paths, kind = layout.read(), every[0].data.kind
    numerics.apply(every[0].numerics)
    start_tensorflow()
    from graft.probing import judging, picture, run
    from graft.tracking import findings

    choice, tuned = run.run(every, paths, finetune)
    FOLDER.mkdir(parents=True, exist_ok=True)
    files = [FOLDER / "layers.csv", FOLDER / "layers.png"]
    judging.table(choice, kind).to_csv(files[0], index=False, lineterminator="\n")
    picture.draw(choice, kind, files[1])
    console = Console(width=max(WIDTH, Console().width), highlight=False)
    console.print(_table(choice, kind))
    for line in advice(choice, kind):
        console.print(line, markup=False, soft_wrap=True)
    if tuned:
        files.append(FOLDER / "cuts.csv")
        judging.cuts_table(tuned).to_csv(files[-1], index=False, lineterminator="\n")
        console.print(_cuts_table(tuned))
        console.print(where_to_unfreeze(tuned, kind), markup=False, soft_wrap=True)
    metrics = {
        "probe_accuracy": choice.best.accuracy,
        "probe_milliseconds": choice.best.milliseconds,
        **({"probe_finetuned_val_accuracy": tuned[0].accuracy} if tuned else {}),
    }
    run_id = findings.log(
        "probe",
        every[0].tracking.experiment,
        f"probe: {', '.join(run.name_of(params) for params in every)}",
        {"graft.probe.best": _called(choice.best), "graft.probe.cheapest": _called(choice.cheapest)},
        [(name, value, 0) for name, value in metrics.items()],
        files,
    )
    seconds = f"{time.monotonic() - began:.0f} s, {time.process_time() - cpu:.0f} s of processor time"
    console.print(f"{', '.join(map(str, files))}; MLflow run {run_id}; {seconds}", markup=False, soft_wrap=True)


def _every(backbones: list[str], input_sizes: list[int]) -> list[Params]:
    """params.yaml with each network at each size, checked as if it said so. "" and 0: what it says."""
    found = []
    of_texts = yaml_file.read_by_people(FILE)["data"]["kind"] == "text"
    if of_texts and any(input_sizes):
        raise ParamsError(
            "graft probe",
            ["--input-size: must not be given for texts, which backbone.max_tokens cuts off. Leave it out."],
        )
    for named in backbones:
        for size in input_sizes:
            tree: dict[str, Any] = dict(yaml_file.read_by_people(FILE))
            if named:
                changes = _of_files(named) if of_texts else _network(named, tree["backbone"]["weights"])
                tree["backbone"] = tree["backbone"] | changes
                tree["finetune"] = tree["finetune"] | {"cut": "auto"}
            if size:
                tree["backbone"] = tree["backbone"] | {"input_size": size}
            found.append(of_tree(tree, f"graft probe{f' --backbone {named}' if named else ''}"))
    return found


def _network(named: str, weights: str) -> dict[str, Any]:
    """NAME or NAME:WIDTH, with weights of the same kind as params.yaml's; NAME:FOLDER where the name is KerasHub's."""
    name, _, width = named.partition(":")
    if vision.is_vision(name):
        return _of_files(named)
    weights = weights if weights in ("imagenet", "random") else "auto"
    return {"name": name, "alpha": _width(width), "weights": weights, "weights_sha256": None}


def _of_files(named: str) -> dict[str, Any]:
    """NAME:FOLDER, or NAME:PRESET of KerasHub's."""
    name, _, weights = named.partition(":")
    if not weights:
        raise ParamsError(
            "graft probe",
            [
                "--backbone: must be NAME:FOLDER for a network of KerasHub's, with its files in Hugging Face's layout, "
                f"or NAME:PRESET. Got {named!r}."
            ],
        )
    sha256 = encoders.digest(Path(weights)) if Path(weights).is_dir() else None
    return {"name": name, "alpha": None, "weights": weights, "weights_sha256": sha256}


def _width(text: str) -> float | str:
    try:
        return float(text) if text else "auto"
    except ValueError:
        raise ParamsError(
            "graft probe", [f"--backbone: must be NAME, or NAME:WIDTH with a number. Got {text!r} as the width."]
        ) from None


def _called(one: Candidate) -> str:
    return f"{one.layer} of {one.network}"


def _table(choice: Choice, kind: str) -> Table:
    shown = Table(box=None, header_style="bold", pad_edge=False)
    numbers = ("features", "accuracy", "left out", "validation", "p", f"ms/{kind}", "MB/1,000")
    for column in ("network", "layer", *numbers):
        shown.add_column(column, no_wrap=True, justify="right" if column in numbers else "left")
    from graft.probing.judging import against

    for one, near in zip(choice.ranked, choice.within_noise, strict=True):
        shown.add_row(
            one.network,
            one.layer,
            str(one.channels),
            f"{one.accuracy:.4f}",
            f"{one.left_out:.4f}",
            f"{one.validation:.4f}",
            f"{against(choice.best, one):.2g}",
            f"{one.milliseconds:.2f}",
            f"{one.stored_bytes / 1e3:.0f}",
            style="bold" if near else "",
        )
    return shown


def advice(choice: Choice, kind: str) -> list[str]:
    """What the table says, how sure it is, and what the highest accuracy on ImageNet would have said."""
    from graft.probing.judging import against, interval

    low, high = interval(choice.best)
    n_near = sum(choice.within_noise) - 1
    lines = [
        f"accuracy: of training {kind}s, each left out, and validation {kind}s together; p: McNemar's exact test "
        f"against the first; ms/{kind}: of one thread, up to the layer{OF_KIND[kind]}; MB/1,000: the layer's "
        f"activations, of all layers the pooled ones. Test {kind}s: unread.",
        f"read features at {_called(choice.best)}: {choice.best.accuracy:.4f}, 95 % interval {low:.4f} to {high:.4f}; "
        + (
            f"not to be told from it: {n_near} of the others (bold)"
            if n_near
            else "all others are worse (p below 0.05)"
        ),
    ]
    if choice.best.together:
        lines.append("to read them: extract.taps: all, train.head: taps and finetune.enabled: false")
    if choice.cheapest is not choice.best:
        lines.append(
            f"cheapest of these: {_called(choice.cheapest)}, {choice.cheapest.milliseconds:.2f} ms instead of "
            f"{choice.best.milliseconds:.2f}"
        )
    if (plain := choice.by_imagenet) is None:
        if kind == "image":
            lines.append("no accuracy on ImageNet is published for these networks: nothing to compare the choice with")
    elif plain is choice.best:
        lines.append("the highest accuracy on ImageNet, read at its last layer, is the same choice")
    else:
        p = against(choice.best, plain)
        told = "as good by these examples" if p >= 0.05 else "worse by these examples"
        lines.append(
            f"the highest accuracy on ImageNet ({plain.imagenet:.3f}) would take {_called(plain)}: "
            f"{plain.accuracy:.4f}, {told} (p {p:.2g})"
        )
    lines.append(
        "where to unfreeze is another question: layers that are good to read need not be good to train "
        "(`graft probe --finetune 2` tries)"
    )
    return lines


def _cuts_table(tuned: list[Tuned]) -> Table:
    from graft.probing.judging import against

    shown = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("finetune.cut", "validation", "log loss", "p", "seconds", "MB/1,000"):
        shown.add_column(column, no_wrap=True, justify="left" if column == "finetune.cut" else "right")
    for one in tuned:
        p = against(tuned[0], one)
        numbers = (f"{one.accuracy:.4f}", f"{one.log_loss:.4f}", f"{p:.2g}", f"{one.seconds:.0f}")
        shown.add_row(one.cut, *numbers, f"{one.stored_bytes / 1e3:.0f}", style="bold" if p >= 0.05 else "")
    return shown


def where_to_unfreeze(tuned: list[Tuned], kind: str) -> str:
    """The best cut, how sure that is, and the one that is cheapest to train among those as good."""
    from graft.probing.judging import against, interval

    low, high = interval(tuned[0])
    near = [one for one in tuned if against(tuned[0], one) >= 0.05]
    cheapest = min(near, key=lambda one: one.seconds)
    return (
        f"unfreeze from {tuned[0].cut}: {tuned[0].accuracy:.4f} of {len(tuned[0].hits)} validation {kind}s, 95 % "
        f"interval {low:.4f} to {high:.4f}; {len(near)} of {len(tuned)} cuts cannot be told apart (bold), "
        f"{cheapest.cut} the cheapest to train among them. One seed, short runs, {kind}s as they are"
    )
