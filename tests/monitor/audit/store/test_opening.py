"""What a history cannot be opened without is never made anew beside what was made with it."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from dosimeter.monitor.audit.history import History
from dosimeter.monitor.audit.store.opening import SecretGone
from dosimeter.monitor.cli.main import main
from tests.monitor.audit.whole_scene import Whole, whole

LOST = {
    "keys.db": ("hot.db has ", "all evidence cannot be read"),
    "signing.key": ("was signed with it", "can be verified, but not continued"),
}


@pytest.fixture(autouse=True)
def of_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `dosimeter history` does to its whole process."""
    monkeypatch.setattr("os.nice", lambda _: 0)
    monkeypatch.setattr("dosimeter.monitor.stopping.stop_on_signals", threading.Event)


@pytest.fixture
def scene(tmp_path: Path) -> Whole:
    return whole(tmp_path / "data")


def there(scene: Whole) -> dict[str, bytes]:
    found = (path for path in scene.folder.root.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in found if path.suffix != ".lock"}


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("name", LOST)
def test_without_its_keys_no_command_writes_or_makes_others(
    scene: Whole, capsys: pytest.CaptureFixture[str], name: str, cut: bool
) -> None:
    """2026-11-30: a fresh keys.db was made in silence, and all names and evidence were shut from then on."""
    lost = scene.folder.root / name
    if cut:
        lost.write_bytes(b"")
    else:
        lost.unlink()
    before = there(scene)
    commands = {
        "history": (["history", "--once", "--data-dir", str(scene.data)], 4),
        "query": (scene.args("query"), 3),
        "hold": (scene.args("hold", "0" * 32, "--reason", "a"), 3),
        "export": (scene.args("export", "--out", str(scene.data / "x.zip"), "--reason", "a"), 3),
    }
    for words, code in commands.values():
        assert main(words) == code, words
        err = capsys.readouterr().err
        assert f"{lost}: gone, though " in err
        assert all(part in err for part in (*LOST[name], "hint: restore it from its backup")), err
    assert there(scene) == before
    assert not (scene.data / "x.zip").exists()


def test_a_log_that_is_gone_as_a_whole_was_signed_where_anything_was_sealed(
    scene: Whole, capsys: pytest.CaptureFixture[str]
) -> None:
    """2026-11-30: a key was made beside sealed files, though the log could not be written anew."""
    (scene.folder.core / "000000000000-000000000040.parquet").write_bytes(
        b"sealed, so signed before"
    )
    shutil.rmtree(scene.folder.log)
    scene.folder.signing_key.unlink()
    assert main(scene.args("query")) == 3
    assert f"{scene.folder.signing_key}: gone, though " in capsys.readouterr().err
    assert not scene.folder.signing_key.exists()


@pytest.mark.parametrize("name", LOST)
def test_what_only_reads_does_its_work_and_says_so(
    scene: Whole, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (scene.folder.root / name).unlink()
    assert main(scene.args("verify", "--json")) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["ok"]
    assert said.err.startswith(f"note: {scene.folder.root / name}: gone, though ")
    assert not (scene.folder.root / name).exists()


def test_put_back_all_is_as_it_was(scene: Whole) -> None:
    keys = scene.folder.keys.read_bytes()
    scene.folder.keys.unlink()
    with pytest.raises(SecretGone):
        History.open(scene.folder.root)
    scene.folder.keys.write_bytes(keys)
    with History.open(scene.folder.root) as history:
        found = history.alert(scene.ids()[0])
        assert history.name_of(found.entry["tenant"]) is not None


def test_a_new_folder_begins_with_new_ones(tmp_path: Path) -> None:
    assert main(["history", "--once", "--data-dir", str(tmp_path)]) == 0
    root = tmp_path / "history"
    assert all((root / name).stat().st_size for name in LOST)
