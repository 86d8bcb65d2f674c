"""Reads a whole log again and says what it shows: signatures, entries, tiles, earlier checkpoints.

The newest signed checkpoint is what the tree is held against, and every other one, kept by the log
or by an anchor, must be a prefix of the same tree. What a log alone cannot show is a tail cut off
together with its checkpoints: that takes a checkpoint kept elsewhere. It changes no file, and knows
nothing of what an entry means.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from dosimeter.monitor.tlog import tiles
from dosimeter.monitor.tlog.findings import Findings, Kind, Verdict
from dosimeter.monitor.tlog.note import Checkpoint, NoteError, UnknownKey, Verifier
from dosimeter.monitor.tlog.reader import notes_in
from dosimeter.monitor.tlog.rotation import LogKeys, log_keys
from dosimeter.monitor.tlog.verify_tree import Look, Progress, TreePass

RACES = 5  # a running writer may sign between our two reads


def verify(
    folder: Path,
    verifier: Verifier,
    *,
    since: Checkpoint | None = None,
    anchored: Sequence[Checkpoint] = (),
    look: Look | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """verifier: the key that is believed, and with it those that it replaced or that replaced it.

    since and anchored: checkpoints kept elsewhere, their signatures verified by the caller.

    `look` is shown every entry in order, a bundle at a time. Raises OSError where files that are
    there cannot be read.
    """
    findings = Findings()
    kept = _signed(folder, log_keys(notes_in(folder), verifier), findings)
    newest = max(kept, key=lambda checkpoint: checkpoint.size, default=None)
    elsewhere = [*anchored] if since is None else [since, *anchored]
    if newest is None:
        return Verdict(None, 0, 0, None, None, (), (), findings.found, findings.more)
    for other in elsewhere:
        if other.origin != newest.origin:
            what = f"a checkpoint of `{other.origin}` does not concern the log `{newest.origin}`"
            findings.add(Kind.KEY, what)
    elsewhere = [other for other in elsewhere if other.origin == newest.origin]
    tree = TreePass(folder, newest.size, newest.root, findings)
    tree.run(sorted({c.size for c in (*kept, *elsewhere)}), look, progress)
    holding = sorted(
        (c for c in (*kept, *elsewhere) if tree.roots.get(c.size) == c.root), key=lambda c: c.size
    )
    holds = set(holding)
    wrong = [c for c in kept if c.size in tree.roots and tree.roots[c.size] != c.root]
    if tree.size < newest.size:
        what = f"{newest.size} entries were signed, {tree.size} are here"
        findings.add(Kind.TRUNCATED, what, tree.size, newest.size - 1)
        start = _up_to(holding, newest.size)
        if start < tree.size and not wrong:
            what = f"with the end gone no signature vouches for entries {start} to {tree.size - 1}"
            findings.add(Kind.ROOT, what, start, tree.size - 1)
    if not tree.signed and (wrong or tree.size == newest.size):
        end = min((c.size for c in (*wrong, *elsewhere) if c not in holds), default=newest.size)
        start = _up_to(holding, end)
        what = f"entries and tiles do not give the root signed over {newest.size} entries"
        findings.add(Kind.ROOT, f"{what}: changed in {start} to {end - 1}", start, end - 1)
    elif wrong and tree.signed:
        end = min(c.size for c in wrong)
        what = f"{len(wrong)} kept checkpoints are of another history, the first over {end}"
        span = (_up_to(holding, end), end - 1)
        findings.add(Kind.FORKED, f"{what} entries", *span, tiles.CHECKPOINTS)
    for other in elsewhere:
        if other.size > newest.size:
            what = f"{other.size} entries were signed, this log says {newest.size}"
            findings.add(Kind.ROLLED_BACK, what, newest.size, other.size - 1)
        elif tree.signed and tree.roots.get(other.size, other.root) != other.root:
            what = f"another root was signed over the first {other.size} entries"
            start = _up_to([c for c in elsewhere if c in holds], other.size)
            findings.add(Kind.FORKED, what, start, other.size - 1)
    ours = set(kept)
    return Verdict(
        checkpoint=newest,
        intact=tree.intact,
        kept=len(kept),
        oldest=next((c for c in holding if c in ours), None),
        since_holds=None if since is None else since in holds,
        anchored=sorted({c for c in anchored if c in holds}, key=lambda c: c.size),
        unchecked=[size for size in tree.unchecked if size <= newest.size],
        findings=findings.found,
        more=findings.more,
    )


def _up_to(holding: Sequence[Checkpoint], end: int) -> int:
    """The largest size below `end` at which a checkpoint holds."""
    return max((c.size for c in holding if c.size < end), default=0)


def _signed(folder: Path, verifier: LogKeys, findings: Findings) -> list[Checkpoint]:
    """Every checkpoint of the log with a good signature, in the order signed."""
    kept, published = _notes(folder)
    signed: list[Checkpoint] = []
    for number, note in enumerate(kept):
        found = _open(note, verifier, f"note {number}", tiles.CHECKPOINTS, findings)
        if found is None:
            continue
        before = signed[-1] if signed else found
        if found.size < before.size:
            what = f"note {number} is over {found.size} entries, the one before over {before.size}"
            findings.add(Kind.ROLLED_BACK, what, found.size, before.size - 1, tiles.CHECKPOINTS)
        elif found.size == before.size and found.root != before.root:
            what = f"note {number} gives a second root over {found.size} entries"
            findings.add(Kind.FORKED, what, 0, max(0, found.size - 1), tiles.CHECKPOINTS)
        signed.append(found)
    if published is None:
        if kept[1:] or not kept:
            findings.add(Kind.MISSING, "missing", path=tiles.CHECKPOINT)
        return signed
    shown = _open(published, verifier, "the note", tiles.CHECKPOINT, findings)
    if shown is None or published in kept[-2:]:
        return signed
    last = signed[-1] if signed else None
    if last is not None and shown.size < last.size:
        what = f"over {shown.size} entries, though {last.size} were signed"
        findings.add(Kind.ROLLED_BACK, what, shown.size, last.size - 1, tiles.CHECKPOINT)
    else:
        what = f"does not hold the checkpoint over {shown.size} entries"
        findings.add(Kind.MISSING, what, path=tiles.CHECKPOINTS)
    if last is not None and shown.size == last.size and shown.root != last.root:
        what = f"a second root over {shown.size} entries was signed"
        findings.add(Kind.FORKED, what, 0, max(0, shown.size - 1), tiles.CHECKPOINT)
    return [*signed, shown]


def _notes(folder: Path) -> tuple[list[str], str | None]:
    """All kept notes and the published one, which is among the last two unless something is off."""
    for _ in range(RACES):
        kept_text, published = (
            path.read_bytes().decode("utf-8", "replace") if path.exists() else None
            for path in (folder / tiles.CHECKPOINTS, folder / tiles.CHECKPOINT)
        )
        lines = list(StringIO(kept_text or "", newline="\n"))
        while lines and not (lines[-1].startswith("— ") and lines[-1].endswith("\n")):
            lines.pop()  # a note that is being written, or was when its writer was killed
        kept = list(tiles.split_notes(lines))
        if published is None or published in kept[-2:]:
            break
    return kept, published


def _open(
    note: str, verifier: LogKeys, which: str, path: str, findings: Findings
) -> Checkpoint | None:
    try:
        found = Checkpoint.open(note, verifier)
    except UnknownKey as error:
        findings.add(Kind.KEY, f"{which}: {error}", path=path)
        return None
    except NoteError as error:
        findings.add(Kind.SIGNATURE, f"{which}: {error}", path=path)
        return None
    if found.origin != verifier.name:
        findings.add(Kind.KEY, f"{which}: is of the log `{found.origin}`", path=path)
        return None
    return found
