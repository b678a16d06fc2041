"""A sidecar is written where it is missing, and what a person wrote survives whatever we do."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from ckptd.metadata import sidecar
from ckptd.metadata.layout import is_sealed
from ckptd.metadata.sidecar import Action, SidecarResult, ensure, read
from ckptd.model import Identity, Inspection, Layer, Metadata, Severity, Source, Status
from ckptd.storage import kernel
from tests.metadata.inspections import INSPECTION, NOW, inspection
from tests.storage.forks import NOBODY, killed_at_every_call, run_as_nobody

SIDECAR = "a_metadata.json"
OWN = "a.pth.ckptd.json"


def bring(dir_fd: int, what: Inspection = INSPECTION, checkpoint: str = "a.pth", **options) -> SidecarResult:
    return ensure(dir_fd, checkpoint, what, generated_at=options.pop("generated_at", NOW), **options)


def edit(place: Path, change) -> None:
    """Let a person edit the JSON with a tool that writes it in its own way."""
    document = json.loads(place.read_text())
    change(document)
    place.write_text(json.dumps(document, indent=4))


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


class TestNew:
    def test_it_has_the_documented_shape(self, tmp_path: Path, dir_fd: int) -> None:
        result = bring(dir_fd)
        text = (tmp_path / SIDECAR).read_text()
        document = json.loads(text)
        assert result == SidecarResult(Action.WRITTEN, SIDECAR, hashlib.sha256(text.encode()).hexdigest())
        assert list(document) == [
            "model_name",
            "architecture",
            "hyperparameters",
            "metrics",
            "data_profile",
            "training_date",
            "quantization",
            "storage_kb",
            "ckptd",
        ]
        assert document["model_name"] == "BiLSTM_Attention"
        assert document["metrics"] == {"accuracy": 0.87, "val_loss": 0.41}
        assert document["data_profile"] == {"dataset": "ECG", "input_size": 10, "output_size": 2}
        assert document["training_date"] == "2025-01-02"
        assert document["storage_kb"] == 97.7
        assert text.endswith("}\n")

    def test_our_part_holds_what_design_lists(self, tmp_path: Path, dir_fd: int) -> None:
        bring(dir_fd)
        ours = json.loads((tmp_path / SIDECAR).read_text())["ckptd"]
        assert {
            "schema_version", "sha256", "container", "kind", "parameters", "dtypes", "layers", "health", "findings", "stage",
            "sources", "exports", "generated_at",
        } <= set(ours)  # fmt: skip
        assert ours["sha256"] == "a" * 64
        assert ours["file"] == "a.pth"
        assert ours["health"] == {"nan": 2, "inf": 0, "tensors": ["lstm.weight_ih_l0"]}
        assert ours["generated_at"] == "2025-10-09T08:53:20Z"
        assert ours["findings"][0]["code"] == "non-finite"
        assert list(ours)[-1] == "seal"

    @pytest.mark.parametrize("status", [Status.NOT_A_CHECKPOINT, Status.UNREADABLE, Status.FAILED])
    def test_what_is_no_checkpoint_gets_none(self, tmp_path: Path, dir_fd: int, status: Status) -> None:
        assert bring(dir_fd, replace(INSPECTION, status=status)).action is Action.SKIPPED
        assert bring(dir_fd, replace(INSPECTION, sha256=None)).action is Action.SKIPPED
        assert names(tmp_path) == []

    @pytest.mark.parametrize("status", [Status.OK, Status.DAMAGED, Status.UNSAFE, Status.NEEDS_CODE])
    def test_whatever_was_read_to_its_end_gets_one(self, tmp_path: Path, dir_fd: int, status: Status) -> None:
        assert bring(dir_fd, replace(INSPECTION, status=status)).action is Action.WRITTEN
        assert json.loads((tmp_path / SIDECAR).read_text())["ckptd"]["status"] == status

    def test_a_second_pass_changes_nothing(self, tmp_path: Path, dir_fd: int) -> None:
        bring(dir_fd)
        before = Identity.of((tmp_path / SIDECAR).stat())
        assert bring(dir_fd, generated_at=NOW + 9).action is Action.UNCHANGED
        assert Identity.of((tmp_path / SIDECAR).stat()) == before

    def test_home_directories_are_not_published(self, tmp_path: Path, dir_fd: int) -> None:
        secret = {
            "data": "/home/alice/ecg",
            "/home/alice": "x",
            "deep": [{"p": "C:\\Users\\alice\\x", "q": "/Users/alice"}, "/root/data", "/root"],
            "kept": ["/data/roots/x", "/usr/root.d", "Users"],
        }
        bring(dir_fd, inspection(hyperparameters=secret, other={"cwd": "/home/bob"}))
        text = (tmp_path / SIDECAR).read_text()
        assert "alice" not in text
        assert "bob" not in text
        assert json.loads(text)["hyperparameters"] == {
            "data": "~/ecg",
            "~": "x",
            "deep": [{"p": "~\\x", "q": "~"}, "~/data", "~"],
            "kept": ["/data/roots/x", "/usr/root.d", "Users"],
        }
        assert bring(dir_fd, inspection(hyperparameters=secret)).action is Action.UNCHANGED

    def test_hostile_texts_never_make_a_sidecar_that_we_could_not_read_again(self, tmp_path: Path, dir_fd: int) -> None:
        huge = {f"{'k' * 5000}{n}": ["v" * 16_000] * 3 for n in range(1000)}
        layers = tuple(Layer("n" * 9000 + str(n), "linear", 1, 1, {"d" * 900: n}) for n in range(2000))
        what = replace(inspection(hyperparameters=huge, other=huge), layers=layers)
        assert bring(dir_fd, what).action is Action.WRITTEN
        assert (tmp_path / SIDECAR).stat().st_size <= 1 << 20
        assert json.loads((tmp_path / SIDECAR).read_text())["ckptd"]["shortened"] is True
        assert bring(dir_fd, what).action is Action.UNCHANGED

    def test_a_number_that_json_has_no_word_for_is_reported(self, tmp_path: Path, dir_fd: int) -> None:
        result = bring(dir_fd, inspection(hyperparameters={"lr": float("nan")}))
        assert result.action is Action.FAILED
        assert names(tmp_path) == []

    def test_group_and_bits_are_those_of_the_checkpoint(self, tmp_path: Path, dir_fd: int) -> None:
        (tmp_path / "a.pth").write_bytes(b"")
        (tmp_path / "a.pth").chmod(0o660)
        bring(dir_fd, like=(tmp_path / "a.pth").stat())
        assert stat.S_IMODE((tmp_path / SIDECAR).stat().st_mode) == 0o660

    @pytest.mark.parametrize("checkpoint", ["\udcff.pth", "x\x1b[2J.pth", "C:\\Users\\bob.pth", "r" * 230 + ".pth", "é.pth"])
    def test_any_name_that_a_file_can_have_is_known_again(self, dir_fd: int, checkpoint: str) -> None:
        assert bring(dir_fd, checkpoint=checkpoint).action is Action.WRITTEN
        assert bring(dir_fd, checkpoint=checkpoint).action is Action.UNCHANGED

    def test_a_name_that_leaves_no_room_is_reported(self, tmp_path: Path, dir_fd: int) -> None:
        result = bring(dir_fd, checkpoint="r" * 250 + ".pth")
        assert result.action is Action.KEPT
        assert [finding.code for finding in result.findings] == ["sidecar-no-name"]
        assert "too long" in result.findings[0].message
        assert names(tmp_path) == []


class TestReplacedCheckpoint:
    """The same name has another content, or the same content is read by another version."""

    @pytest.mark.parametrize(
        "later",
        [inspection("b" * 64), replace(INSPECTION, inspector_version=99), replace(INSPECTION, status=Status.DAMAGED)],
        ids=["content", "inspector", "status"],
    )
    def test_ours_is_written_anew(self, tmp_path: Path, dir_fd: int, later: Inspection) -> None:
        bring(dir_fd)
        assert bring(dir_fd, later).action is Action.REGENERATED
        assert is_sealed((tmp_path / SIDECAR).read_bytes())
        ours = json.loads((tmp_path / SIDECAR).read_text())["ckptd"]
        assert (ours["sha256"], ours["inspector_version"], ours["status"]) == (
            later.sha256,
            later.inspector_version,
            later.status,
        )
        assert bring(dir_fd, later).action is Action.UNCHANGED

    def test_in_an_edited_one_only_our_key_changes(self, tmp_path: Path, dir_fd: int) -> None:
        """Every byte outside of the value of `ckptd` is the person's."""
        bring(dir_fd)
        place = tmp_path / SIDECAR
        text = place.read_text()
        text = text.replace('"lr": 0.001', '"lr" :  1.0E-3').replace(
            '{\n  "model_name"', '{"notes":[1.0,1e400,  007e0],\n\t"model_name"'.replace("007e0", "7e0")
        )
        text = text.replace('"storage_kb": 97.7', '"storage_kb":97.70, "id": 123456789012345678901234567890')
        place.write_text(text)
        result = bring(dir_fd, inspection("b" * 64, metrics={"accuracy": 0.5}))
        assert result.action is Action.UPDATED
        now = place.read_text()
        assert result.sha256 == hashlib.sha256(now.encode()).hexdigest()
        cut = text.index('"ckptd"')
        assert now[:cut] == text[:cut]
        assert now.endswith("\n  }\n}\n")
        ours = json.loads(now)["ckptd"]
        assert ours["sha256"] == "b" * 64
        assert ours["seal"] is None
        assert bring(dir_fd, inspection("b" * 64)).action is Action.UNCHANGED

    def test_our_own_update_does_not_make_an_edited_one_ours(self, tmp_path: Path, dir_fd: int) -> None:
        """The index knows the digest of what we wrote there; a person's values are in it all the same."""
        bring(dir_fd)
        edit(tmp_path / SIDECAR, lambda document: document.update(model_name="Renamed"))
        updated = bring(dir_fd, inspection("b" * 64))
        assert bring(dir_fd, inspection("c" * 64), known_digests={updated.sha256}).action is Action.UPDATED
        assert json.loads((tmp_path / SIDECAR).read_text())["model_name"] == "Renamed"

    def test_a_digest_that_the_index_knows_is_ours_even_with_another_seal(self, tmp_path: Path, dir_fd: int) -> None:
        """A version of ours that sealed in another way wrote it."""
        bring(dir_fd)
        place = tmp_path / SIDECAR
        place.write_text(place.read_text().replace('"seal": "', '"seal": "v0'))
        digest = hashlib.sha256(place.read_bytes()).hexdigest()
        assert bring(dir_fd, inspection("b" * 64), known_digests={digest}).action is Action.REGENERATED

    def test_exports_stay_with_their_content(self, tmp_path: Path, dir_fd: int) -> None:
        bring(dir_fd)
        edit(tmp_path / SIDECAR, lambda document: document["ckptd"].update(exports={"onnx": {"ok": True}}))
        bring(dir_fd, replace(INSPECTION, inspector_version=2))
        assert json.loads((tmp_path / SIDECAR).read_text())["ckptd"]["exports"] == {"onnx": {"ok": True}}
        bring(dir_fd, inspection("b" * 64))
        assert json.loads((tmp_path / SIDECAR).read_text())["ckptd"]["exports"] == {}

    def test_keys_that_a_person_put_into_our_part_stay_as_they_are_spelled(self, tmp_path: Path, dir_fd: int) -> None:
        bring(dir_fd)
        place = tmp_path / SIDECAR
        place.write_text(place.read_text().replace('"schema_version": 1', '"schema_version": 1, "mine": [1.50, 1e400]'))
        assert bring(dir_fd, inspection("b" * 64)).action is Action.UPDATED
        assert '"mine": [1.50, 1e400]' in place.read_text()

    def test_a_vanished_checkpoint_leaves_its_sidecar_to_itself(self, tmp_path: Path, dir_fd: int) -> None:
        """Another checkpoint of the same stem does not take it over."""
        bring(dir_fd, checkpoint="a.pt")
        before = (tmp_path / SIDECAR).read_bytes()
        assert bring(dir_fd, inspection("b" * 64), checkpoint="a.pth").name == OWN
        assert (tmp_path / SIDECAR).read_bytes() == before

    def test_a_renamed_checkpoint_takes_the_sidecar_of_its_stem_along(self, tmp_path: Path, dir_fd: int) -> None:
        bring(dir_fd, checkpoint="a.pt")
        assert bring(dir_fd, checkpoint="a.pth").action is Action.REGENERATED
        assert json.loads((tmp_path / SIDECAR).read_text())["ckptd"]["file"] == "a.pth"

    def test_a_copy_does_not_take_the_sidecar_of_the_original(self, tmp_path: Path, dir_fd: int) -> None:
        (tmp_path / "a.pt").write_bytes(b"original")
        bring(dir_fd, checkpoint="a.pt")
        assert bring(dir_fd, checkpoint="a.pth").name == OWN


