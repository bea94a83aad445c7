"""The folders that prodfix writes into: STATE_DIR and LOG_DIR."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from prodfix.doctor.findings import Finding, NotApplicable, counted, error, note, warning
from prodfix.doctor.registry import check
from prodfix.doctor.subject import Subject, folder_of
from prodfix.logs.files import FILES
from prodfix.settings import OperationQueue

SCARCE = 64 * 1024 * 1024  # bytes free, below which soon nothing can be written
MIB = 1024 * 1024
MOUNTS = Path("/proc/self/mounts")
_IN_MEMORY, _LAYERS = ("tmpfs", "ramfs"), ("overlay", "aufs")


@check("state-folder", "disk")
def state_folder(subject: Subject) -> Iterator[Finding]:
    """STATE_DIR can be written."""
    yield from _writable(
        "STATE_DIR", subject.settings.state_dir, "nothing can be deferred, counted or told to other workers"
    )


@check("log-folder", "disk")
def log_folder(subject: Subject) -> Iterator[Finding]:
    """LOG_DIR can be written."""
    yield from _writable("LOG_DIR", subject.settings.log_dir, "the category files stay empty; stdout has every line")


def _writable(name: str, path: Path, otherwise: str) -> Iterator[Finding]:
    advice = f"Name a folder that the service's user may make and write: {name}"
    there = folder_of(path)
    if not there.is_dir():
        yield error(f"{name}, or what is above it, is no folder: {otherwise}", advice)
        return
    try:
        with tempfile.TemporaryFile(dir=there):  # access() says yes to root, also where the disk is read-only
            pass
    except OSError as failure:
        yield error(f"{name} cannot be written ({failure.strerror}): {otherwise}", advice, errno=failure.errno)


@check("file-modes", "disk")
def modes(subject: Subject) -> Iterator[Finding]:
    """What is kept on disk is for the service's user alone."""
    settings = subject.settings
    folders = [settings.state_dir / "journal", settings.log_dir]
    files = [settings.state_dir / "jwt.key"]
    files += [path for path in _listed(folders[0]) if path.suffix in (".db", ".db-wal", ".lock")]
    files += [path for path in _listed(folders[1]) if path.name.partition(".")[0] in FILES]
    open_folders = [path.name for path in folders if _mode(path) & 0o077]
    open_files = [path.name for path in files if _mode(path) & 0o077]
    if open_folders or open_files:
        yield warning(
            f"{counted(len(open_folders), 'folder')} and {counted(len(open_files), 'file')} open to other users of this host",
            "chmod 700 the folders and 600 the files: they hold users' data until it is stored",
            folders=open_folders,
            files=len(open_files),
        )
    if _mode(settings.state_dir) & 0o002 and not _mode(settings.state_dir) & stat.S_ISVTX:
        yield error(
            "every user of this host may write into STATE_DIR, and so order what becomes of deferred writes",
            "chmod 700 STATE_DIR",
        )


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return 0


@check("state-durability", "disk")
def durability(subject: Subject) -> Iterator[Finding]:
    """What waits on disk survives a restart of the instance."""
    settings = subject.settings
    kind = file_system(settings.state_dir)
    queue = settings.enable_operation_queue
    if queue is OperationQueue.EPHEMERAL and not settings.durable:
        yield warning(
            "ENABLE_OPERATION_QUEUE=ephemeral: writes that clients were told of (202) are lost with the instance's disk",
            "Attach a disk, name a folder on it as STATE_DIR, and set ENABLE_OPERATION_QUEUE to true",
        )
    elif queue is OperationQueue.ON and not settings.durable:
        yield note(
            "the disk below STATE_DIR does not survive a restart, so no write waits there: in an outage they are refused (503)",
            "Attach a disk and name a folder on it as STATE_DIR, if writes shall wait",
        )
    elif settings.defers_writes and settings.durable and kind in _IN_MEMORY:
        level = error if subject.deployed else note
        yield level(
            f"STATE_DIR is in memory ({kind}), and writes that wait there are called durable",
            "Name a folder on a disk as STATE_DIR, or set STATE_DIR_DURABLE to false",
            fileSystem=kind,
        )
    elif settings.defers_writes and subject.deployed and kind in _LAYERS:
        yield warning(
            "STATE_DIR is in a container's own layer: its files are gone with the next deploy, and writes that wait in them",
            "Mount a volume there, or set STATE_DIR_DURABLE to false",
            fileSystem=kind,
        )


@check("log-durability", "disk")
def log_durability(subject: Subject) -> Iterator[Finding]:
    """The log files survive a restart of the instance."""
    settings = subject.settings
    kind = file_system(settings.log_dir)
    ephemeral = settings.render and not _on_mount(settings.log_dir)
    if ephemeral or (subject.deployed and kind in (*_IN_MEMORY, *_LAYERS)):
        yield note(
            "LOG_DIR is on an ephemeral disk: its files are gone with the next deploy",
            "Nothing, as stdout is the log that survives: see that your host keeps it",
            fileSystem=kind,
        )


def _on_mount(path: Path) -> bool:
    """Whether a disk is attached at ``path`` or above it, below the root."""
    return any(os.path.ismount(folder) for folder in (path, *path.absolute().parents) if folder != Path("/"))


def file_system(path: Path) -> str:
    """The type of the file system that ``path`` is or would be on, as the kernel calls it; empty if it does not tell."""
    place = folder_of(path).resolve()
    best, kind = -1, ""
    for line in MOUNTS.read_text("utf-8", "replace").splitlines() if MOUNTS.exists() else ():
        words = line.split(" ")
        point = Path(words[1].encode().decode("unicode_escape", "replace"))
        if place.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), words[2]
    return kind


@check("free-space", "disk")
def space(subject: Subject) -> Iterator[Finding]:
    """There is room for what may have to wait, and for the logs."""
    settings = subject.settings
    free = shutil.disk_usage(folder_of(settings.state_dir)).free
    waiting = settings.deferred_max_bytes * subject.workers if settings.defers_writes else 0
    logs = settings.log_file_max_size * settings.log_file_max_files * len(FILES)
    facts = {"freeMiB": free // MIB, "deferredMiB": waiting // MIB, "logsMiB": logs // MIB}
    if free < SCARCE:
        yield error(
            f"{free // MIB} MiB are free below STATE_DIR", "Make room: soon nothing can be kept or logged", **facts
        )
    elif free < waiting + logs:
        yield note(
            f"{free // MIB} MiB are free, and deferred writes ({waiting // MIB} MiB) and logs ({logs // MIB} MiB) may need more",
            "Lower DEFERRED_MAX_BYTES or LOG_FILE_MAX_SIZE, or give it a larger disk",
            **facts,
        )


@check("state-mount", "disk")
def mounted(subject: Subject) -> Iterator[Finding]:
    """The disk that is said to be attached is there."""
    settings = subject.settings
    if not settings.render or not settings.state_dir_durable:
        raise NotApplicable
    if not _on_mount(settings.state_dir):
        yield error(
            "STATE_DIR_DURABLE is true on Render, and no disk is attached at STATE_DIR",
            "Attach a disk whose mount path is STATE_DIR or above it, or take STATE_DIR_DURABLE away",
        )
