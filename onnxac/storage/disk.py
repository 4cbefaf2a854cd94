"""The one place that writes to the disk. It knows nothing of models.

A file is made in a folder of this process's own, beside the place where it is to go, and
moved there in one step when it is whole. What happens on the way leaves the old file or the
new one. A process that ends takes its folders along; those of one that was killed are
cleared by the next process that makes a folder beside them.

    .onnxac-TOKEN/            a workspace: its process holds a lock on it as long as it lives
    NAME.TOKEN.data           data that went out first, waiting for the file that names it

While a workspace holds anything, what it names is not in place, and data of its token
belongs to nobody else. So who finds one without a lock knows what to remove.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from onnxac.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows: remains are left, since nobody can tell who still needs them
    fcntl = None  # type: ignore[assignment]

PREFIX = ".onnxac-"

_CHUNK, _AT_ONCE = 2**20, 2**30

# Workspaces of this process, by path, each with the process that made it: a fork inherits the
# list, and not the folders. Entered before the folder is made, so that an exit in between
# removes it as well.
_made: dict[Path, int] = {}


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says while `path` is written into an OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: can't be written: {error.strerror}") from error


@dataclass(frozen=True)
class Target:
    """A place for a file: as it was given, and where that is once links are followed."""

    given: Path
    real: Path

    @classmethod
    def of(cls, path: Path) -> Target:
        """Raises OutputError where no file can be put, before anything has been done."""
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; name a file in it")
        old = status(path)
        if old is not None and not stat.S_ISREG(old.st_mode):
            # A device or a pipe would be replaced by the file.
            raise OutputError(f"{path}: is no regular file; name one, or - for standard output")
        if is_stream(old):
            raise OutputError(f"{path}: is where this command writes to; give - for that")
        real = Path(os.path.realpath(path))
        for folder in (path.parent, real.parent):
            if not folder.is_dir():
                raise OutputError(f"{path}: its folder {folder} does not exist; create it first")
        if old is not None and not (old.st_mode & 0o222 and os.access(real, os.W_OK)):
            # Stores that links lead into (DVC, git-annex) protect their files like this.
            raise OutputError(f"{path}: can't be written: it is write-protected")
        if not os.access(real.parent, os.W_OK):
            raise OutputError(f"{path}: can't be written: permission denied")
        return cls(path, real)

    @property
    def moves(self) -> bool:
        """Whether the file is in another folder than the name that leads to it."""
        return os.path.realpath(self.given.parent) != str(self.real.parent)

    def dress(self, made: Path) -> None:
        """Give a file the mode, the owner and the attributes of the one that it replaces."""
        old = status(self.real)
        if old is None:
            return
        new = made.stat()
        if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
            # Only the superuser may give files away; the mode still says who may read it.
            with contextlib.suppress(PermissionError):
                os.chown(made, old.st_uid, old.st_gid)
        _copy_attributes(self.real, made)
        os.chmod(made, stat.S_IMODE(old.st_mode))

    def replace(self, made: Path) -> None:
        """Move a whole file here, in one step. Raises OutputError, and leaves the old one."""
        with writing(self.given):
            old = status(self.real, follow=False)
            if old is not None and not stat.S_ISREG(old.st_mode):
                raise OutputError(f"{self.given}: has become something else meanwhile")
            self.dress(made)
            os.replace(made, self.real)
        sync_folder(self.real.parent)


def status(path: Path, *, follow: bool = True) -> os.stat_result | None:
    """What is at a path; None where there is nothing, or a link to nothing."""
    try:
        return path.stat() if follow else path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(f"{path}: can't be written: {error.strerror}") from error


def is_stream(what: os.stat_result | None) -> bool:
    """Whether a file is where standard output or standard error goes."""
    if what is None:
        return False
    for number in (1, 2):
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(number), what):
                return True
    return False


def _copy_attributes(source: Path, target: Path) -> None:
    """Extended attributes, access lists among them, as far as the file system lets us."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            for name in os.listxattr(source):
                with contextlib.suppress(OSError):
                    os.setxattr(target, name, os.getxattr(source, name))


