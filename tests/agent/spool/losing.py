"""A disk that loses power under SQLite, in this process: what the spool finds when it boots again.

SQLite's own table of file operations is changed (sqlite3_vfs and sqlite3_io_methods of sqlite3.h):
what it writes, cuts off, syncs and deletes in one folder is told to a `Disk` as well, which knows
what a power cut may leave. The cut comes before a given operation; every one after it fails, as if
the process were no more. Syncs of the real disk are left out: nothing here depends on them.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import random
import sys
from collections.abc import Callable, Mapping
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_int64, c_void_p
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.agent.spool.disk import Call, Disk

OK, FAILED = 0, 10  # SQLITE_OK, SQLITE_IOERR
CREATE = 0x4  # SQLITE_OPEN_CREATE
MEMORY_SUFFIX = "-shm"  # mapped memory, which no power cut leaves

# Names are handed on as the pointers that they are: SQLite keeps them while a file is open.
_Open = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_Delete = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)
_Close = CFUNCTYPE(c_int, c_void_p)
_Write = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_Truncate = CFUNCTYPE(c_int, c_void_p, c_int64)
_Sync = CFUNCTYPE(c_int, c_void_p, c_int)


class _Vfs(Structure):
    """The beginning of sqlite3_vfs."""

    _fields_ = (
        ("iVersion", c_int),
        ("szOsFile", c_int),
        ("mxPathname", c_int),
        ("pNext", c_void_p),
        ("zName", c_char_p),
        ("pAppData", c_void_p),
        ("xOpen", c_void_p),
        ("xDelete", c_void_p),
    )


class _Methods(Structure):
    """sqlite3_io_methods, version 3."""

    _fields_ = (
        ("iVersion", c_int),
        ("xClose", c_void_p),
        ("xRead", c_void_p),
        ("xWrite", c_void_p),
        ("xTruncate", c_void_p),
        ("xSync", c_void_p),
        ("others", c_void_p * 13),
    )


def _library() -> ctypes.CDLL | None:
    """The SQLite that Python uses, where it is a library of its own."""
    path = getattr(_sqlite3, "__file__", None)  # None: built into the interpreter
    library = ctypes.CDLL(path) if path else None
    return library if hasattr(library, "sqlite3_vfs_find") else None


def reachable() -> bool:
    """Whether this Python's SQLite can be had this way."""
    return sys.platform == "linux" and _library() is not None


class LosingDisk:
    """While it is entered, SQLite's files in the folder last given to `begin` lie on it."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        library = _library()
        assert library is not None, "look at `reachable` first"
        library.sqlite3_vfs_find.restype = POINTER(_Vfs)
        self._vfs = library.sqlite3_vfs_find(None).contents
        self._open, self._delete = _Open(self._vfs.xOpen), _Delete(self._vfs.xDelete)
        self._mine = (_Open(self._opened), _Delete(self._deleted))
        self._tables: dict[int, _Methods] = {}  # ours, by the address of the original
        self._kept: list[object] = []  # what C holds pointers to
        self._files: dict[int, str] = {}
        self._folder = ""
        self._disk = Disk(Path())
        self._strikes_in: int | None = None
        self._torn = False
        self._on_cut: Callable[[], None] = lambda: None
        self.left: dict[str, bytes] | None = None  # by a power cut

    def __enter__(self) -> Self:
        self._vfs.xOpen, self._vfs.xDelete = (_address(function) for function in self._mine)
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._vfs.xOpen, self._vfs.xDelete = _address(self._open), _address(self._delete)

    def begin(self, folder: Path, found: Mapping[str, bytes]) -> None:
        """Power is there again, and files by their names in the folder."""
        self._folder = str(folder)
        for name, data in found.items():
            (folder / name).write_bytes(data)
        self._disk = Disk(folder, {str(folder / name): data for name, data in found.items()})
        self._strikes_in = self.left = None

    def strike(self, after: int, on_cut: Callable[[], None], *, torn: bool) -> None:
        """Cut the power before one of the next operations.

        `on_cut` is called then, where it is noticed. `torn`: some of what was not synced is there.
        """
        self._torn, self._on_cut = torn, on_cut
        self._strikes_in = after

    def cut(self) -> None:
        """Now, unless it has been."""
        if self.left is None:
            self._on_cut()
            after = self._disk.after_power_cut(self._chance if self._torn else None)
            self.left = {Path(name).name: data for name, data in after.items()}

    # -- what SQLite calls -----------------------------------------------------------------

    def _gone(self) -> bool:
        """Whether there is no power now, before the next operation."""
        if self.left is None and self._strikes_in is not None:
            self._strikes_in -= 1
            if self._strikes_in < 0:
                self.cut()
        return self.left is not None

    def _opened(self, vfs: int, name: int | None, file: int, flags: int, out: int) -> int:
        result = int(self._open(vfs, name, file, flags, out))
        path = ctypes.string_at(name).decode() if name else ""
        ours = path.startswith(self._folder + "/") and not path.endswith(MEMORY_SUFFIX)
        if result == OK and self._folder and ours:
            self._files[file] = path
            self._disk.apply(Call("openat", path, creates=bool(flags & CREATE)))
            methods = c_void_p.from_address(file)
            methods.value = ctypes.addressof(self._table(methods.value or 0))
        return result

    def _deleted(self, vfs: int, name: int, sync: int) -> int:
        path = ctypes.string_at(name).decode()
        if path.startswith(self._folder + "/"):
            if self._gone():
                return FAILED
            self._disk.apply(Call("unlink", path))
        return int(self._delete(vfs, name, sync))

    def _table(self, original: int) -> _Methods:
        """The operations of a file, with ours in front of those that change something."""
        if original in self._tables:
            return self._tables[original]
        theirs = _Methods.from_address(original)
        ours = _Methods.from_buffer_copy(theirs)
        write, truncate = _Write(theirs.xWrite), _Truncate(theirs.xTruncate)
        close = _Close(theirs.xClose)

        def written(file: int, data: int, size: int, offset: int) -> int:
            if self._gone():
                return FAILED
            body = ctypes.string_at(data, size)
            self._disk.apply(Call("pwrite64", self._files[file], body, offset))
            return int(write(file, data, size, offset))

        def truncated(file: int, size: int) -> int:
            if self._gone():
                return FAILED
            self._disk.apply(Call("ftruncate", self._files[file], offset=size))
            return int(truncate(file, size))

        def synced(file: int, _: int) -> int:
            if self._gone():
                return FAILED
            self._disk.apply(Call("fsync", self._files[file]))
            self._disk.apply(Call("fsync", self._folder))  # an entry is there with its file
            return OK

        def closed(file: int) -> int:
            self._files.pop(file, None)
            return int(close(file))

        functions = (_Write(written), _Truncate(truncated), _Sync(synced), _Close(closed))
        ours.xWrite, ours.xTruncate, ours.xSync, ours.xClose = map(_address, functions)
        self._kept += functions
        self._tables[original] = ours
        return ours


def _address(function: object) -> int:
    return ctypes.cast(function, c_void_p).value or 0  # type: ignore[arg-type]
