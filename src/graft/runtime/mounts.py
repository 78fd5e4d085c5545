"""What kind of file system a folder lies on."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

NETWORK = frozenset(
    {
        "nfs", "nfs4", "cifs", "smb3", "smbfs", "afpfs", "afs", "ceph", "fuse.ceph", "lustre", "beegfs", "gpfs",
        "davfs", "fuse.davfs", "glusterfs", "fuse.glusterfs", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone",
        "fuse.blobfuse2", "fuse.mount-s3", "macfuse",
    }
)  # fmt: skip
"""Kinds whose files several machines write, without the locks and the shared memory that LMDB needs."""


def kind_of(folder: Path) -> str:
    """`ext4`, `nfs4`, `fuse.sshfs`; "" where the system does not tell."""
    real = os.path.realpath(folder)
    mounts = {place: kind for place, kind in _mounts() if real == place or real.startswith(f"{place.rstrip('/')}/")}
    return mounts[max(mounts, key=len)] if mounts else ""


@cache
def _mounts() -> tuple[tuple[str, str], ...]:
    """(where, kind), a later one over an earlier one."""
    import psutil

    try:
        return tuple((one.mountpoint, one.fstype) for one in psutil.disk_partitions(all=True))
    except OSError:
        return ()
