"""`graft init`: the files of a project, and git and DVC where there is none. What is there is never overwritten."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from graft.config import yaml_file
from graft.errors import GraftError, listing
from graft.examples.sources import tables
from graft.examples.sources.listing import is_one as is_listing
from graft.pipeline.layout import OPTIONAL, STAGES
from graft.project import lock, look, template, texts

PLACES = {path: f"{path}/README.md" for path in ("data/digits", "data/keras")}
"""Values of data.path of sources that bring their images -> what makes the folder, and says what is read."""

DECISIONS = "data/relabel/README.md"
"""Makes the folder of tables that `data.relabel` names, on which `prepare` depends whether there is one or not."""

PIPELINE = "dvc.yaml"
PARAMETERS = "params.yaml"
IGNORED = (".gitignore", ".dvcignore")
"""Files that get the lines that they lack."""

README = "README.md"
"""Left alone where there is one: it is about the whole repository."""


def write(folder: Path, data: Path | None = None, recipe: str | None = None) -> Iterator[str]:
    """Write a project, with values that suit the images or texts at `data`, and tell what was done, in sentences.

    recipe: a whole params.yaml to start from instead.

    Raises GraftError before anything is written where a file of another content is there, or the data cannot be used.
    """
    folder = folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise GraftError(f"{folder}: must be a directory, or not be there yet. Name another.")
    values: dict[str, Any] = {"tracking.experiment": folder.name or "graft"}
    if data is not None:
        recorded = _recorded(data, folder)
        if (some := texts.found(data, recorded)) is not None:
            values |= texts.suited(some, folder)
            yield from texts.sentences(some, folder)
        else:
            found = look.look(data, recorded)
            values |= look.suited(found)
            yield from look.sentences(found)
    parameters = template.replaced(recipe or template.original(PARAMETERS), values)
    path = yaml_file.parse(parameters, PARAMETERS)["data"]["path"]
    files = {
        PIPELINE: template.pipeline(),
        PARAMETERS: parameters,
        str(lock.FILE): lock.text(),
        README: template.readme(folder.name),
        DECISIONS: template.original(DECISIONS),
    } | ({PLACES[path]: template.original(PLACES[path])} if path in PLACES else {})
    _require_equal(folder, files)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield from _write(folder, files)
        aside = _not_for_git(values, data)
        yield from _ignore(folder, aside)
        for line in aside:
            yield f"note: git ignores {line[1:]}; `dvc add {line[1:]}` lets queued experiments and colleagues have it"
    except OSError as error:
        raise GraftError(f"{error.filename or folder}: must be writable. Got: {error.strerror}.") from None
    yield from _version_control(folder)


def update(folder: Path) -> Iterator[str]:
    """Write graft.lock for the installed graft, and the folder that it needs; tell which stages' code is another.

    dvc.yaml is the user's: it is only compared. Raises GraftError where it lacks what the installed graft needs.
    """
    if not (folder / lock.FILE).exists():
        raise GraftError(f"{folder / lock.FILE}: must be there to be updated. Run `graft init`, which writes it.")
    lacking = _lacking(yaml_file.read(folder / PIPELINE))
    if lacking:
        raise GraftError(
            f"{folder / PIPELINE}: must have what the stages of this graft read and write. Lacking: "
            f"{listing(lacking)}. Take it over from the dvc.yaml that `graft init` writes in an empty folder, and run "
            "`graft init --update` again."
        )
    before, changed = lock.read(folder / lock.FILE), lock.changed(folder / lock.FILE)
    (folder / lock.FILE).write_text(lock.text(), encoding="utf-8")
    if not (folder / DECISIONS).parent.is_dir():
        yield from _write(folder, {DECISIONS: template.original(DECISIONS)})
    yield from _ignore(folder, [])
    if changed:
        yield (
            f"{lock.FILE}: was of graft {before.get('version', '(unknown)')}. The code of {', '.join(changed)} is "
            "another: `dvc repro` runs it again."
        )
    else:
        yield f"{lock.FILE}: no stage's code is another; nothing runs again"


def _recorded(data: Path, folder: Path) -> str:
    """How params.yaml names the images: relative where they lie in the project, else absolute.

    Raises GraftError where there are none, or where DVC could not tell them from what the stages write.
    """
    if not data.exists():
        there = f"There is nothing at {data}."
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", str(data)):
            there += " For what lies at an address, `graft data list ADDRESS --to photos.listing` makes the listing."
        raise GraftError(f"--data: must be a directory, an archive, a table or a listing. {there}")
    place = Path(os.path.abspath(data))
    tree = place.parent if place.suffix.lower() in tables.READERS and place.is_file() else place
    written = [folder / path for path in yaml.safe_load(template.original(PIPELINE))["vars"][0]["paths"].values()]
    around = next((path for path in written if path.is_relative_to(tree) or tree.is_relative_to(path)), None)
    if around is not None:
        inside = f" (such as {folder / 'images'})" if tree.name != "images" else ""
        raise GraftError(
            f"--data: must lie apart from what the stages write, such as {around}. Got {data}. Move the data to a "
            f"directory of their own{inside}, or make the project elsewhere: `graft init PROJECT --data {data}`."
        )
    return place.relative_to(folder).as_posix() if place.is_relative_to(folder) else place.as_posix()


def _require_equal(folder: Path, texts: Mapping[str, str]) -> None:
    differing = [
        name
        for name, text in texts.items()
        if name not in (README, DECISIONS, *PLACES.values())
        and (folder / name).exists()
        and (not (folder / name).is_file() or (folder / name).read_bytes() != text.encode())
    ]
    if differing:
        raise GraftError(
            f"{folder}: {', '.join(differing)} must not be there yet, since nothing is overwritten, and nothing was "
            f"written. Move {'it' if len(differing) == 1 else 'them'} away, or name another directory: "
            f"`graft init PROJECT`. After an upgrade of graft: `graft init --update`, which writes {lock.FILE} alone."
        )


def _write(folder: Path, texts: Mapping[str, str]) -> Iterator[str]:
    new = [name for name in texts if not (folder / name).exists()]
    for name in new:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(texts[name], encoding="utf-8")
    kept = [name for name in texts if name not in new]
    if new:
        yield f"wrote: {', '.join(new)}"
    if kept:
        yield f"left as it is: {', '.join(kept)}"


def _not_for_git(values: Mapping[str, Any], data: Path | None) -> list[str]:
    """Lines of .gitignore for images that lie in the project: git is not made for them, but for a listing of them."""
    path = values.get("data.path", "")
    if data is None or is_listing(data):
        return []
    return [] if not path or path == "." or Path(path).is_absolute() else [f"/{path}"]


def _ignore(folder: Path, own: list[str]) -> Iterator[str]:
    for name in IGNORED:
        file, text = folder / name, template.ignored(name)
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        if name == ".gitignore" and own:
            text += "\n# the data; `dvc add` keeps it\n" + "".join(f"{line}\n" for line in own)
        there = set(before.splitlines())
        lines = [line for line in text.splitlines() if line not in there]
        if any(line and not line.startswith("#") for line in lines):
            added = text if not before else "\n" + "\n".join(line for line in lines if line) + "\n"
            with file.open("a", encoding="utf-8") as out:
                out.write(("\n" if before and not before.endswith("\n") else "") + added)
            yield f"{'added lines to' if before else 'wrote'}: {name}"


def _version_control(folder: Path) -> Iterator[str]:
    """git and DVC, where the folder is in no repository of theirs."""
    git = shutil.which("git") is not None
    if git and _output(folder, "git", "rev-parse", "--is-inside-work-tree") != "true":
        _run(folder, "git", "init", "--quiet")
        yield "git init: a new repository"
    if any((above / ".dvc" / "config").exists() for above in (folder, *folder.parents)):
        return
    options = [] if git else ["--no-scm"]
    if git and _output(folder, "git", "rev-parse", "--show-prefix"):
        options = ["--subdir"]
    _run(folder, sys.executable, "-m", "dvc", "init", "--quiet", *options)
    _run(folder, sys.executable, "-m", "dvc", "config", "core.analytics", "false")
    yield " ".join(["dvc init", *options]) + ": a new repository, which sends no statistics"
    if not git:
        yield "note: git is not installed; `dvc repro` works, `dvc exp run` and `dvc metrics diff` need it"


def _output(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        shown = " ".join(Path(part).name if part == sys.executable else part for part in command)
        raise GraftError(f"{folder}: `{shown}` failed: {said} Mend that, and run `graft init` again.")


def _lacking(found: Mapping[str, Any]) -> list[str]:
    """What the pipeline of this graft has and another one, perhaps edited, has not."""
    wanted = yaml.safe_load(template.pipeline())
    lacking = [
        f"vars.paths.{name}" for name in wanted["vars"][0]["paths"] if name not in _dig(found, "vars", 0, "paths")
    ]
    if not _dig(found, "vars", 1, "exports"):
        lacking.append("vars.exports")
    for stage in (*STAGES, *OPTIONAL):
        one_of_several = ["do"] if stage in OPTIONAL else []
        for kind in ("deps", "params", "outs", "metrics"):
            there = _entries(_dig(found, "stages", stage, *one_of_several, kind))
            lacking += [
                f"stages.{stage}.{kind}: {one}"
                for one in _entries(_dig(wanted, "stages", stage, *one_of_several, kind) or None)
                if one not in there
            ]
    return lacking


def _dig(tree: Any, *keys: Any) -> Any:
    for key in keys:
        try:
            tree = tree[key]
        except (KeyError, IndexError, TypeError):
            return {}
    return tree


def _entries(listed: Any) -> list[str]:
    """'path' of `- path` and of `- path: {cache: false}`; 'graft.lock prepare' of `- graft.lock: [prepare]`."""
    names = []
    for one in listed or []:
        for name, inside in one.items() if isinstance(one, dict) else ((one, None),):
            names += [f"{name} {key}" for key in inside] if isinstance(inside, list) else [str(name)]
    return names
