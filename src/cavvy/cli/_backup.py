"""What a coordinator needs to go on elsewhere, in one directory; and back."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cavvy import __version__
from cavvy.client import config
from cavvy.client.configfile import ConfigFile
from cavvy.errors import BackupError
from cavvy.private_files import make_private_directory, write_private

if TYPE_CHECKING:
    from cavvy.store.sqlite.backup import Copied

__all__ = ["Manifest", "back_up", "restore"]

MANIFEST = "backup.json"
_DATABASE = "cavvy.db"
_LOCK = "coordinator.lock"
_FORMAT = 1
#: Of the data directory; what is not there is left out.
_FILES = ("coordinator.key", "tls.key", "tls.crt", "worker/worker.key", "worker/worker.toml")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`backup.json`: what is in a backup. `files` maps each to its SHA-256; `live` jobs have not ended."""

    format: int
    cavvy: str
    created_at: str
    store_id: str
    schema: int
    jobs: int
    live: int
    files: Mapping[str, str]


def back_up(data_dir: Path, destination: Path, file: ConfigFile) -> Manifest:
    """Makes the new directory `destination`, whole or not at all. Raises BackupError."""
    from cavvy.store.sqlite.backup import copy_database

    if not (data_dir / _DATABASE).is_file():
        raise BackupError(f"there is no coordinator's data in {data_dir}; name its directory with --data-dir")
    with _new_directory(destination) as draft:
        copied = copy_database(data_dir / _DATABASE, draft / _DATABASE)
        for name in _FILES:
            _copy(data_dir / name, draft / name)
        for name, path in _configuration(file, copied).items():
            _copy(path, draft / "config" / name)
        manifest = _manifest(draft, copied)
        write_private(draft / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    return manifest


def restore(source: Path, data_dir: Path) -> tuple[Manifest, Path | None]:
    """Fills the empty `data_dir`; what was in the backup, and where the credentials were written (None: nowhere).

    Raises BackupError, DataHeld, SchemaTooNew; then the directory is as empty as it was.
    """
    from cavvy.store.sqlite.backup import adopt
    from cavvy.store.sqlite.files import DirectoryLock

    manifest = _checked(source)
    _refuse_filled(data_dir)
    lock = DirectoryLock(data_dir)
    try:
        make_private_directory(data_dir)
        lock.acquire()
        draft = data_dir / f".restoring-{secrets.token_hex(4)}"
        with _removed_afterwards(draft):
            for name in manifest.files:
                if not name.startswith("config/"):
                    _copy(source / name, draft / name)
            copied = adopt(draft / _DATABASE)
            _refuse_filled(data_dir, draft.name)
            for entry in sorted(draft.iterdir(), key=lambda entry: entry.name == _DATABASE):
                entry.rename(data_dir / entry.name)
            _sync(data_dir)
    except OSError as error:
        raise BackupError(f"{source} cannot be restored to {data_dir}: {error}") from error
    finally:
        lock.release()
    return msgspec.structs.replace(manifest, live=copied.live), _credentials(source, manifest)


def _configuration(file: ConfigFile, copied: Copied) -> dict[str, Path]:
    """The settings that are followed here, and the credentials if they open this coordinator."""
    found = {} if file.path is None else {"cavvy.toml": file.path}
    key = config.read_credentials().key
    if key is not None and key.split("_")[2:3] and key.split("_")[2] in copied.key_ids:
        found["credentials.toml"] = config.credentials_path()
        found["known_workers.toml"] = config.config_dir() / "known_workers.toml"
    return found


def _credentials(source: Path, manifest: Manifest) -> Path | None:
    """Where this account has no credentials yet, those of the backup become its own."""
    name, path = "config/credentials.toml", config.credentials_path()
    if name not in manifest.files or path.exists():
        return None
    try:
        make_private_directory(path.parent)
        write_private(path, (source / name).read_bytes(), replace=False)
    except OSError:
        return None
    return path


@contextlib.contextmanager
def _new_directory(destination: Path) -> Iterator[Path]:
    """A draft that becomes `destination` if the block goes well, and disappears if not."""
    if destination.exists() or destination.is_symlink():
        raise BackupError(f"{destination} is there already, and a backup overwrites nothing; name another directory")
    draft = destination.with_name(f".{destination.name}.{secrets.token_hex(4)}")
    try:
        with _removed_afterwards(draft):
            draft.mkdir(mode=0o700)
            yield draft
            for directory in (draft, *(path for path in draft.rglob("*") if path.is_dir())):
                directory.chmod(0o700)
                _sync(directory)
            draft.rename(destination)
        _sync(destination.parent)
    except OSError as error:
        raise BackupError(f"{destination} cannot be written ({error}); nothing is left of it") from error


@contextlib.contextmanager
def _removed_afterwards(directory: Path) -> Iterator[None]:
    try:
        yield
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    """If there is such a file: its bytes, 0600, durable."""
    if not source.is_file():
        return
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with source.open("rb") as reading, open(target, "xb", opener=_private) as writing:
        shutil.copyfileobj(reading, writing, 1 << 20)
        writing.flush()
        os.fsync(writing.fileno())


def _private(path: str, flags: int) -> int:
    handle = os.open(path, flags, 0o600)
    os.fchmod(handle, 0o600)
    return handle


def _manifest(directory: Path, copied: Copied) -> Manifest:
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return Manifest(
        format=_FORMAT,
        cavvy=__version__,
        created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        store_id=copied.store_id,
        schema=copied.schema,
        jobs=copied.jobs,
        live=copied.live,
        files={path.relative_to(directory).as_posix(): _sha256(path) for path in paths},
    )


def _checked(source: Path) -> Manifest:
    """The manifest, once every file is what it says. Raises BackupError."""
    try:
        manifest = msgspec.json.decode((source / MANIFEST).read_bytes(), type=Manifest)
        if manifest.format != _FORMAT:
            raise BackupError(f"{source} was made by Cavvy {manifest.cavvy}, in a way this one does not know")
        changed = [
            name for name, digest in manifest.files.items() if not _is_within(name) or _sha256(source / name) != digest
        ]
    except (OSError, msgspec.DecodeError) as error:
        raise BackupError(f"{source} is not a whole backup ({error}); name a directory `cavvy backup` made") from error
    if changed or _DATABASE not in manifest.files:
        raise BackupError(f"{source} is damaged: {', '.join(changed) or _DATABASE}; take another backup")
    return manifest


def _is_within(name: str) -> bool:
    return not name.startswith("/") and ".." not in Path(name).parts


def _refuse_filled(data_dir: Path, *known: str) -> None:
    found = sorted({path.name for path in data_dir.iterdir()} - {_LOCK, *known}) if data_dir.exists() else []
    if found:
        raise BackupError(
            f"{data_dir} is not empty ({', '.join(found[:3])}{' …' if len(found) > 3 else ''}); a backup is restored"
            " into an empty directory only: name another one with --data-dir, or move this one away"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
