"""The list of packs that a tap scores with: a file, looked at once a second while the server runs.

    # a comment
    /packs/core-7@sha256:…

It owns the form of the list and who may have written it: whoever may write the server's own configuration, so root or
the user that the server runs as. Each line states the digest of its pack, so that nobody else has a say in what is
loaded, also not whoever may write into a pack's folder. What a loaded pack is good for is not known here.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from dosimeter.detectors.files import open_file
from dosimeter.detectors.findings import InputError, Place
from dosimeter.detectors.pack import Pack, load_pack
from dosimeter.monitor.taps.settings import TapSettings

MAX_BYTES = 64 << 10
LOOK_S = 1.0
WRITABLE = stat.S_IWGRP | stat.S_IWOTH
PINNED = re.compile(r"(/[^\0\n]*)@sha256:([0-9a-f]{64})")


def pinned(pack: Pack, folder: Path) -> str:
    """The line of a pack in a list. folder: where the server finds it."""
    return f"{folder.absolute()}@sha256:{pack.digest}"


def load(named: str | Path) -> Pack:
    """The pack of a folder, or of a line of a list. Raises InputError, also where a line states another digest."""
    found = PINNED.fullmatch(str(named))
    if found is None:
        return load_pack(Path(named))
    pack = load_pack(Path(found[1]))
    if pack.digest != found[2]:
        what = f"the pack there has the digest {pack.digest[:12]}…, the list says {found[2][:12]}…"
        raise InputError.at(found[1], what, "list the digest of the pack that is meant")
    return pack


def read(path: Path) -> tuple[str, ...]:
    """The lines that name packs, in their order. Raises InputError where it is not ours to follow, or names none."""
    with open_file(path, follow=True) as file:  # a mounted configuration is a link
        folder = Path(os.path.realpath(path)).parent
        for what, at in ((os.fstat(file.fileno()), path), (folder.stat(), folder)):
            _refuse_others(what, at)
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise InputError.at(path, f"over {MAX_BYTES} bytes", code="too-large")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise InputError.at(path, "is not UTF-8") from None
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1)]
    named = [(n, line) for n, line in lines if line and not line.startswith("#")]
    for number, line in named:
        if not PINNED.fullmatch(line):
            hint = "write FOLDER@sha256:DIGEST, the folder absolute; `dosimeter packs` does"
            raise InputError.at(Place(str(path), number, 1), f"`{line:.200}` names no pack", hint)
    if not named:
        hint = "name one; to score nothing, restart the server without it"
        raise InputError.at(path, "names no pack", hint)
    return tuple(line for _, line in named)


def resolved(settings: TapSettings) -> TapSettings:
    """With the packs that its list names now, unless there are some. Raises InputError."""
    if settings.packs or not settings.pack_list:
        return settings
    return replace(settings, packs=read(Path(settings.pack_list)))


def _refuse_others(found: os.stat_result, at: Path) -> None:
    """Whoever may write a file, or put another in its place, says what is scored."""
    ours = os.geteuid()
    if found.st_uid not in (0, ours):
        what = f"is user {found.st_uid}'s, not root's nor the server's own ({ours})"
        raise InputError.at(at, what, "chown it to one of them", "writable")
    mode = stat.S_IMODE(found.st_mode)
    sticky = stat.S_ISDIR(found.st_mode) and mode & stat.S_ISVTX
    if mode & WRITABLE and not sticky:
        raise InputError.at(
            at, f"others may write it (mode {mode:04o})", f"chmod go-w {at}", "writable"
        )


class PackList:
    """One list, and a thread that looks at it.

    load: scores with these packs from the next step on, or raises
    refused: told why what is listed is not loaded, and None as soon as it is
    """

    def __init__(
        self,
        path: Path,
        load: Callable[[Sequence[Pack]], None],
        refused: Callable[[str | None], None],
    ) -> None:
        self.path = path
        self._load, self._say = load, refused
        self._lock = threading.Lock()
        self._begun: tuple[str, ...] | None = None
        self._asked: tuple[str, ...] = ()  # digests
        self._mark: tuple[int, ...] | None = None
        self._reason: str | None = None
        self._thread: threading.Thread | None = None

    def begin(self, digests: Sequence[str]) -> None:
        """A tap scores with packs of these digests: from here on the list is followed."""
        with self._lock:
            self._begun = tuple(digests)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="dosimeter-packs", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        never = threading.Event()
        while not never.wait(LOOK_S):
            self.look()

    def look(self) -> None:
        """Load what is listed, if the list changed. Never raises: the packs there are go on."""
        with self._lock:
            begun, self._begun = self._begun, None
        if begun is not None:
            self._asked, self._mark = begun, None
        mark = self._where()
        if mark == self._mark:
            return
        self._mark, reason = mark, None
        try:
            packs = [load(line) for line in read(self.path)]
            digests = tuple(pack.digest for pack in packs)
            if digests != self._asked:
                self._load(packs)
                self._asked = digests
        except Exception as error:
            reason = str(error) or repr(error)
        if reason != self._reason:
            self._reason = reason
            with contextlib.suppress(Exception):  # it is said again in the next greeting
                self._say(reason)

    def _where(self) -> tuple[int, ...]:
        """Of the file and its folder, what changes with their contents or with who may write them."""
        try:
            file = self.path.stat()
            folder = Path(os.path.realpath(self.path)).parent.stat()
        except OSError:
            return ()
        changes = (file.st_size, file.st_mtime_ns, file.st_ctime_ns)
        return (file.st_dev, file.st_ino, *changes, folder.st_uid, folder.st_mode)
