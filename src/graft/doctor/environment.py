"""Libraries, processor, accelerator, variables, room on the disks."""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from graft.doctor.finding import Finding, Project, broken, ok, warning
from graft.errors import SurroundingsError, listing
from graft.runtime import cache, environment
from graft.runtime.computing import numerics
from graft.runtime.cores import available

NAMED = ("tensorflow", "keras", "numpy", "openvino", "dvc", "mlflow")
"""Libraries whose versions are told; all that may change a number are compared."""

LOCK_FILE = Path("requirements.lock")

LITTLE, HARDLY_ANY = 5e9, 5e8
"""Bytes that are free."""


def versions(project: Project) -> Iterator[Finding]:
    """Beside those of the lock file, where the project has one."""
    wanted = project.params.numerics if project.params else "portable"
    here = environment.here(wanted)
    missing = [name for name in NAMED if name not in here.packages]
    if missing:
        yield broken("libraries", f"{listing(missing)}: not installed", "Install graft anew: `make install`, or pip.")
        return
    file = project.root / LOCK_FILE
    locked = environment.of_lock_file(file.read_text(encoding="utf-8")) if file.exists() else environment.Environment()
    other = environment.differences(locked, here)
    if other:
        yield warning(
            "libraries",
            f"not those of {LOCK_FILE}: {listing(other, len(other))}",
            "`make install` installs what is locked; late decimals may differ from a colleague's until then.",
        )
    else:
        said = ", ".join(f"{name} {here.packages[name]}" for name in NAMED)
        held = f", as {LOCK_FILE} has them" if locked.packages else ""
        yield ok("libraries", f"Python {here.python}, {said}{held}")


def processor(project: Project) -> Iterator[Finding]:
    """And what `numerics` promises on it."""
    model = re.split(r" (?=avx|amx|fma|sve|asimd)", numerics.instruction_set("native", False), maxsplit=1)[0]
    said = f"{model.removeprefix(platform.machine()).strip() or platform.machine()}, {available()} cores for graft"
    wanted = project.params.numerics if project.params else "portable"
    if not numerics.is_portable_here():
        yield warning(
            "processor",
            f"{said}; no AVX2, so that numerics: {wanted} cannot give the bytes that processors with AVX2 share",
            "Compare results here by `graft compare` and `graft verify`, within tolerance, not by their bytes.",
        )
    elif wanted == "portable":
        yield ok("processor", f"{said}; numerics: portable, the same bytes as on every x86-64 processor with AVX2")
    else:
        yield ok("processor", f"{said}; numerics: native, the same bytes on this model of processor only")


def accelerator(project: Project) -> Iterator[Finding]:
    """What TensorFlow sees: that it starts at all is worth knowing, too."""
    from graft.runtime.computing.tensorflow import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    names = [device.name for device in tf.config.list_physical_devices("GPU")]
    if names:
        yield warning(
            "accelerator",
            f"TensorFlow computes on {listing(names)}",
            "Bytes differ from those of a processor, and between models of GPU. CUDA_VISIBLE_DEVICES=-1 computes as "
            "colleagues without one do.",
        )
    else:
        yield ok("accelerator", "none that TensorFlow can use: all is computed on the processor")


def variables(project: Project) -> Iterator[Finding]:
    """Those of the environment that would make `numerics` untrue."""
    wanted = project.params.numerics if project.params else "portable"
    try:
        numerics.apply(wanted)
    except SurroundingsError as error:
        yield broken("environment", str(error), "Unset them in this shell, and where it sets them.")
    else:
        yield ok("environment", f"no variable stands against numerics: {wanted}")


def disks(project: Project) -> Iterator[Finding]:
    """Once for each disk, however many of graft's folders are on it."""
    places = {"the project": project.root, "graft's cache": cache.place()}
    seen: dict[int, tuple[list[str], float]] = {}
    for what, place in places.items():
        there = next(one for one in (place, *place.parents) if one.exists())
        names, _ = seen.setdefault(there.stat().st_dev, ([], 0.0))
        names.append(what)
        seen[there.stat().st_dev] = (names, float(shutil.disk_usage(there).free))
    for names, free in seen.values():
        said = f"{free / 1e9:.1f} GB free for {listing(names)}"
        remedy = (
            "`graft cache prune --max-gb 1` and `dvc gc --workspace` remove what can be made anew (docs/sharing.md)."
        )
        if free < HARDLY_ANY:
            yield broken("disk", said, remedy)
        elif free < LITTLE:
            yield warning("disk", said, remedy)
        else:
            yield ok("disk", said)
