"""ckptd from Python: open, find, best, load and save; the face of what the commands do."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys

import pytest
import torch

import ckptd
from ckptd.app import App
from ckptd.errors import CkptdError, NeedsCodeError, UsageError
from ckptd.settings import load_settings


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A root with three checkpoints of two models, indexed once."""
    root = tmp_path_factory.mktemp("library") / "models"
    root.mkdir()
    torch.manual_seed(0)
    for name, value in (("cnn_digits_acc81", 1.0), ("cnn_digits_acc93", 2.0), ("lstm_digits_acc77", 3.0)):
        torch.save({"fc.weight": torch.full((2, 3), value)}, root / f"{name}.pth")
    torch.save(torch.nn.Linear(3, 2), root / "module.pth")
    App(load_settings(None, {"roots": (root,)})).scan()
    return root


def test_records_find_best_and_show(models):
    """As the commands of the same names."""
    with ckptd.open(models) as library:
        assert [record.path for record in library.records()] == [
            "cnn_digits_acc81.pth",
            "cnn_digits_acc93.pth",
            "lstm_digits_acc77.pth",
            "module.pth",
        ]
        assert [record.path for record in library.find("accuracy>0.8", sort="size")] != []
        assert library.best("acc").path == "cnn_digits_acc93.pth"
        assert library.best("accuracy", group="lstm/digits").path == "lstm_digits_acc77.pth"
        assert library.best("accuracy", mode="min", group="cnn").path == "cnn_digits_acc81.pth"
        assert library.best("f1") is None
        assert library.show("cnn_digits_acc81").inspection.status == "ok"
        with pytest.raises(UsageError, match="nothing in the index"):
            library.show("nobody")
        with pytest.raises(UsageError):
            library.find("accuracy>")


def test_a_root_that_was_never_looked_at_says_what_to_do(tmp_path):
    """The cure is one of two commands."""
    with pytest.raises(UsageError, match="ckptd scan"), ckptd.open(tmp_path) as library:
        library.records()


def test_load_by_record_by_path_and_by_name(models, monkeypatch):
    """A name is looked up in the roots of the settings; a file that would run code is refused."""
    monkeypatch.setenv("CKPTD_ROOTS", str(models))
    monkeypatch.chdir("/")
    with ckptd.open(models) as library:
        best = library.load(library.best("accuracy"))
    assert torch.equal(best["fc.weight"], torch.full((2, 3), 2.0))
    assert torch.equal(ckptd.load(models / "cnn_digits_acc81.pth")["fc.weight"], torch.full((2, 3), 1.0))
    assert torch.equal(ckptd.load("lstm_digits_acc77")["fc.weight"], torch.full((2, 3), 3.0))
    with pytest.raises(NeedsCodeError):
        ckptd.load(models / "module.pth")
    with pytest.raises(CkptdError):
        ckptd.load("nobody")


def test_save_writes_the_file_and_its_metadata(tmp_path):
    """What the caller states is a person's word: it survives a save over it, and the daemon that looks at it later."""
    path = tmp_path / "net.pth"
    assert ckptd.save({"w": torch.ones(2)}, path, metrics={"acc": 0.9}, hyperparameters={"lr": 0.1}) == path
    sidecar = json.loads((tmp_path / "net_metadata.json").read_text())
    assert (sidecar["metrics"], sidecar["hyperparameters"]) == ({"acc": 0.9}, {"lr": 0.1})
    assert sidecar["ckptd"]["sha256"] == ckptd.inspect(path).sha256
    App(load_settings(None, {"roots": (tmp_path,)})).scan()
    with ckptd.open(tmp_path) as library:
        (record,) = library.find("accuracy>=0.9")
        assert record.inspection.metadata.hyperparameters == {"lr": 0.1}
    ckptd.save({"w": torch.zeros(2)}, path)
    again = json.loads((tmp_path / "net_metadata.json").read_text())
    assert again["metrics"] == {"acc": 0.9}
    assert again["ckptd"]["sha256"] == ckptd.inspect(path).sha256 != sidecar["ckptd"]["sha256"]


@pytest.mark.parametrize(
    "stated",
    [
        {"metrics": {"acc": float("nan")}},
        {"metrics": {"loss": "low"}},
        {"hyperparameters": {"model": object()}},
        {"hyperparameters": {"a": "\ud800"}},
        {"metrics": {"acc": 10**5_000}},
        {"metrics": {1: 2.0}},
    ],
)
def test_what_no_sidecar_can_hold_is_refused_before_anything_is_written(tmp_path, stated):
    """NaN, texts for numbers and objects are mistakes of the caller."""
    with pytest.raises(UsageError):
        ckptd.save({"w": torch.ones(2)}, tmp_path / "net.pth", **stated)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lies", ["fifo", "link", "text", "large"])
def test_what_lies_under_the_name_of_the_metadata_is_left_alone(tmp_path, lies):
    """A pipe there would hold the training for ever: the checkpoint is saved, and an error says what lies there."""
    beside = tmp_path / "m_metadata.json"
    (tmp_path / "passwd").write_text("secret")
    match lies:
        case "fifo":
            os.mkfifo(beside)
        case "link":
            beside.symlink_to(tmp_path / "passwd")
        case "text":
            beside.write_text("mine, and no JSON")
        case "large":
            beside.write_bytes(b"{}")
            os.truncate(beside, 2 << 30)
    before = beside.lstat()
    with pytest.raises(CkptdError, match="m_metadata") if lies in ("text", "large") else contextlib.nullcontext():
        ckptd.save({"w": torch.ones(2)}, tmp_path / "m.pth", metrics={"acc": 0.5})
    assert torch.equal(ckptd.load(tmp_path / "m.pth")["w"], torch.ones(2))
    assert beside.lstat() == before or lies == "link"
    assert (tmp_path / "passwd").read_text() == "secret"


def test_asking_the_library_needs_no_torch(models):
    """1.3 seconds and 223 MB, for those who load."""
    script = (
        "import sys, ckptd\n"
        f"with ckptd.open({str(models)!r}) as library: assert library.best('accuracy')\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
