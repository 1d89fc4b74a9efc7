"""``manta db backup``, ``backups`` and ``restore``, and the backups that the host makes by itself."""

import asyncio
from pathlib import Path

import pytest

from actors.session import Session
from actors.troubles import about_backups
from manta.backup_keeper import BackupKeeper, backup_folder
from tests.manta.conftest import Place, nothing_left
from trading.config.model import Config
from trading.intervals import HOUR_MS
from trading.storage.backups import list_backups
from trading.storage.settings import DatabaseTarget


@pytest.mark.covers("S2-8", "S1-44")
def test_a_database_goes_there_and_back(place: Place) -> None:
    with nothing_left(place):
        assert place.run("db", "backups").out.startswith("none yet")
        place.run("db", "migrate")
        made = place.run("db", "backup", "--json").value
        assert Path(made["file"]).parent == place.data_dir / "backups"
        assert place.run("db", "backups", "--json").value == [{k: made[k] for k in ("file", "made_at", "bytes")}]
        elsewhere = place.run("db", "backup", "--folder", str(place.folder / "disk"), "--json").value
        restored = place.run("db", "restore", elsewhere["file"], "--yes", "--json").value
        assert restored["applied"] == []
        assert [each["file"] for each in place.run("db", "backups", "--json").value] == [
            restored["before"],
            made["file"],
        ]
        assert place.run("db", "check", "--json").value["pending"] == []


def test_what_cannot_be_restored_is_refused_before_anything_is_touched(place: Place) -> None:
    asked = place.call("db", "restore", "some.dump", "--json")
    assert (asked.status, "--yes" in asked.value["fix"]) == (2, True)
    (place.folder / "some.dump").write_text("no backup")
    with nothing_left(place):
        for name in ("some.dump", "absent.dump"):
            refused = place.run("db", "restore", name, "--yes", "--json")
            assert (refused.status, refused.value["field"], refused.value["value"]) == (2, "file", name)
    assert list_backups(place.data_dir / "backups") == []


async def test_the_host_makes_one_when_the_newest_is_old(database: DatabaseTarget, tmp_path: Path) -> None:
    config = Config.model_validate({"storage": {"backup_folder": "kept", "backup_keep": 2}})
    folder = backup_folder(config, tmp_path)
    assert folder == tmp_path / "kept"
    keeper = BackupKeeper(config, tmp_path, database, pause_s=0.05)
    running = asyncio.ensure_future(keeper.run())
    try:
        while not list_backups(folder):
            await asyncio.sleep(0.02)
        [first] = list_backups(folder)
        # Old enough now: its name says when it was made.
        old = first.path.with_name("manta-20250101T000000Z.dump")
        first.path.rename(old)
        while len(list_backups(folder)) < 2:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        assert old in {backup.path for backup in list_backups(folder)}
        assert len(list_backups(folder)) == 2
    finally:
        running.cancel()
    assert not running.done() or running.cancelled()


async def test_one_that_fails_is_tried_again(database: DatabaseTarget, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("in the way")
    config = Config.model_validate({"storage": {"backup_folder": "kept"}})
    running = asyncio.ensure_future(BackupKeeper(config, tmp_path, database, pause_s=0.02).run())
    try:
        await asyncio.sleep(0.3)
        assert not running.done()
        (tmp_path / "kept").unlink()
        while not list_backups(tmp_path / "kept"):
            assert not running.done()
            await asyncio.sleep(0.02)
    finally:
        running.cancel()


def test_that_there_is_none_is_trouble(tmp_path: Path) -> None:
    config = Config()
    target = DatabaseTarget("/nowhere")
    session = Session("s", "n", "venue", 1.0, 0, config, target, "", "", backup_dir=str(tmp_path))
    made = tmp_path / "manta-20250716T033000Z.dump"
    now_ms = 1_752_636_600_000
    [told] = about_backups(session, now_ms)
    assert "none yet" in told.message
    assert told.after_s >= 3600
    made.touch()
    assert about_backups(session, now_ms + HOUR_MS) == []
    [told] = about_backups(session, now_ms + 24 * HOUR_MS)
    assert "2025-07-16" in told.message
    assert "manta db backup" in told.message
    assert about_backups(Session("s", "n", "simulator", 1.0, 0, config, target, "", ""), now_ms) == []
