"""Files of strangers are opened so that none of them can make us wait, nor fill the memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dosimeter.detectors.files import open_file, read_file
from dosimeter.detectors.findings import InputError
from dosimeter.detectors.identity import ModelIdentity
from dosimeter.detectors.registry import load_features
from dosimeter.detectors.strict_yaml import load_file


def test_a_link_is_followed_only_where_links_are_usual(tmp_path: Path) -> None:
    """Mounted rules and cached models are links; a link in a pack points out of what was reviewed."""
    (tmp_path / "there").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "there")
    assert read_file(tmp_path / "link", 1, follow=True) == b"x"
    with pytest.raises(InputError, match="is a link"):
        read_file(tmp_path / "link", 1)


def test_a_link_to_itself_is_refused_also_where_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "link")
    with pytest.raises(InputError, match="symbolic links"):
        read_file(tmp_path / "link", 1, follow=True)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [pipe, folder, device])
@pytest.mark.parametrize("read", [load_file, lambda path: read_file(path, 9, follow=True)])
def test_what_is_no_regular_file_is_refused_and_never_waited_for(
    tmp_path: Path, make: Callable[[Path], None], read: Callable[[Path], object]
) -> None:
    """2026-11-20: a pipe named in `rules:` of the configuration kept the sidecar from starting, without a word."""
    make(tmp_path / "f.yaml")
    with pytest.raises(InputError, match=r"not a regular file|is a directory"):
        read(tmp_path / "f.yaml")


@pytest.mark.parametrize("name", ["config.json", "x.safetensors"])
def test_a_pipe_in_a_models_folder_is_not_waited_for(tmp_path: Path, name: str) -> None:
    """Inside the server, where waiting for ever would be a server that never starts."""
    (tmp_path / "config.json").write_text('{"hidden_size": 8}')
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="not a regular file"):
        ModelIdentity.from_folder(tmp_path)


def test_a_pipe_in_place_of_a_feature_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "scam").mkdir()
    os.mkfifo(tmp_path / "scam" / "feature.yaml")
    with pytest.raises(InputError, match="not a regular file"):
        load_features(tmp_path)


def test_a_path_that_no_file_can_have_is_a_finding() -> None:
    """A zero byte comes out of a YAML escape, and the system refuses it with an error of another kind."""
    with pytest.raises(InputError, match="no file has this name"):
        open_file(Path("a\0b"))


def test_a_file_over_the_cap_is_refused_by_its_size(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(1 << 40)  # sparse: reading it would never end
    with pytest.raises(InputError, match="at most 100 are read"):
        read_file(tmp_path / "big", 100)


def test_a_file_that_states_no_size_is_read_up_to_the_cap() -> None:
    """The files of /proc say 0 bytes and hold some."""
    with pytest.raises(InputError, match="grew past 3 bytes"):
        read_file(Path("/proc/self/status"), 3)