class TestSharedStem:
    def test_each_has_its_full_name(self, dir_fd: int) -> None:
        both = {"a.pth", "a.pt"}
        assert bring(dir_fd, checkpoint="a.pth", siblings=both).name == "a.pth_metadata.json"
        assert bring(dir_fd, inspection("b" * 64), checkpoint="a.pt", siblings=both).name == "a.pt_metadata.json"
        assert bring(dir_fd, checkpoint="a.pth", siblings=both).action is Action.UNCHANGED

    def test_a_name_once_given_stays(self, tmp_path: Path, dir_fd: int) -> None:
        both = {"a.pth", "a.pt"}
        bring(dir_fd, checkpoint="a.pth")
        assert bring(dir_fd, inspection("b" * 64), checkpoint="a.pt", siblings=both).name == "a.pt_metadata.json"
        assert bring(dir_fd, checkpoint="a.pth", siblings=both) == SidecarResult(Action.UNCHANGED, SIDECAR)
        assert bring(dir_fd, inspection("b" * 64), checkpoint="a.pt").name == "a.pt_metadata.json"
        assert len(names(tmp_path)) == 2

    def test_two_checkpoints_whose_names_collide_both_have_one(self, dir_fd: int) -> None:
        """The full name of `a.pth` is the usual name of `a.pth.pt`."""
        everyone = {"a.pth", "a.pt", "a.pth.pt"}
        given = {
            name: bring(dir_fd, inspection(digest * 64), checkpoint=name, siblings=everyone).name
            for name, digest in zip(sorted(everyone), "abc", strict=True)
        }
        assert len(set(given.values())) == 3
        for name, digest in zip(sorted(everyone), "abc", strict=True):
            assert bring(dir_fd, inspection(digest * 64), checkpoint=name, siblings=everyone).action is Action.UNCHANGED


