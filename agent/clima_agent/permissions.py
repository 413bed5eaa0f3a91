"""Who may use what on the station's machine, and how somebody comes to be allowed to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def user(number: int | None = None) -> str:
    """The name of a user; of the one of this process."""
    import pwd  # noqa: PLC0415 - there is no such thing on Windows

    number = os.geteuid() if number is None else number
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # as in a container
        return str(number)


def mend(device: str | Path, usual: str) -> str:
    """How this user comes to use a device, whose group has the `usual` name on a Raspberry Pi."""
    import grp  # noqa: PLC0415 - as above

    try:
        name, _, number, members = grp.getgrgid(Path(device).stat().st_gid)
    except (OSError, KeyError):  # gone, or known by another name outside of a container
        name, number, members = usual, -1, []
    if number == 0:
        return "it is root's alone: its driver or a udev rule gives it to a group"
    if user() in members:
        return f"{user()} is in the group {name} by now; log in again, or restart the service"
    return f"`sudo usermod -aG {name} {user()}`, then log in again, or restart the service"


def strangers(paths: Iterable[Path]) -> Iterator[str]:
    """Files that do not belong to whom their folder belongs: root has made them, perhaps."""
    for path in paths:
        try:
            owner, theirs = path.parent.stat().st_uid, path.stat().st_uid
        except OSError:
            continue
        if owner != theirs:
            yield (
                f"{path}: belongs to {user(theirs)}, and its folder to {user(owner)};"
                f" `sudo chown {user(owner)}: {path}`"
            )


def other_user(folder: Path) -> str | None:
    """Whose the folder is, if not ours: the agent runs as another user than this one."""
    try:
        owner = folder.stat().st_uid
    except OSError:
        return None
    return None if owner == os.geteuid() else user(owner)


def unwritable(path: Path) -> str | None:
    """Why this user cannot write to a file or folder that is there, with the mend."""
    if os.access(path, os.W_OK):
        return None
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return (
            f"{path} is on a file system that is read only (agent/README.md, *A spool elsewhere*)"
        )
    return f"this user, {user()}, may not write to {path}"
