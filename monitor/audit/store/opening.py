"""The secrets of a history: made with a new one, and never anew beside what was made with those that are gone.

Owns when keys.db and signing.key may be made. A fresh one would look like a start, while names and evidence stay shut
for ever, or the log cannot go on. It knows nothing of what is in them.
"""

from __future__ import annotations

from pathlib import Path

from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore, StoreError
from dosimeter.monitor.audit.store.keys import KeyStore
from dosimeter.monitor.audit.store.sealed_file import synced
from dosimeter.monitor.tlog.note import NoteError, Signer
from dosimeter.monitor.tlog.tiles import CHECKPOINT, CHECKPOINTS
from dosimeter.monitor.tlog.writer import LogWriter

KEY = "key"
"""File in the log's folder with the public key, for whoever verifies."""
LOSS = {
    "keys.db": "the names behind the ids and all evidence cannot be read, and nobody can be erased",
    "signing.key": "the log can be verified, but not continued",
}


class SecretGone(StoreError):
    """A file that history cannot make anew is not where it was; says what is lost without it."""

    def __init__(self, path: Path, beside: str) -> None:
        super().__init__(
            f"{path}: gone, though {beside}\n"
            f"  hint: restore it from its backup; without it {LOSS[path.name]}, so that a new history in another "
            "folder is all that is left: keep this one as it is"
        )


def missing(folder: HistoryFolder, hot: HotStore) -> list[SecretGone]:
    """What should be beside this store and its log, and is not."""
    found = []
    if hot.size and not _there(folder.keys):
        found.append(SecretGone(folder.keys, f"{folder.hot.name} has {hot.size:,} entries"))
    if _signed(folder) and not _there(folder.signing_key):
        found.append(SecretGone(folder.signing_key, f"{folder.log} was signed with it"))
    return found


def open_keys(folder: HistoryFolder, hot: HotStore) -> KeyStore:
    """Made where this history has nothing yet. Raises SecretGone, whichever it is, and KeysError."""
    for error in missing(folder, hot):
        raise error
    return KeyStore(folder.keys)


def open_signer(folder: HistoryFolder, store_id: str) -> Signer:
    """Made where nothing was signed yet. Raises SecretGone, NoteError, OSError."""
    path = folder.signing_key
    if not _there(path):
        if _signed(folder):
            raise SecretGone(path, f"{folder.log} was signed with it")
        Signer.generate(f"dosimeter/{store_id[:16]}").save(path)
    if folder.next_key.exists():
        _end_rotation(folder)
    return Signer.load(path)


def _end_rotation(folder: HistoryFolder) -> None:
    """One that was interrupted: the next key takes the place of this one if it has signed, else it never was."""
    LogWriter(folder.log, Signer.load(folder.signing_key)).close()  # publishes what was kept
    try:
        Signer.load(folder.next_key).verifier.open((folder.log / CHECKPOINT).read_text())
    except (NoteError, FileNotFoundError):
        folder.next_key.unlink()
    else:
        folder.next_key.replace(folder.signing_key)
        synced(folder.root)


def _signed(folder: HistoryFolder) -> bool:
    """What was sealed was signed before."""
    of_log = any((folder.log / name).exists() for name in (KEY, CHECKPOINT, CHECKPOINTS))
    return of_log or any(folder.core.glob("*.parquet"))


def _there(path: Path) -> bool:
    """A file cut to nothing is opened as a new one, too."""
    return path.exists() and path.stat().st_size > 0
