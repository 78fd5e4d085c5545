"""`graft cache`: look after graft's own cache, which only saves time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from graft.errors import StaleError
from graft.features import cache as features
from graft.runtime.cache import ARCHIVES, place

if TYPE_CHECKING:
    from graft.features.packs import Moved

WIDTH = 160

INPUTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "image": lambda size: f"{size['side']} {size['resize']} {size['interpolation']}",
    "text": lambda size: f"{size['max_tokens']} tokens",
}
"""Kind of example -> what its fingerprint says of the network's input."""

app = typer.Typer(help="Look after graft's own cache, which only saves time.", no_args_is_help=True)


@app.command()
def info() -> None:
    """List what the cache holds of which backbones, where it lies, and its limit."""
    table = Table(box=None, pad_edge=False)
    for name in ("backbone", "weights", "input", "engine", "what", "kept for each", "of", "MB", "used"):
        table.add_column(name, justify="right" if name == "MB" else "left")
    held = features.held()
    for one in held:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.used))
        table.add_row(*_described(one), f"{one.n_bytes / 1e6:.0f}", used)
    console = Console(width=max(WIDTH, Console().width))
    console.print(table)
    total = sum(one.n_bytes for one in held) / 1e9
    unpacked = sum(size for _, size in _archives()) / 1e9
    console.print(
        f"{total:.2f} GB of features in {place() / features.KIND}; limit {features.limit_bytes() / 1e9:g} GB "
        f"({features.LIMIT_VARIABLE})",
        soft_wrap=True,
        highlight=False,
    )
    console.print(f"{unpacked:.2f} GB of unpacked archives in {place() / ARCHIVES}", soft_wrap=True, highlight=False)


def _described(one: features.Held) -> list[str]:
    """The columns that say of what; of another version of graft, which shares the cache, what there is to say."""
    what = one.what
    try:
        size = what["input"]
        alpha = f" {what['alpha']:g}" if what["alpha"] is not None else ""
        return [
            f"{one.backbone}{alpha}",
            what["weights_sha256"][:12],
            INPUTS[size["kind"]](size),
            f"{what['engine']} {what['precision']}",
            f"activations at {what['output']['cut']}" if "cut" in what["output"] else "features",
            f"{'x'.join(map(str, what['shape']))} {what['dtype']}",
            "views" if size["augment"] else "plain",
        ]
    except (KeyError, TypeError, ValueError):
        return [one.backbone, *"?" * 6]


def _archives() -> list[tuple[Path, int]]:
    """Each unpacked archive and its bytes, the one used last first."""
    try:
        found = [(file, file.lstat()) for file in (place() / ARCHIVES).glob("*.zip")]
    except OSError:
        return []
    return [(file, status.st_size) for file, status in sorted(found, key=lambda one: -one[1].st_atime)]


@app.command()
def prune(
    max_gb: Annotated[float, typer.Option(help="What features may take together, in gigabytes; 0: nothing.", min=0)],
) -> None:
    """Remove the features that were not used for longest, then unpacked archives, until the rest fits."""
    for one in features.prune(max_gb * 1e9):
        typer.echo(f"removed {one.n_bytes / 1e6:.0f} MB of {one.backbone} ({one.folder.name})")
    left = sum(one.n_bytes for one in features.held()) / 1e9
    for file, size in reversed(archives := _archives()):
        if left * 1e9 + sum(size for _, size in archives) > max_gb * 1e9:
            archives.remove((file, size))
            try:
                file.unlink(missing_ok=True)
                typer.echo(f"removed {size / 1e6:.0f} MB of an unpacked archive ({file.name})")
            except OSError as error:
                typer.echo(f"left an unpacked archive ({file.name}): {error.strerror}")
    typer.echo(f"{left:.2f} GB of features are left in {place() / features.KIND}")


@app.command()
def verify() -> None:
    """Read all features in the cache, and drop those that are damaged; they will be computed again."""
    read, dropped = features.verify()
    typer.echo(f"{read} features read, {dropped} damaged and dropped")


REMOTE = Annotated[
    str | None, typer.Option(help="A remote of DVC's, a bucket or a folder; without it, DVC's default one.")
]


@app.command()
def push(remote: REMOTE = None) -> None:
    """Put the features of this project's examples that DVC's remote lacks there, so that nobody computes them again."""
    from graft.features import packs
    from graft.tracking import remote as remotes

    wanted = _wanted()
    if wanted is None:
        raise StaleError(
            "graft cache push: needs the project's catalogue, which says whose features may go to its remote. There is "
            "none. Run `dvc repro` or `dvc pull`."
        )
    with remotes.opened(remote) as there:
        _say_moved((one for one in packs.push(there, wanted) if one.n_values), f"to {there.name}")


@app.command()
def pull(remote: REMOTE = None) -> None:
    """Bring the features that DVC's remote has into the cache here, of this project's examples once they are known."""
    from graft.features import packs
    from graft.tracking import remote as remotes

    with remotes.opened(remote) as there:
        _say_moved(packs.pull(there, _wanted()), f"from {there.name}")
    for one in features.prune(features.limit_bytes()):
        typer.echo(f"removed {one.n_bytes / 1e6:.0f} MB of {one.backbone}, to stay within {features.LIMIT_VARIABLE}")


def _wanted() -> set[bytes] | None:
    """The sha256 of every example of the project here; None where it has no catalogue yet."""
    from graft.examples import catalogue
    from graft.pipeline import layout

    paths = layout.read() if layout.FILE.exists() else None
    if paths is None or not paths.catalogue.exists():
        return None
    return {bytes.fromhex(sha256) for sha256 in catalogue.read(paths.catalogue).used["sha256"]}


def _say_moved(moved: Iterable[Moved], where: str) -> None:
    total = 0
    for one in moved:
        typer.echo(f"{one.n_values} values of {one.backbone} ({one.name}) {where}")
        total += one.n_values
    typer.echo(f"{total} values in all {where}" if total else f"nothing to move {where}")
