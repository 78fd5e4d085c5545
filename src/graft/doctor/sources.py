"""params.yaml, data, weights, and what git has of the project."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from graft.backbones import encoders
from graft.backbones.table import get, keras_models
from graft.backbones.vision import VISION
from graft.config.load import load
from graft.doctor.finding import Finding, Project, broken, ok, warning
from graft.errors import GraftError, listing
from graft.pipeline import layout, lock
from graft.tracking import git

IN_GIT = (layout.FILE, lock.LOCK, Path("params.yaml"))
"""Without these in a commit, nobody gets what it stood for."""


def params(project: Project) -> Iterator[Finding]:
    if project.params is not None:
        yield ok("params.yaml", "makes sense")
        return
    try:
        load()
    except GraftError as error:
        yield broken("params.yaml", str(error), "`graft params check` says it again once it is mended.")


def data(project: Project) -> Iterator[Finding]:
    """Whether there is something at `data.path`: without it, `prepare` and `extract` cannot run anew."""
    if project.params is None:
        return
    given = project.params.data
    path = project.root / given.path
    if path.exists():
        yield ok("data", f"{given.path}, read as {given.source}")
    else:
        yield warning(
            "data",
            f"{given.path} is not there; stages that read it cannot run, those above it can",
            f"Put the data there (`dvc pull {given.path}` where a .dvc file names it), or set data.path.",
        )


def weights(project: Project) -> Iterator[Finding]:
    if project.params is None:
        return
    given = project.params.backbone
    named = f"{given.name}, weights {given.weights}"
    if given.weights == "imagenet":
        if any(keras_models().glob(get(given.name).weights_glob)):
            yield ok("weights", f"{named}, in {keras_models()}")
        else:
            yield warning(
                "weights",
                f"{named}: not in {keras_models()}",
                "Keras downloads them as `extract` starts; without a network, put the file there.",
            )
    elif given.weights in ("bundled", "random", "none") or (project.root / given.weights).exists():
        yield ok("weights", named)
    elif encoders.is_text(given.name) or given.name in VISION:
        yield warning(
            "weights",
            f"{named}: no such folder, so it is taken for a preset of KerasHub's",
            "KerasHub downloads it as `extract` starts; without a network, set backbone.weights to a folder.",
        )
    else:
        yield broken(
            "weights", f"{named}: there is no such file", "Set backbone.weights to a file, bundled or imagenet."
        )


def repository(project: Project) -> Iterator[Finding]:
    """Whether a commit says what a run was made with."""
    code = git.state(project.root, lock.written())
    if not code.commit:
        yield warning(
            "git",
            "no commit: a run cannot name the code it was made with",
            "`git init`, then `git add . && git commit -m start`.",
        )
        return
    if code.dirty:
        changed = sorted({*git.changed(project.root, lock.written()), *code.untracked})
        yield warning(
            "git",
            f"not committed: {listing(changed, 5)}",
            "Commit before a run that counts: its commit names it. Until then a run keeps the difference.",
        )
    else:
        yield ok("git", f"clean, at {code.commit[:12]}")


def kept(project: Project) -> Iterator[Finding]:
    """What git must hold and what DVC must: neither works where the other has it."""
    outputs = [str(path) for path in layout.read().all()]
    metric = str(layout.read().summary)
    ignored = git.ignored(project.root, [*map(str, IN_GIT), metric])
    doubled = git.tracked(project.root, [path for path in outputs if path != metric])
    if ignored:
        yield broken(
            "git and DVC",
            f"git ignores {listing(ignored)}, which say what a result was made with",
            "Take the line out of .gitignore (`git check-ignore -v` names it), then `git add` them.",
        )
    if doubled:
        yield broken(
            "git and DVC",
            f"both hold {listing(doubled)}, so that DVC refuses to write there",
            "`git rm -r --cached` them and commit: DVC keeps them by dvc.lock.",
        )
    if not ignored and not doubled:
        yield ok("git and DVC", "outputs are DVC's alone; dvc.yaml, dvc.lock, params.yaml and the metrics are git's")
