"""The report job on real files: what it counts, what it writes, what it never touches."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from ckptd.errors import StorageError
from ckptd.index.runs import add_run
from ckptd.jobs.report_facts import gather_report
from ckptd.jobs.reporting import HEADS, run_report, write_form
from ckptd.report.facts import Facts
from ckptd.storage.faults import NameTakenError
from tests.jobs.keeping import DAY, NOW, Clock, index_roots, make_series, open_app, save_checkpoint


def sizes(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*.pth"))


def gather(app) -> Facts:
    with app.working(None) as context:
        return gather_report(context)


def run(app):
    with app.working(None) as context:
        return run_report(context)


def written(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "reports").iterdir()}


@contextmanager
def indexed(*roots: Path, **tables):
    app = open_app(*roots, **tables)
    index_roots(app)
    try:
        yield app
    finally:
        app.close()


class TestFacts:
    def test_they_are_what_lies_there(self, root):
        """Sums of the real files, with links, copies, optimizer state and a file that is damaged."""
        made = make_series(root, count=4, optimizer=True)
        save_checkpoint(root / "CNN_CIFAR10_acc90.pth", 50, days=3)
        shutil.copy(made[0], root / "copy.pth")
        os.link(made[1], root / "link.pth")
        (root / "cut.pth").write_bytes(made[2].read_bytes()[:-300])
        torch.save({"model": {"w": torch.tensor([1.0, float("nan")])}}, root / "nan.pth")
        linked = made[1].stat().st_size
        with indexed(root, policy={"keep_last": 1, "keep_best": 0, "ladder": ["trash"]}) as app:
            facts = gather(app)
        assert facts.totals.files == 9
        assert facts.totals.size_bytes == sizes(root) - linked
        assert facts.totals.hard_links == 1
        assert facts.totals.contents == 7
        assert facts.totals.slim_files == facts.totals.optimizer_files == 5
        assert 0 < facts.totals.optimizer_bytes < facts.totals.size_bytes
        assert facts.totals.slim_bytes == facts.totals.optimizer_bytes
        assert (facts.duplicates.sets, facts.duplicates.extra_files) == (1, 1)
        assert facts.duplicates.wasted_bytes == made[0].stat().st_size
        assert sorted(facts.duplicates.rows[0].places) == sorted([made[0].name, "copy.pth"])
        assert [(one.path, one.what) for one in facts.health.troubles] == [
            ("cut.pth", "damaged"),
            ("nan.pth", "non-finite-weights"),
        ]
        assert all(one.message for one in facts.health.troubles)
        assert facts.health.non_finite_files == 1
        assert {share.name for share in facts.models.rows} >= {"BiLSTM", "CNN"}
        assert facts.plan is not None
        assert sum(one.files for one in facts.plan.actions) == 9
        assert sum(one.files for one in facts.plan.actions if one.action == "trash") >= 3
        disk = os.statvfs(root)
        assert facts.disks[0].total_bytes == disk.f_blocks * disk.f_frsize
        assert facts.disks[0].checkpoint_bytes == facts.totals.size_bytes

    def test_what_was_put_away_is_told(self, root):
        """After a policy took some: less is there, and the trash has it; the growth still counts its room."""
        make_series(root, count=6)
        with indexed(root, policy={"keep_last": 1, "keep_best": 0, "ladder": ["trash"]}) as app:
            before = gather(app)
            app.apply()
            after = gather(app)
            app.purge_trash(everything=True)
            purged = gather(app)
        assert after.totals.files == 1
        assert (after.trash[0].entries, after.trash[0].oldest_at) == (5, NOW)
        assert after.trash[0].size_bytes > 0
        assert after.disks[0].growth.size_bytes[-1] == before.totals.size_bytes
        assert purged.trash[0].entries == 0
        assert purged.disks[0].growth.size_bytes[-1] == purged.totals.size_bytes

    def test_archives_are_told(self, root):
        make_series(root, count=6)
        with indexed(root, policy={"keep_last": 1, "keep_best": 0, "ladder": ["archive"]}) as app:
            app.apply()
            facts = gather(app)
        [archive] = (root / "archives").glob("*.tar.gz")
        assert (facts.archives.count, facts.archives.members) == (1, 5)
        assert facts.archives.size_bytes == archive.stat().st_size == facts.disks[0].archive_bytes
        assert facts.archives.oldest_at == NOW

    def test_growth_goes_back_to_the_mtimes_of_the_first_look(self, root):
        """The series is ten days apart; ckptd first looked today."""
        made = make_series(root, count=3)
        app = open_app(root)
        index_roots(app, first_seen_days=0.0)
        facts = gather(app)
        app.close()
        levels = facts.disks[0].growth.size_bytes
        assert facts.disks[0].growth.first_day == "2025-12-02"
        assert len(levels) == 31
        first, second, third = (path.stat().st_size for path in made)
        assert [levels[0], levels[9], levels[10], levels[20]] == [first, first, first + second, first + second + third]
        assert facts.known_since_at == NOW

    def test_no_plan_is_made_where_none_is_wanted(self, root):
        make_series(root, count=2)
        with indexed(root, policy={"mode": "off"}) as app:
            facts = gather(app)
        assert facts.plan is None
        assert "off" in facts.no_plan

    def test_a_policy_that_keeps_nothing_is_no_reason_for_no_report(self, root):
        """The retention job says so; the report says why it has no plan."""
        make_series(root, count=2)
        with indexed(root, policy={"keep_last": 0, "keep_best": 0, "keep_within_seconds": 0, "keep_tags": []}) as app:
            facts = gather(app)
        assert facts.totals.files == 2
        assert facts.plan is None
        assert facts.no_plan

    def test_two_roots_on_one_disk_are_one_disk(self, root, tmp_path):
        other = tmp_path / "other"
        other.mkdir()
        make_series(root, count=2)
        make_series(other, "GRU", count=1)
        with indexed(root, other) as app:
            facts = gather(app)
        assert [disk.roots for disk in facts.disks] == [(str(root), str(other))]
        assert facts.disks[0].checkpoint_bytes == sizes(root) + sizes(other)
        assert {share.name: share.files for share in facts.roots.rows} == {str(root): 2, str(other): 1}

    @pytest.mark.root
    def test_two_disks_are_two(self, root, tmp_path):
        other = tmp_path / "other"
        other.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", other], check=True)
        try:
            make_series(root, count=2)
            make_series(other, "GRU", count=1)
            with indexed(root, other) as app:
                facts = gather(app)
            assert [disk.name for disk in facts.disks] == [str(root), str(other)]
            assert facts.disks[1].total_bytes == 8 << 20
            assert facts.disks[1].checkpoint_bytes == facts.disks[1].growth.size_bytes[-1] == sizes(other)
        finally:
            subprocess.run(["umount", "-l", other], check=True)

    def test_a_root_that_was_lost_says_nothing_of_its_disk(self, root):
        """Another directory lies in its place: what the index knows is told, the disk's figures are not believed."""
        make_series(root, count=2)
        with indexed(root) as app:
            root.rename(root.with_name("moved"))
            root.mkdir()
            shutil.copytree(root.with_name("moved") / ".ckptd", root / ".ckptd")
            (root / ".ckptd" / "root-id").write_text("0" * 32 + "\n")
            (root / ".ckptd" / "root-id").chmod(0o600)
            facts = gather(app)
        assert facts.totals.files == 2
        assert facts.disks[0].free_bytes is None
        assert any("not to be believed" in why for why in facts.health.freezes)

    def test_the_run_that_asks_is_not_among_the_results(self, root):
        """It is running, and says nothing about how reports end."""
        with indexed(root) as app, app.working(None) as context:
            with context.store.batch() as batch:
                batch.tell(add_run, "report", context.run_id, None, NOW)
                batch.tell(add_run, "scrub", "another", None, NOW)
            assert [one.job for one in gather_report(context).jobs] == ["scrub"]


