"""The shelf of training functions: read as data, once for each change, and forgotten when told so."""

import json
import os

import pytest

from ckptd.jobs import functions
from ckptd.jobs.functions import FRESH_SECONDS, FunctionShelf

CODE = "def create_model(**hyperparams):\n    raise SystemExit('never run')\n"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def put(directory, name, code=CODE):
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text(json.dumps({"training_code": code, "hyperparams": {"hidden": 64}}))
    return path


def test_a_function_beside_the_checkpoint_or_in_functions_is_found_by_the_model_s_name(tmp_path, clock):
    """The operator's directories first, then beside it, then in `functions`."""
    inside = put(tmp_path / "functions", "BiLSTM.json")
    assert FunctionShelf([], clock).find("BiLSTM", str(tmp_path))[0] == inside
    beside = put(tmp_path, "BiLSTM.json")
    assert FunctionShelf([], clock).find("BiLSTM", str(tmp_path))[0] == beside
    operators = put(tmp_path / "own", "BiLSTM.json")
    path, function = FunctionShelf([tmp_path / "own"], clock).find("BiLSTM", str(tmp_path))
    assert path == operators
    assert function.hyperparams == {"hidden": 64}


def test_nothing_is_found_for_no_name_and_no_directory(tmp_path, clock):
    """Most checkpoints have no function."""
    shelf = FunctionShelf([], clock)
    assert shelf.find(None, str(tmp_path)) is None
    assert shelf.find("BiLSTM", str(tmp_path / "nowhere")) is None


@pytest.mark.parametrize("what", ["link", "fifo", "other", "huge", "metadata"])
def test_what_is_no_training_function_is_not_on_the_shelf(tmp_path, clock, what):
    """Links are not followed, FIFOs not waited for, other JSON and too much of it left alone."""
    match what:
        case "link":
            put(tmp_path / "elsewhere", "f.json")
            (tmp_path / "Net.json").symlink_to(tmp_path / "elsewhere" / "f.json")
        case "fifo":
            os.mkfifo(tmp_path / "Net.json")
        case "other":
            (tmp_path / "Net.json").write_text('{"training_code": "print(1)"}')
        case "huge":
            (tmp_path / "Net.json").write_text(json.dumps({"training_code": CODE + "#" * (1 << 20)}))
        case "metadata":
            put(tmp_path, "Net_metadata.json")
    assert FunctionShelf([], clock).find("Net", str(tmp_path)) is None


def test_a_change_is_seen_when_the_shelf_is_told_or_after_a_while(tmp_path, clock):
    """A look is good for some seconds; the daemon is told of changes and forgets it sooner."""
    shelf = FunctionShelf([], clock)
    assert shelf.find("Net", str(tmp_path)) is None
    put(tmp_path, "Net.json")
    assert shelf.find("Net", str(tmp_path)) is None
    shelf.forget(str(tmp_path))
    assert shelf.find("Net", str(tmp_path))[1].hyperparams == {"hidden": 64}
    (tmp_path / "Net.json").unlink()
    clock.now += FRESH_SECONDS
    assert shelf.find("Net", str(tmp_path)) is None


def test_a_directory_full_of_large_files_is_read_in_several_looks(tmp_path, clock, monkeypatch):
    """The loop of the daemon does not stand still for gigabytes of JSON that somebody laid there."""
    for name in ("a", "b", "c"):
        put(tmp_path, f"{name}.json", CODE + "#" * 5_000)
    monkeypatch.setattr(functions, "MAX_LOOK_BYTES", 12_000)
    shelf = FunctionShelf([], clock)
    assert sum(shelf.find(name, str(tmp_path)) is not None for name in ("a", "b", "c")) == 2
    clock.now += 2 * FRESH_SECONDS
    assert all(shelf.find(name, str(tmp_path)) is not None for name in ("a", "b", "c"))
