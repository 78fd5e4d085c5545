"""Libraries, processor, accelerator, variables, room on the disks."""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from graft.doctor.finding import Finding, Project, broken, ok, warning
from graft.errors import SurroundingsError, listing
from graft.runtime import cache, numerics
from graft.runtime.cores import available

LIBRARIES = ("tensorflow", "keras", "numpy", "openvino", "pillow", "scikit-learn", "dvc", "mlflow")
"""Whose versions a result, or what is known of it, depends on."""

LOCK_FILE = Path("requirements.lock")

LITTLE, HARDLY_ANY = 5e9, 5e8
"""Bytes that are free."""


def versions(project: Project) -> Iterator[Finding]:
    """Beside those of the lock file, where the project has one."""
    here = {name: _version(name) for name in LIBRARIES}
    missing = [name for name, found in here.items() if found is None]
    if missing:
        yield broken("libraries", f"{listing(missing)}: not installed", "Install graft anew: `make install`, or pip.")
        return
    said = f"Python {platform.python_version()}, " + ", ".join(f"{name} {found}" for name, found in here.items())
    pinned = _pinned(project.root / LOCK_FILE)
    other = [
        f"{name} {here[name]} (locked: {pinned[name]})" for name in here if pinned.get(name, here[name]) != here[name]
    ]
    if other:
        yield warning(
            "libraries",
            f"not those of {LOCK_FILE}: {listing(other, len(other))}",
            "`make install` installs what is locked; late decimals may differ from a colleague's until then.",
        )
    else:
        yield ok("libraries", said + (f", as {LOCK_FILE} has them" if pinned else ""))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _pinned(file: Path) -> dict[str, str]:
    """name -> the version that the lock file has for this Python and system; nothing where there is no such file."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        wanted = [Requirement(line.rstrip("\\ ")) for line in lines if line[:1].isalnum()]
    except (OSError, UnicodeDecodeError, InvalidRequirement):
        return {}
    return {
        one.name.lower(): str(one.specifier).removeprefix("==")
        for one in wanted
        if one.marker is None or one.marker.evaluate()
    }


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
    from graft.runtime.tensorflow import import_tensorflow

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
