"""Every page that is timed answers over a socket, and is weighed."""

from __future__ import annotations

from pathlib import Path

import pytest

from dosimeter.monitor.audit.store.folder import HistoryFolder
from dosimeter.monitor.audit.store.hot import HotStore
from dosimeter.monitor.bench import audit_pages
from dosimeter.monitor.bench.audit_rows import write_history

pytestmark = pytest.mark.parts


def test_every_page_answers_and_is_weighed(tmp_path: Path) -> None:
    folder = HistoryFolder(tmp_path / "history").make()
    with HotStore(folder.hot) as hot:
        write_history(folder, hot, 3000)
    found = audit_pages.figures(tmp_path)
    sizes = [one.value for one in found if one.name.endswith("at most")]
    assert len(sizes) == 11
    assert all(value is not None and 1 < value < 250 for value in sizes)
