"""`graft predict`: what a model says of files, folders and archives."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer

from graft.errors import DataError, GraftError, unknown
from graft.runtime.computing.tensorflow import import_tensorflow
from graft.runtime.progress import say, track

LAST = "models/model.keras"
EXIT_CODE_NOT_ALL = 3
"""Some of the files are no examples of the model's kind."""

TABLE, PARQUET = "table", "parquet"
FORMATS = (TABLE, "csv", "jsonl", PARQUET)
"""Names of `prediction.writers.WRITERS`, which is not imported for a help text."""

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A model's file or folder, or its address in MLflow (runs:/..., models:/...).",
        show_default=f"{LAST}, of the last pass",
    ),
]
RunOption = Annotated[str | None, typer.Option("--run", help="The model of a run in MLflow, by its name or id.")]


def folder_of(model: str | None, run: str | None) -> Path:
    """Where the model that is meant lies, with its card. Raises GraftError where there is none."""
    if model and run:
        raise GraftError("--model and --run: one of them must be given, or none. Got both; leave one out.")
    from graft.tracking import logged
    from graft.tracking import model as models

    return models.folder_of(logged.of_run(run) if run else model or LAST)


def predict(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILES|FOLDERS|ARCHIVES|-",
            help="Images or texts, folders and archives of them, tables of texts; `-`: standard input has the paths of "
            "images, or one image; or a text a line.",
        ),
    ],
    model: ModelOption = None,
    run: RunOption = None,
    text: Annotated[
        str | None, typer.Option(help="The column of texts in a table (.csv, .jsonl, .parquet ...).")
    ] = None,
    second: Annotated[str | None, typer.Option(help="The column of second texts, for a model on pairs.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="How many of the likeliest classes.")] = 3,
    features: Annotated[
        bool, typer.Option("--features", help="Write what the head reads instead of what it says.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="A file; its suffix (.csv, .jsonl, .parquet) is the format.")] = None,
    as_format: Annotated[
        str | None, typer.Option("--format", help=f"{', '.join(FORMATS)}.", show_default="the suffix, else table")
    ] = None,
) -> None:
    """Label, probability and the likeliest classes of each image or text, as the model's card says: params.yaml is not
    read.

    A file that is none is a line with its reason. Exit code 3: there were such.
    """
    how = _format(as_format, out, features)
    folder = folder_of(model, run)
    import_tensorflow()
    from graft.prediction import engine, kinds, stream
    from graft.prediction import files as named
    from graft.prediction.writers import WRITERS, Columns
    from graft.serving.classifier import Classifier

    classifier = Classifier.read(folder)
    kind = kinds.of(classifier, text, second)
    network = engine.reader(classifier) if features else classifier.network
    columns = Columns([], n_features=network.output_shape[-1]) if features else Columns(classifier.classes, top_k)
    forward = engine.forward(classifier, network)
    predicted = stream.seen(named.found(files, kind), classifier, forward)
    n_bad = 0
    # On a terminal the lines themselves are the progress: a bar would be drawn into them.
    watched = out is None and sys.stdout.isatty()
    with _opened(out) as file, WRITERS[how](file, columns) as writer:
        for one in (
            predicted
            if watched
            else track(predicted, named.count(files, kind), "predicting", unit=f"{classifier.input.kind}s")
        ):
            writer.write(one)
            if watched:
                file.flush()
            n_bad += bool(one.problem and one.meant)
    if n_bad:
        none = f"is no {classifier.input.kind}" if n_bad == 1 else f"are no {classifier.input.kind}s"
        say(f"{n_bad} of the files {none} that can be read: {'each line' if how == TABLE else '`problem`'} says why")
        raise typer.Exit(EXIT_CODE_NOT_ALL)


def _format(given: str | None, out: Path | None, features: bool) -> str:
    """A name of FORMATS. Raises DataError where it is none, or cannot be."""
    how = given or (out.suffix.removeprefix(".").lower() if out and out.suffix else TABLE)
    if how not in FORMATS:
        raise DataError(f"{'--format' if given else f'--out {out}'}: {unknown(how, FORMATS)}")
    if how == TABLE and features:
        raise DataError("--features: must be written as csv, jsonl or parquet. Got a table; give --out or --format.")
    if how == PARQUET and out is None and sys.stdout.isatty():
        raise DataError("--format: parquet is no text for a terminal. Give --out FILE.")
    return how


@contextmanager
def _opened(out: Path | None) -> Iterator[IO[bytes]]:
    """Standard output, or a file that takes its name when it is whole."""
    if out is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if not out.parent.is_dir():
        raise DataError(f"--out: must lie in a folder that exists. {out.parent} does not; make it.")
    partial = out.with_name(f".{out.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