class TestPersonsFile:
    @pytest.mark.parametrize(
        "text", ["{}", '{"model_name": "mine"}', '{"ckptd": 5}', '{"ckptd": null}', '{"ckptd": {"version": "1"}}']
    )
    def test_it_is_never_touched_and_ours_lies_beside_it(self, tmp_path: Path, dir_fd: int, text: str) -> None:
        (tmp_path / SIDECAR).write_text(text)
        before = Identity.of((tmp_path / SIDECAR).stat())
        assert bring(dir_fd).name == OWN
        assert bring(dir_fd) == SidecarResult(Action.UNCHANGED, OWN)
        assert bring(dir_fd, inspection("b" * 64)).name == OWN
        assert Identity.of((tmp_path / SIDECAR).stat()) == before
        assert names(tmp_path) == sorted([OWN, SIDECAR])

    def test_when_it_goes_ours_stays_where_it_is(self, tmp_path: Path, dir_fd: int) -> None:
        (tmp_path / SIDECAR).write_text("{}")
        bring(dir_fd)
        (tmp_path / SIDECAR).unlink()
        assert bring(dir_fd) == SidecarResult(Action.UNCHANGED, OWN)

    def test_a_person_who_takes_our_key_out_takes_the_file_over(self, tmp_path: Path, dir_fd: int) -> None:
        bring(dir_fd)
        edit(tmp_path / SIDECAR, lambda document: document.pop("ckptd"))
        before = (tmp_path / SIDECAR).read_bytes()
        assert bring(dir_fd).name == OWN
        assert (tmp_path / SIDECAR).read_bytes() == before

    @pytest.mark.parametrize("kind", ["link", "dangling", "directory", "fifo"])
    def test_what_is_no_file_is_somebodys_arrangement(self, tmp_path: Path, dir_fd: int, kind: str) -> None:
        place = tmp_path / SIDECAR
        match kind:
            case "link":
                (tmp_path / "target").write_text("{}")
                place.symlink_to("target")
            case "dangling":
                place.symlink_to("target")
            case "directory":
                place.mkdir()
            case "fifo":
                os.mkfifo(place)
        before = place.lstat()
        assert bring(dir_fd).name == OWN
        assert os.path.samestat(place.lstat(), before)
        assert kind != "link" or (tmp_path / "target").read_text() == "{}"

    def test_where_every_name_is_taken_it_is_reported(self, tmp_path: Path, dir_fd: int) -> None:
        for name in (SIDECAR, OWN):
            (tmp_path / name).write_text("{}")
        result = bring(dir_fd)
        assert result.action is Action.KEPT
        assert [finding.code for finding in result.findings] == ["sidecar-no-name"]