class TestFiles:
    def test_three_forms_of_one_day(self, root):
        make_series(root, count=2)
        with indexed(root, schedule={"time_zone": "Pacific/Auckland"}) as app:
            outcome = run(app)
        names = [f"ckptd-report-20260102.{ending}" for ending in ("html", "json", "md")]  # noon in Greenwich is tomorrow there
        assert sorted(written(root)) == names
        for name, data in written(root).items():
            assert data.startswith(HEADS[name.rpartition(".")[2]].encode())
        value = json.loads(written(root)[names[1]])
        assert value["totals"]["size_bytes"] == sizes(root)
        assert outcome.outcome == "ok"
        assert outcome.summary["report"] == str(root / "reports" / names[0])
        assert outcome.summary["checkpoints"] == 2

    def test_a_second_one_of_a_day_replaces_the_first(self, root):
        make_series(root, count=2)
        with indexed(root) as app:
            run(app)
            before = written(root)
            save_checkpoint(root / "GRU_ECG_acc70.pth", 70)
            index_roots(app)
            run(app)
        after = written(root)
        assert sorted(after) == sorted(before)
        assert all(after[name] != before[name] for name in before)

    def test_people_can_read_them(self, root):
        """Group and bits of the root, whatever the umask of the daemon is; the directory has them too."""
        root.chmod(0o2770)
        if os.geteuid() == 0:
            os.chown(root, -1, 4_242)
        make_series(root, count=1)
        umask = os.umask(0o077)
        try:
            with indexed(root) as app:
                run(app)
        finally:
            os.umask(umask)
        directory = (root / "reports").stat()
        assert stat.S_IMODE(directory.st_mode) == 0o2770
        assert directory.st_gid == root.stat().st_gid
        for path in (root / "reports").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            assert path.stat().st_gid == root.stat().st_gid

    @pytest.mark.parametrize("form", ["file", "link", "directory", "fifo"])
    def test_what_is_none_of_ours_is_never_replaced(self, root, tmp_path, form):
        """Somebody has a file of this very name, or a link to something dear."""
        make_series(root, count=1)
        taken = root / "reports" / "ckptd-report-20260101.html"
        taken.parent.mkdir()
        dear = tmp_path / "dear.html"
        dear.write_text(HEADS["html"])
        match form:
            case "file":
                taken.write_text("<!doctype html>\n<p>my own")
            case "link":
                taken.symlink_to(dear)
            case "directory":
                taken.mkdir()
            case _:
                os.mkfifo(taken)
        before = taken.lstat()
        with indexed(root) as app, pytest.raises(NameTakenError, match="no report of ckptd"):
            run(app)
        assert taken.lstat().st_ino == before.st_ino
        assert dear.read_text() == HEADS["html"]
        assert not [path for path in taken.parent.iterdir() if path.name.startswith(".")]

    def test_the_oldest_go(self, root):
        """So many days stay; what bears another name or begins otherwise is left alone."""
        make_series(root, count=1)
        clock = Clock(NOW - 5 * DAY)
        with indexed(root, report={"keep": 2}, clock=clock) as app:
            for _ in range(5):
                run(app)
                clock.now += DAY
            mine = root / "reports" / "ckptd-report-20251101.html"
            mine.write_text("my own notes")
            near = [
                "ckptd-report-2025.html",
                "ckptd-report-20251101.html.bak",
                "ckptd-report-20251101.txt",
                "x-ckptd-report-20251101.md",
            ]
            for name in near:
                (root / "reports" / name).write_text(HEADS["html"])
            outcome = run(app)
        names = sorted(written(root))
        days = ["20251231", "20260101"]
        expected = [f"ckptd-report-{day}.{ending}" for day in days for ending in ("html", "json", "md")]
        assert names == sorted([*expected, *near, mine.name])
        assert outcome.summary["removed"] == 3

    def test_today_stays_whatever_a_wrong_clock_left(self, root):
        """Reports of next year do not push out the one that was just written."""
        make_series(root, count=1)
        clock = Clock(NOW + 400 * DAY)
        with indexed(root, report={"keep": 1}, clock=clock) as app:
            run(app)
            clock.now = NOW
            run(app)
        assert "ckptd-report-20260101.html" in written(root)

    def test_another_directory(self, root, tmp_path):
        make_series(root, count=1)
        with indexed(root, report={"directory": str(tmp_path / "www")}) as app:
            run(app)
        assert len(list((tmp_path / "www").iterdir())) == 3
        assert not (root / "reports").exists()

    def test_a_directory_that_can_not_be_made_is_said(self, root, tmp_path):
        make_series(root, count=1)
        with (
            indexed(root, report={"directory": str(tmp_path / "no" / "www")}) as app,
            pytest.raises(StorageError, match=r"open the directory of reports: .*/no: No such file.*report\.directory"),
        ):
            run(app)

    def test_a_file_in_the_place_of_the_directory_is_said(self, root):
        make_series(root, count=1)
        (root / "reports").write_text("mine")
        with indexed(root) as app, pytest.raises(StorageError, match="Not a directory"):
            run(app)
        assert (root / "reports").read_text() == "mine"

    def test_a_lost_root_gets_no_report(self, root):
        """What lies in its place may be anything."""
        make_series(root, count=1)
        with indexed(root) as app, app.working(None) as context:
            context.roots[0].incident = "its id is another one"
            with pytest.raises(StorageError, match="not to be believed"):
                run_report(context)
        assert not (root / "reports").exists()

    def test_an_empty_root_has_a_report_too(self, root):
        with indexed(root) as app:
            run(app)
        assert b"There are no checkpoints yet." in written(root)["ckptd-report-20260101.html"]

    @pytest.mark.root
    @pytest.mark.parametrize("fitting", [0, 0.5, 1, 2, 2.5])
    def test_a_full_disk_leaves_yesterdays(self, tmp_path, fitting):
        """Whichever of the files it is full at: those that are there are whole, none is torn, and the next run writes all."""
        small, root = tmp_path / "small", tmp_path / "models"
        small.mkdir()
        root.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", small], check=True)
        try:
            make_series(root, count=3)
            clock = Clock(NOW - DAY)
            with indexed(root, report={"directory": str(small / "reports")}, clock=clock) as app:
                run(app)
                yesterdays = written(small)
                pages = [-(-len(yesterdays[f"ckptd-report-20251231.{ending}"]) // 4096) for ending in HEADS]
                left = sum(pages[: int(fitting)]) + pages[int(fitting)] * (fitting % 1)
                (small / "ballast").write_bytes(b"x" * 4096 * (os.statvfs(small).f_bavail - int(left)))
                clock.now = NOW
                with pytest.raises(StorageError, match="No space left on device"):
                    run(app)
                now = written(small)
                assert {name: now[name] for name in yesterdays} == yesterdays
                new = [f"ckptd-report-20260101.{ending}" for ending in HEADS][: int(fitting)]
                assert sorted(set(now) - set(yesterdays)) == sorted(new)
                assert all(now[name].endswith(b"\n") for name in new)
                (small / "ballast").unlink()
                run(app)
                assert len(written(small)) == 6
        finally:
            subprocess.run(["umount", "-l", small], check=True)


class TestForms:
    def test_a_file_that_a_person_names(self, root, tmp_path):
        """Written, and written again; a person's own file is not."""
        make_series(root, count=1)
        with indexed(root) as app:
            facts = gather(app)
        page, mine = tmp_path / "page.html", tmp_path / "mine.html"
        for _ in range(2):
            write_form(facts, "html", str(page))
            assert page.read_text().startswith(HEADS["html"])
        mine.write_text("mine")
        with pytest.raises(NameTakenError):
            write_form(facts, "html", str(mine))
        assert mine.read_text() == "mine"
        with pytest.raises(StorageError, match="No such file"):
            write_form(facts, "md", str(tmp_path / "none" / "x.md"))
