"""What the original wrote, from DVC's cache or a remote: features where photos are missing, what a verdict needs."""

from __future__ import annotations

from graft.errors import NotJudgedError, listing
from graft.pipeline import lock
from graft.pipeline.worktree import Worktree
from graft.reproduction import objects, place
from graft.reproduction.original import Original

COMPUTED_FROM_PHOTOS = ("prepare", "extract")
"""The stages without which the others can run where their outputs are at hand."""


def features(original: Original, tree: Worktree) -> None:
    """What `prepare` and `extract` of the original wrote, from DVC's cache or a remote.

    Raises NotJudgedError where they are in neither.
    """
    (tree.folder / lock.LOCK).write_text(original.lock, encoding="utf-8")
    wanted = {path: md5 for stage in COMPUTED_FROM_PHOTOS for path, md5 in original.stages[stage].outs.items()}
    for command in ("checkout", "pull"):
        place.asked_dvc(tree, command, "--force", *COMPUTED_FROM_PHOTOS)
        lacking = [path for path in wanted if not (tree.folder / path).exists()]
        if not lacking:
            break
    if lacking:
        raise NotJudgedError(
            f"{original.name}: its features must be in DVC's cache or in a remote, since its examples are not used. "
            f"Missing: {listing(lacking)}. Run `dvc push` where the features are, name the remote here (`dvc remote "
            "add`), or put the examples where data.path says."
        )
    other = [path for path, md5 in wanted.items() if lock.md5_of_file(tree.folder / path) != md5]
    if other:
        raise NotJudgedError(
            f"{original.name}: {listing(other)} in DVC's cache must be what {lock.LOCK} recorded, and is not: the "
            "cache is damaged. Run `dvc pull --force` from a remote that has the files."
        )


def figures(original: Original, tree: Worktree) -> None:
    """What a verdict is told by, the catalogue and the figures, into DVC's cache where only a remote has them."""
    told_by = {str(path) for name, path in place.paths(tree.folder).items() if name in ("catalogue", "metrics")}
    outs = {path: md5 for one in original.stages.values() for path, md5 in one.outs.items() if path in told_by}
    lacking = [path for path, md5 in outs.items() if objects.file(tree.cache, md5) is None]
    if lacking and original.lock:
        (tree.folder / lock.LOCK).write_text(original.lock, encoding="utf-8")
        place.asked_dvc(tree, "fetch", *lacking)