class TestBroken:
    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b'{"model_name": "half', "not JSON"),
            (b'{"a": 1, "a": 2}', "twice"),
            (b'{"a": NaN}', "NaN"),
            (b"[]", "not a JSON object"),
            (b"x" * (1 << 21), "larger than 1 MiB"),
            (b'{"a": ' + b"[" * 100_000, "nested"),
            (b"\xff", "UTF-8"),
        ],
        ids=lambda value: repr(value[:20]),
    )
    def test_it_is_reported_and_left_alone(self, tmp_path: Path, dir_fd: int, data: bytes, why: str) -> None:
        (tmp_path / SIDECAR).write_bytes(data)
        result = bring(dir_fd)
        assert (result.action, result.name) == (Action.BROKEN, SIDECAR)
        assert [(finding.code, finding.severity) for finding in result.findings] == [("sidecar-broken", Severity.WARNING)]
        assert why in result.findings[0].message
        assert "move it away" in result.findings[0].message
        assert (tmp_path / SIDECAR).read_bytes() == data
        assert names(tmp_path) == [SIDECAR]

    def test_a_torn_one_is_made_anew_wherever_it_was_cut(self, tmp_path: Path, dir_fd: int) -> None:
        """A power cut leaves a beginning of our text, or NUL bytes; the time in it was another."""
        bring(dir_fd)
        whole = (tmp_path / SIDECAR).read_bytes()
        for length in [*range(0, len(whole) - 1, 7), *range(len(whole) - 160, len(whole) - 2)]:
            for filler in (b"", b"\0" * 5):
                (tmp_path / SIDECAR).write_bytes(whole[:length] + filler)
                assert bring(dir_fd, generated_at=NOW + 12345).action is Action.REGENERATED, length
        assert is_sealed((tmp_path / SIDECAR).read_bytes())

    @pytest.mark.parametrize("more", [b"x", b', "note": "mine"', b"//"])
    @pytest.mark.parametrize("length", [0, 30, 400, -2, -40, -90, -130])
    def test_a_beginning_with_anything_of_a_person_behind_it_is_not_torn(
        self, tmp_path: Path, dir_fd: int, length: int, more: bytes
    ) -> None:
        bring(dir_fd)
        place = tmp_path / SIDECAR
        cut = place.read_bytes()[: length or None] + more
        place.write_bytes(cut)
        assert bring(dir_fd).action is Action.BROKEN
        assert place.read_bytes() == cut

    @pytest.mark.root
    def test_an_empty_file_of_somebody_else_is_theirs_to_fill(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o777)
        (tmp_path / SIDECAR).write_bytes(b"")
        fd = os.open(tmp_path, os.O_RDONLY)
        run_as_nobody(lambda: bring(fd).action is Action.BROKEN or pytest.fail("written"))
        os.close(fd)
        assert (tmp_path / SIDECAR).read_bytes() == b""

    @pytest.mark.root
    def test_one_that_cannot_be_read_is_reported(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o777)
        (tmp_path / SIDECAR).write_text("{}")
        (tmp_path / SIDECAR).chmod(0o600)
        fd = os.open(tmp_path, os.O_RDONLY)

        def inside() -> None:
            result = bring(fd)
            assert result.action is Action.BROKEN
            assert "Permission denied" in result.findings[0].message

        run_as_nobody(inside)
        os.close(fd)