class Workspace:
    """A folder of this process's own in another folder; gone when the `with` block ends."""

    def __init__(self, parent: Path) -> None:
        clear_remains(parent)
        self._lock: int | None = None
        while self._lock is None:
            self.token = os.urandom(8).hex()
            self.path = parent / f"{PREFIX}{self.token}"
            _made[self.path] = os.getpid()
            self.path.mkdir(mode=0o700)
            self._lock = _lock(self.path)

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the folder, what is left in it, and data that it published for nothing."""
        _discard(self.path)
        if not self.path.exists():
            # Else it is tried again when the process ends.
            _made.pop(self.path, None)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def data_name(self, name: str) -> str:
        """The name of the data of file `name`; nothing else is called so."""
        return f"{name}.{self.token}.data"

    def create(self, name: str) -> IO[bytes]:
        """A new file in the folder, open for writing. Its mode is that of any new file."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        return os.fdopen(os.open(self.path / name, flags, 0o666), "wb")


def scratch() -> Workspace:
    """A workspace for what nobody keeps, where the system wants such things."""
    folder = Path(tempfile.gettempdir())
    with writing(folder):
        return Workspace(folder)


def _lock(path: Path) -> int | None:
    """Hold the folder; None where somebody took it for remains before we could."""
    if fcntl is None:
        return -1
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    # Without locks on this file system, nobody gets one to clear it, either.
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX)
    if path.exists():
        return handle
    os.close(handle)
    return None


def clear_remains(parent: Path) -> None:
    """Remove the workspaces in `parent` whose processes were killed; ours only, by owner."""
    if fcntl is None:
        return
    # Clearing up is a courtesy: what stands in its way is no failure of this run.
    with contextlib.suppress(OSError):
        for name in os.listdir(parent):
            if name.startswith(PREFIX):
                with contextlib.suppress(OSError):
                    _clear(parent / name)


def _clear(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(handle).st_uid == os.geteuid():
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _discard(path)
    finally:
        os.close(handle)


def _discard(path: Path) -> None:
    """Remove a workspace. Data first: as long as the folder is not empty, it is known as ours."""
    try:
        pending = os.listdir(path)
    except OSError:
        return
    if pending:
        ending = f".{path.name.removeprefix(PREFIX)}.data"
        for name in os.listdir(path.parent):
            if name.endswith(ending):
                with contextlib.suppress(OSError):
                    os.unlink(path.with_name(name))
    shutil.rmtree(path, ignore_errors=True)


@atexit.register
def _discard_all() -> None:
    for path, owner in list(_made.items()):
        if owner == os.getpid():
            _discard(path)


def sync(out: IO[bytes]) -> None:
    """Have a file on the disk before anything refers to it."""
    out.flush()
    os.fsync(out.fileno())


def copy_range(source: IO[bytes], start: int, length: int, out: IO[bytes]) -> int:
    """Append a part of a file to another; returns how much of it there was."""
    out.flush()
    done = 0
    with contextlib.suppress(AttributeError, OSError):
        # Within the system, where it can: shared blocks need not be copied at all.
        while done < length:
            count = os.copy_file_range(
                source.fileno(), out.fileno(), min(length - done, _AT_ONCE), start + done
            )
            if not count:
                break
            done += count
    out.seek(0, os.SEEK_END)
    source.seek(start + done)
    while done < length and (chunk := source.read(min(length - done, _CHUNK))):
        out.write(chunk)
        done += len(chunk)
    return done


def sync_folder(folder: Path) -> None:
    """Have a renaming on the disk."""
    # Not every file system lets a folder be opened; the rename itself has happened.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


# Text.


def check_text(path: Path) -> None:
    """Raise OutputError where a text file can't be put; pipes and devices are written to."""
    if not _is_written_to(path):
        Target.of(path)


def write_text(path: Path, text: str) -> None:
    """Put a text file in its place in one step, or raise OutputError."""
    if _is_written_to(path):
        # What can't be replaced, as a pipe, is written to, in the order of what is said there.
        sys.stdout.flush()
        append_text(path, text)
        return
    target = Target.of(path)
    with writing(path), Workspace(target.real.parent) as workspace:
        with workspace.create(target.real.name) as out:
            out.write(text.encode())
            sync(out)
        target.replace(workspace.path / target.real.name)


def append_text(path: Path, text: str) -> None:
    """Add to a text file that others add to as well, or raise OutputError."""
    with writing(path), path.open("a", encoding="utf-8") as out:
        out.write(text)


def _is_written_to(path: Path) -> bool:
    old = status(path)
    special = old is not None and not stat.S_ISREG(old.st_mode) and not stat.S_ISDIR(old.st_mode)
    return special or is_stream(old)
