"""The lines of a hook's file that are graft's: between two marks, behind the file's first line.

They stand before what others wrote, since that may end the file early (DVC's own hooks `exec` DVC). What they start
waits until Git is done, and so sees what the rest of the file has done too, `dvc checkout` say.
"""

from __future__ import annotations

import re
import shlex

SHELLS = re.compile(r"#!\s*(\S*/)?(env\s+)?(ba|da|k|z|a)?sh(\s.*)?")
"""The first line of a file that POSIX shell may be put into."""

FIRST = "#!/bin/sh\n"

TEXT = """\
# >>> graft hooks: {project} >>>
# In the background, once Git is done: has MLflow know a pass of which no stage ran. `graft hooks remove` takes it away.
(
    [ "${{GRAFT_HOOKS-}}" != 0 ] || exit 0
    unset $(git rev-parse --local-env-vars)
    cd -- {project} && [ -f dvc.lock ] && [ -f params.yaml ] || exit 0
    state=$( {{ cat params.yaml dvc.lock; printf %s "${{MLFLOW_TRACKING_URI-}}"; }} | git hash-object --stdin) || exit 0
    ! grep -qxs "$state" {noted} || exit 0
    if [ -x {python} ]; then
        set -- {python} -m graft
    else
        command -v graft >/dev/null || exit 0
        set -- graft
    fi
    echo "graft: MLflow may lack this pass; \\`graft log\\` runs in the background, see {log}" >&2
    nohup "$@" hooks after $PPID >/dev/null 2>&1 </dev/null &
) || :
# <<< graft hooks: {project} <<<
"""
"""$PPID is Git. What Git has put into the environment is of its own folder, and misleads Git in another."""


def of(project: str, python: str, noted: str, log: str) -> str:
    """project: its folder from the repository's root on. python: the interpreter that has graft. noted, log: files."""
    return TEXT.format(project=shlex.quote(project), python=shlex.quote(python), noted=noted, log=log)


def added(content: str, own: str) -> str:
    """A hook's file with the lines `own`, in the place of those that it had of the same project."""
    content = without(content, own)
    first, newline, rest = content.partition("\n")
    return f"{first}{newline or chr(10)}{own}{rest}" if first.startswith("#!") else f"{own}{content}"


def without(content: str, own: str) -> str:
    """A hook's file without graft's lines of the same project as `own`."""
    begin, end = own.splitlines()[0], own.splitlines()[-1]
    return re.sub(rf"^{re.escape(begin)}\n.*?^{re.escape(end)}\n", "", content, flags=re.MULTILINE | re.DOTALL)


def is_shell(content: str) -> bool:
    """Whether a hook's file is a shell's: what has no first line for the system is, too."""
    first = content.partition("\n")[0]
    return not first.startswith("#!") or SHELLS.fullmatch(first.rstrip()) is not None