class TestConcurrentSaves:
    @pytest.fixture
    def save_at_rename(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """Let a person save at the moment when we put our nth file in place, by a link or by a rename."""
        planned, count = {}, [0]

        def saved_before(real):
            def call(*args, **where) -> None:
                count[0] += 1
                if count[0] in planned:
                    (tmp_path / "editor~").write_text(planned[count[0]])
                    (tmp_path / "editor~").rename(tmp_path / SIDECAR)
                real(*args, **where)

            return call

        monkeypatch.setattr(kernel, "rename", saved_before(kernel.rename))
        monkeypatch.setattr(os, "link", saved_before(os.link))
        return planned.__setitem__

    def test_a_person_who_creates_the_file_first_wins(self, tmp_path: Path, dir_fd: int, save_at_rename) -> None:
        save_at_rename(1, '{"model_name": "mine"}')
        assert bring(dir_fd).name == OWN
        assert (tmp_path / SIDECAR).read_text() == '{"model_name": "mine"}'

    def test_an_edit_that_comes_while_we_write_anew_wins_and_is_then_respected(
        self, tmp_path: Path, dir_fd: int, save_at_rename
    ) -> None:
        bring(dir_fd)
        text = (tmp_path / SIDECAR).read_text().replace("BiLSTM_Attention", "Mine")
        save_at_rename(2, text)
        assert bring(dir_fd, inspection("b" * 64)).action is Action.UPDATED
        document = json.loads((tmp_path / SIDECAR).read_text())
        assert document["model_name"] == "Mine"
        assert document["ckptd"]["sha256"] == "b" * 64

    def test_who_saves_all_the_time_is_left_alone_with_the_last_save(self, tmp_path: Path, dir_fd: int, save_at_rename) -> None:
        bring(dir_fd)
        for number in range(2, 20, 2):
            save_at_rename(number, (tmp_path / SIDECAR).read_text().replace("BiLSTM", f"Mine{number}"))
        result = bring(dir_fd, inspection("b" * 64))
        assert result.action is Action.KEPT
        assert [finding.code for finding in result.findings] == ["sidecar-busy"]
        assert "Mine" in (tmp_path / SIDECAR).read_text()
        assert names(tmp_path) == [SIDECAR]

    def test_who_has_it_open_for_writing_is_left_alone(self, tmp_path: Path, dir_fd: int) -> None:
        """An editor that saves in place has just emptied it."""
        bring(dir_fd)
        with (tmp_path / SIDECAR).open("w") as editor:
            assert bring(dir_fd).action is Action.KEPT
            editor.write('{"mine": 1}')
        assert (tmp_path / SIDECAR).read_text() == '{"mine": 1}'


def fill(file: IO[bytes]) -> None:
    while True:
        file.write(bytes(4096))


class TestFaults:
    @pytest.mark.root
    def test_a_full_disk_is_reported_and_made_good_later(self, tmp_path: Path) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=True)
        try:
            fd = os.open(tmp_path, os.O_RDONLY)
            with (tmp_path / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError):
                fill(ballast)
            result = bring(fd)
            assert result.action is Action.FAILED
            assert [finding.code for finding in result.findings] == ["sidecar-not-written"]
            assert "free some space" in result.findings[0].message
            (tmp_path / "ballast").unlink()
            assert bring(fd).action is Action.WRITTEN
            os.close(fd)
        finally:
            subprocess.run(["umount", "-l", tmp_path], check=True)

    def test_a_file_system_without_exchange_keeps_what_is_there(
        self, tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise kernel.Unsupported(22, "Invalid argument")

        monkeypatch.setattr(kernel, "rename", refuse)
        assert bring(dir_fd).action is Action.WRITTEN
        before = (tmp_path / SIDECAR).read_bytes()
        result = bring(dir_fd, inspection("b" * 64))
        assert result.action is Action.KEPT
        assert [finding.code for finding in result.findings] == ["sidecar-not-updated"]
        assert (tmp_path / SIDECAR).read_bytes() == before

    def test_a_kill_at_any_moment_costs_no_edit(self, tmp_path: Path, dir_fd: int) -> None:
        bring(dir_fd)
        edit(tmp_path / SIDECAR, lambda document: document.update(notes="mine"))
        edited = (tmp_path / SIDECAR).read_bytes()

        def prepare() -> None:
            for name in names(tmp_path):
                (tmp_path / name).unlink()
            (tmp_path / SIDECAR).write_bytes(edited)

        def check(number: int) -> None:
            assert json.loads((tmp_path / SIDECAR).read_text())["notes"] == "mine"
            bring(dir_fd, inspection("b" * 64))
            document = json.loads((tmp_path / SIDECAR).read_text())
            assert (document["notes"], document["ckptd"]["sha256"]) == ("mine", "b" * 64)

        assert killed_at_every_call(lambda: bring(dir_fd, inspection("b" * 64)), prepare, check) >= 6


class TestRead:
    def test_nothing_of_a_person_is_none(self, dir_fd: int) -> None:
        assert read(dir_fd, "a.pth", INSPECTION) is None
        bring(dir_fd)
        assert read(dir_fd, "a.pth", INSPECTION) is None

    def test_only_what_was_edited_is_a_persons(self, tmp_path: Path, dir_fd: int) -> None:
        bring(dir_fd)

        def change(document: dict) -> None:
            document["model_name"] = "Mine"
            document["metrics"]["accuracy"] = 91
            document["metrics"]["f1"] = 0.8
            document["hyperparameters"]["optimizer"]["name"] = "sgd"
            document["data_profile"]["dataset"] = "MIT-BIH"
            document["notes"] = "good one"

        edit(tmp_path / SIDECAR, change)
        person = read(dir_fd, "a.pth", INSPECTION)
        assert person.files == (SIDECAR,)
        assert person.values == Metadata(
            model_name="Mine",
            dataset="MIT-BIH",
            metrics={"accuracy": 0.91, "f1": 0.8},
            spellings={"accuracy": "accuracy", "f1": "f1"},
            hyperparameters={"optimizer": {"name": "sgd", "betas": [0.9, 0.999]}},
            other={"notes": "good one"},
        )

    def test_what_we_wrote_for_the_last_content_is_nobodys_opinion_of_this_one(self, tmp_path: Path, dir_fd: int) -> None:
        """The checkpoint was replaced; the old accuracy still stands in the edited file, and is not a person's."""
        bring(dir_fd)
        edit(tmp_path / SIDECAR, lambda document: document.update(architecture="Mine"))
        later = inspection("b" * 64, metrics={"accuracy": 0.5})
        bring(dir_fd, later)
        bring(dir_fd, replace(later, inspector_version=2))
        assert json.loads((tmp_path / SIDECAR).read_text())["metrics"]["accuracy"] == 0.87
        assert read(dir_fd, "a.pth", later).values == Metadata(architecture="Mine")

    def test_a_persons_own_files_are_read(self, tmp_path: Path, dir_fd: int) -> None:
        (tmp_path / "BiLSTM_Attention_metadata.json").write_text('{"metrics": {"Val Acc": 90}, "dataset": "X", "epoch": 7}')
        (tmp_path / SIDECAR).write_text('{"data_profile": {"dataset": "Y"}, "date": "2024-05-06", "stage": "final"}')
        bring(dir_fd)
        person = read(dir_fd, "a.pth", INSPECTION)
        assert person.files == ("BiLSTM_Attention_metadata.json", SIDECAR)
        values = person.values
        assert (values.metrics, values.dataset, values.epoch) == ({"val_accuracy": 0.9}, "Y", 7)
        assert (values.date, values.stage) == ("2024-05-06", "final")

    def test_the_sidecar_of_another_checkpoint_is_not_a_persons_file(self, tmp_path: Path, dir_fd: int) -> None:
        bring(dir_fd, inspection("b" * 64), checkpoint="BiLSTM_Attention.pth")
        edit(tmp_path / "BiLSTM_Attention_metadata.json", lambda document: document.update(dataset="of the other"))
        assert read(dir_fd, "a.pth", INSPECTION) is None

    def test_a_broken_one_is_a_finding(self, tmp_path: Path, dir_fd: int) -> None:
        (tmp_path / SIDECAR).write_text("{")
        person = read(dir_fd, "a.pth", INSPECTION)
        assert person.values == Metadata()
        assert [finding.code for finding in person.findings] == ["sidecar-broken"]

    def test_a_models_name_never_leads_out_of_the_directory(self, tmp_path: Path, dir_fd: int) -> None:
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "x_metadata.json").write_text('{"dataset": "secret"}')
        for name in ("sub/x", "../x", "/etc/x", "\ud800", "x\0"):
            assert read(dir_fd, "a.pth", inspection(model_name=name)) is None


