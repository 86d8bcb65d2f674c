"""A new key for the log: across it everything verifies, interrupted anywhere it is done or was never begun."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dosimeter.monitor.audit.history import History
from dosimeter.monitor.audit.people.access import Actor
from dosimeter.monitor.audit.people.rotating import rotate_key
from dosimeter.monitor.audit.store import keeper
from dosimeter.monitor.cli.main import main
from dosimeter.monitor.tlog.files import Files
from dosimeter.monitor.tlog.note import Signer
from dosimeter.monitor.tlog.writer import LogWriter
from tests.monitor.audit.audit_scene import T0
from tests.monitor.audit.whole_scene import Whole, whole

OPERATOR = Actor("ops", "operator")


class Killed(BaseException):
    """Nothing after this happens."""


@pytest.fixture
def scene(tmp_path: Path) -> Whole:
    return whole(tmp_path / "data")


def test_the_log_goes_on_and_verifies_by_either_key(
    scene: Whole, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (scene.folder.log / "key").read_text()
    (tmp_path / "before").write_text(before)
    (tmp_path / "old.checkpoint").write_bytes((scene.folder.log / "checkpoint").read_bytes())
    secret = scene.folder.signing_key.read_bytes()
    assert main(scene.args("rotate-key", "--reason", "yearly", "--json")) == 0
    said = json.loads(capsys.readouterr().out)
    now = (scene.folder.log / "key").read_text()
    assert (said["old"] + "\n", said["new"] + "\n") == (before, now)
    assert before != now
    assert secret != scene.folder.signing_key.read_bytes()
    assert not any(secret in path.read_bytes() for path in scene.data.rglob("*") if path.is_file())
    assert main(scene.args("query")) in (0, 5, 6)  # one more entry, under the new key
    capsys.readouterr()
    since = ["--since", str(tmp_path / "old.checkpoint")]
    for more, noted in ((since, ""), ([*since, "--key", str(tmp_path / "before")], said["new"])):
        assert main(scene.args("verify", "--json", *more)) == 0
        shown = capsys.readouterr()
        assert json.loads(shown.out)["ok"]
        assert noted in shown.err
    kinds = scene.kinds()
    assert kinds.count("config") == 1
    assert kinds[-1] == "query"


def test_an_export_of_after_is_verified_by_the_new_key(scene: Whole, tmp_path: Path) -> None:
    from dosimeter.monitor.tlog import standalone

    assert main(scene.args("rotate-key", "--reason", "yearly")) == 0
    out = tmp_path / "x.zip"
    assert main(scene.args("export", "--out", str(out), "--from", "2026-01-01")) == 0
    now = (scene.folder.log / "key").read_text()
    assert standalone.main([str(out), "--vkey", now]) == 0


def test_who_may_not_and_who_would_run_beside_a_history(
    scene: Whole, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = len(scene.kinds())
    assert main(scene.args("rotate-key", "--reason", "x", "--role", "auditor")) == 3
    assert "may not rotate" in capsys.readouterr().err
    with LogWriter(scene.folder.log, Signer.load(scene.folder.signing_key)):
        assert main(scene.args("rotate-key", "--reason", "x")) == 3
    assert "end `dosimeter history` first" in capsys.readouterr().err
    assert len(scene.kinds()) == entries


def _die(*_: object, **__: object) -> None:
    raise Killed


def _at_publishing(patch: pytest.MonkeyPatch) -> None:
    published, times = Files.publish, list[str]()

    def publish(self: Files, name: str, data: bytes) -> None:
        times.append(name)
        if len(times) == 2:  # the first is of the checkpoint before
            raise Killed
        published(self, name, data)

    patch.setattr(Files, "publish", publish)


def _at_replacing(patch: pytest.MonkeyPatch) -> None:
    replaced = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if self.name == "signing.key.next":
            raise Killed
        return replaced(self, target)

    patch.setattr(Path, "replace", replace)


POINTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], bool]] = {
    "before it signs": (lambda patch: patch.setattr(keeper, "extensions", _die), False),
    "kept, and not published": (_at_publishing, True),
    "published, and not in its place": (_at_replacing, True),
    "in its place, and not shown": (lambda patch: patch.setattr(keeper, "synced", _die), True),
}


@pytest.mark.parametrize("point", POINTS)
def test_killed_on_the_way_the_next_start_ends_it_or_it_never_was(
    scene: Whole, capsys: pytest.CaptureFixture[str], point: str
) -> None:
    before = Signer.load(scene.folder.signing_key).verifier
    break_at, done = POINTS[point]
    with History.open(scene.folder.root) as history:
        history.settle()
        with pytest.MonkeyPatch.context() as patch:
            break_at(patch)
            with pytest.raises(Killed):
                rotate_key(history, OPERATOR, "yearly", T0)
    assert main(scene.args("query")) in (0, 5, 6)
    assert main(scene.args("verify")) == 0
    assert not scene.folder.next_key.exists()
    assert (Signer.load(scene.folder.signing_key).verifier != before) is done
    assert (scene.folder.log / "key").read_text() == (
        Signer.load(scene.folder.signing_key).verifier.vkey + "\n"
    )
    capsys.readouterr()
