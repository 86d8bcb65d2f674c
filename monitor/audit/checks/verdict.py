"""The verdict on a history in exact words: what is shown, what is not, and by whom it could be undone.

Owns the wording, for people and as JSON. It reads nothing.
"""

from __future__ import annotations

from datetime import tzinfo
from typing import Any

from dosimeter.monitor.audit.checks.verifying import Verified
from dosimeter.monitor.audit.queries.times import lasting, shown
from dosimeter.monitor.audit.queries.worth import gaps
from dosimeter.monitor.audit.store.keeper import signed_ns
from dosimeter.monitor.tlog.note import Checkpoint


def verdict_lines(found: Verified, zone: tzinfo) -> list[str]:
    """The verdict in words: what is shown, what is not, and each finding."""
    newest = found.log.checkpoint
    if newest is None:
        why = "  no checkpoint with a good signature: nothing to check by"
        return ["NOT VERIFIED", why, *_findings(found)]
    word = "NOT VERIFIED" if not found.ok else "VERIFIED" if found.held else "CONSISTENT"
    lines = [word, *_findings(found)]
    if found.ok:
        lines += [f"  {_since(found, zone)}", f"  complete up to {_at(newest, zone)}"]
    store = found.store
    if store is not None:
        by_hash = f", {store.vouched:,} by the hash of their sealed file" if store.vouched else ""
        lines.append(
            f"  store and log compared: {store.compared + store.vouched:,} of {newest.size:,} entries"
            f"{by_hash}; {store.blobs:,} blobs, {store.files:,} sealed files"
        )
        if found.stored > newest.size:
            behind = found.stored - newest.size
            lines.append(f"  not signed yet: {behind:,} entries at the end of the store")
        lines.append(f"  gaps: {gaps(found.gaps)}")
    return [*lines, *(f"  {line}" for line in _risk(found, zone))]


def _risk(found: Verified, zone: tzinfo) -> list[str]:
    lines = [f"anchor {one.name}: {one.error}" for one in found.anchors if one.error]
    for one in found.anchors:
        if one.wrong:
            lines.append(
                f"anchor {one.name}: {one.wrong:,} of its notes are not signed by this key"
            )
    held = found.held
    for one, checkpoint in held:
        where = "outside this operator's control" if one.outside else "under the same administrator"
        lines.append(f"anchor {one.name}: holds {_at(checkpoint, zone)}, {where}")
    if not held:
        why = "no anchor answered" if found.asked_anchors else "no anchor was compared (--anchors)"
        word = "consistent; " if found.ok else ""
        lines.append(f"{word}deletion of the newest entries cannot be excluded: {why}")
    elif found.unanchored:
        age = lasting(max(0, found.now_ns - found.oldest_unanchored_ns) / 1e9)
        lines.append(f"unanchored: {age} ({found.unanchored:,} entries)")
    else:
        lines.append("unanchored: nothing")
    outside = [checkpoint for one, checkpoint in held if one.outside]
    if outside:
        after = _at(outside[0], zone)
        lines.append(
            f"that what came after {after} was cut off, or rewritten by whoever holds the signing key, "
            "cannot be excluded"
        )
        return lines
    none = "no anchor is outside" if found.asked_anchors else "without an anchor outside"
    after = ""
    if found.since is not None and found.log.since_holds:
        after = f" of what came after the checkpoint you gave ({found.since.size:,} entries)"
    is_possible = f"a rewrite{after} by whoever holds the signing key cannot be excluded"
    lines.append(f"{none} this operator's control: {is_possible}")
    if found.since is None:
        lines.append("next time: keep the file log/checkpoint elsewhere, and give it with --since")
    return lines


def _since(found: Verified, zone: tzinfo) -> str:
    if found.since is not None:
        return f"append-only since the checkpoint you gave: {_at(found.since, zone)}"
    oldest = found.log.oldest or found.log.checkpoint
    assert oldest is not None
    return f"append-only since the oldest checkpoint kept here: {_at(oldest, zone)}"


def _at(checkpoint: Checkpoint, zone: tzinfo) -> str:
    at = signed_ns(checkpoint)
    when = "at a time it does not state" if at is None else shown(at, zone)
    return f"entry {checkpoint.size:,} ({when})"


def _findings(found: Verified) -> list[str]:
    lines = []
    for one in found.log.findings:
        entry = "" if one.first is None else f"entry {one.first}"
        entry += "" if one.last in (None, one.first) else f" to {one.last}"
        lines.append("  " + ": ".join(part for part in ("log", entry, str(one)) if part))
    more = found.log.more
    for difference in found.store.differences if found.store else ():
        entry = "" if difference.index is None else f"entry {difference.index}"
        lines.append("  " + ": ".join(p for p in ("store", entry, difference.what) if p))
        if difference.log or difference.store:
            lines.append(f"    log   {difference.log or '-'}")
            lines.append(f"    store {difference.store or '-'}")
    more += found.store.more if found.store else 0
    return lines + ([f"  and {more:,} more findings"] if more else [])


def as_json(found: Verified) -> dict[str, Any]:
    newest = found.log.checkpoint
    store = found.store
    return {
        "ok": found.ok,
        "anchored": bool(found.held),
        "checkpoint": _checkpoint(newest),
        "since": _checkpoint(found.since),
        "since_holds": found.log.since_holds,
        "intact": found.log.intact,
        "stored": found.stored,
        "compared": None if store is None else store.compared,
        "vouched": None if store is None else store.vouched,
        "blobs": None if store is None else store.blobs,
        "sealed_files": None if store is None else store.files,
        "unanchored": found.unanchored,
        "oldest_unanchored_ns": found.oldest_unanchored_ns or None,
        "anchors": [
            {"name": a.name, "outside": a.outside, "checkpoints": len(a.checkpoints), "wrong": a.wrong,
             "newest": _checkpoint(max(a.checkpoints, key=lambda c: c.size, default=None)), "error": a.error}
            for a in found.anchors
        ],
        "gaps": found.gaps.as_json()["gaps"],
        "findings": [
            {"where": "log", "kind": str(f.kind), "what": f.what, "first": f.first, "last": f.last, "path": f.path}
            for f in found.log.findings
        ]
        + [
            {"where": "store", "kind": "difference", "what": d.what, "first": d.index, "last": d.index,
             "log": d.log, "store": d.store}
            for d in (store.differences if store else ())
        ],
        "more": found.log.more + (store.more if store else 0),
    }  # fmt: skip


def _checkpoint(one: Checkpoint | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {"origin": one.origin, "size": one.size, "root": one.root.hex(), "signed_ns": signed_ns(one)}  # fmt: skip