def test_every_action_says_in_the_end_what_lies_there(tmp_path: Path, dir_fd: int) -> None:
    """The digest that the index remembers is that of the file."""
    for what in (INSPECTION, inspection("b" * 64)):
        result = bring(dir_fd, what)
        assert result.sha256 == hashlib.sha256((tmp_path / result.name).read_bytes()).hexdigest()
    assert sidecar.is_current(json.loads((tmp_path / SIDECAR).read_text())["ckptd"], "a.pth", inspection("b" * 64))


@pytest.mark.root
def test_a_sidecar_that_we_replace_keeps_its_owner_group_and_bits(tmp_path: Path, dir_fd: int) -> None:
    bring(dir_fd)
    os.chown(tmp_path / SIDECAR, NOBODY, 4242)
    (tmp_path / SIDECAR).chmod(0o664)
    bring(dir_fd, inspection("b" * 64))
    now = (tmp_path / SIDECAR).stat()
    assert (now.st_uid, now.st_gid, stat.S_IMODE(now.st_mode)) == (NOBODY, 4242, 0o664)


def test_sources_are_named(tmp_path: Path, dir_fd: int) -> None:
    bring(dir_fd, inspection(sources={"epoch": Source("content:epoch", 1.0)}))
    assert json.loads((tmp_path / SIDECAR).read_text())["ckptd"]["sources"] == {
        "epoch": {"where": "content:epoch", "confidence": 1.0}
    }
