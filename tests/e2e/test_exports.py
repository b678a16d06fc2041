"""Exports as a user meets them: save into the running daemon, and they lie beside the checkpoint with their proof."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.running import ckptd, run_ckptd, running, wait_for

README = (Path(__file__).parents[2] / "README.md").read_text()
QUICK = {
    "CKPTD_WATCH__SETTLE_SECONDS": "0.05",
    "CKPTD_EXPORT__QUIET_SECONDS": "0.2",
    "CKPTD_EXPORT__MIN_FREE_BYTES": "0",
}


def block(language: str, containing: str) -> str:
    """Give the one code block of the README in a language that has a word in it."""
    (found,) = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if containing in text]
    return found


@pytest.fixture
def project(tmp_path):
    """Lay out what the README says: the class, the settings, an empty directory of models."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "ecg.py").write_text(block("python", "class ECGNet"))
    (tmp_path / "trained_models").mkdir()
    (tmp_path / "ckptd.toml").write_text(block("toml", "export.targets"))
    return tmp_path


def environment(project: Path, **further: str) -> dict[str, str]:
    return {**QUICK, "CKPTD_CONFIG": str(project / "ckptd.toml"), **further}


def save(project: Path, name: str = "ECGNet_demo.pth", seed: int = 0) -> None:
    """Save as the README does, with a seed of its own."""
    (line,) = re.findall(r"python -c '(.*)'", block("bash", "ecg.ECGNet"))
    code = line.replace("import ecg, torch;", f"import ecg, torch; torch.manual_seed({seed});").replace("ECGNet_demo.pth", name)
    path = os.pathsep.join([str(project / "models"), os.environ.get("PYTHONPATH", "")])
    subprocess.run([sys.executable, "-c", code], cwd=project, env={**os.environ, "PYTHONPATH": path}, check=True, timeout=120)


def sidecar(project: Path, name: str = "ECGNet_demo") -> dict:
    return json.loads((project / "trained_models" / f"{name}_metadata.json").read_text())


def exports(project: Path, name: str = "ECGNet_demo", **env: str) -> dict[str, dict]:
    found = ckptd("exports", name, check=False, cwd=project, env=environment(project, **env))
    return {one["target"]: one for one in found}


def wait_exported(
    daemon, project: Path, *targets: str, digest: str | None = None, name: str = "ECGNet_demo"
) -> dict[str, dict]:
    """Wait until the sidecar names these exports, of one content if it is said."""

    def look() -> dict[str, dict] | None:
        try:
            own = sidecar(project, name)["ckptd"]
        except (FileNotFoundError, ValueError):
            return None
        done = own["exports"] if digest in (None, own["sha256"]) else {}
        return done if set(targets) <= set(done) else None

    return wait_for(look, f"exports {targets} in the sidecar; see {daemon.log}", patience=240)


def test_the_way_of_the_readme(project):
    """Its class, its three lines, its save: verified safetensors, TorchScript, pt2 and ONNX files, and their proof."""
    models = project / "trained_models"
    with running(models, env=environment(project), cwd=project) as daemon:
        save(project)
        proofs = wait_exported(daemon, project, "safetensors", "torchscript", "pt2", "onnx")
        assert {one["verdict"] for one in proofs.values()} == {"verified"}
        assert {event["target"] for event in daemon.events() if event["event"] == "export.verified"} == set(proofs)
        for target, proof in proofs.items():
            path = models / proof["file"]
            assert path.stat().st_size == proof["size_bytes"], target
            assert path.stat().st_mode & 0o777 == (models / "ECGNet_demo.pth").stat().st_mode & 0o777
        onnx = proofs["onnx"]
        assert onnx["outputs"][0]["max_abs"] < 1e-4
        assert onnx["recipe"]["callable"] == "ecg:ECGNet"
        assert onnx["inputs"][0]["shape"][:2] == ["batch", 12]
        assert {"landlock", "seccomp", "no_new_privs", "rlimits"} <= set(onnx["sandbox"]["applied"])
        assert onnx["versions"].keys() >= {"torch", "onnxruntime"}
        assert os.listdir(models / ".ckptd" / "scratch") == []
        run_by_their_own_runtimes(project)
        assert [record for record in daemon.records() if record != "ECGNet_demo.pth"] == []


def run_by_their_own_runtimes(project: Path) -> None:
    """Load each file as a user would, in another process, and compare with the class itself."""
    code = """
import ecg, numpy, onnxruntime, safetensors.torch, torch, warnings
warnings.simplefilter("ignore")
model = ecg.ECGNet().eval()
model.load_state_dict(torch.load("trained_models/ECGNet_demo.pth"))
x = torch.randn(2, 12, 77)
with torch.no_grad():
    wanted = model(x)
    again = ecg.ECGNet().eval()
    again.load_state_dict(safetensors.torch.load_file("trained_models/ECGNet_demo.safetensors"))
    got = [again(x), torch.jit.load("trained_models/ECGNet_demo_scripted.pt")(x)]
    got.append(torch.export.load("trained_models/ECGNet_demo.pt2").module()(x))
session = onnxruntime.InferenceSession("trained_models/ECGNet_demo.onnx")
got.append(torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]))
for one in got:
    assert torch.allclose(one, wanted, atol=1e-5), (one - wanted).abs().max()
"""
    path = str(project / "models")
    subprocess.run([sys.executable, "-c", code], cwd=project, env={**os.environ, "PYTHONPATH": path}, check=True, timeout=120)


def test_it_is_made_again_only_when_something_changed(project):
    """Not at a restart; but for a new content, for other settings, and by --force."""
    models = project / "trained_models"
    env = environment(project, CKPTD_EXPORT__TARGETS='["safetensors", "torchscript"]')
    with running(models, env=env, cwd=project) as daemon:
        save(project)
        first = wait_exported(daemon, project, "safetensors", "torchscript")
        daemon.stop()
        daemon.start()
        seen = len(daemon.events())
        save(project, "ECGNet_other.pth", seed=5)
        wait_exported(daemon, project, *first, name="ECGNet_other")
        again = [event for event in daemon.events()[seen:] if event["event"] == "export.verified"]
        assert {event["path"] for event in again} == {"ECGNet_other.pth"}
        save(project, seed=1)
        digest = wait_for(
            lambda: (found := daemon.records()["ECGNet_demo.pth"]["sha256"]) != first["safetensors"]["sha256"] and found, "it"
        )
        wait_exported(daemon, project, "safetensors", "torchscript", digest=digest)
        assert sidecar(project)["ckptd"]["exports"]["safetensors"]["sha256"] != first["safetensors"]["sha256"]
    before = exports(project)["safetensors"]["at"]
    assert run_ckptd("export", "ECGNet_demo", "--to", "safetensors", cwd=project, env=env).returncode == 0
    assert exports(project)["safetensors"]["at"] == before
    assert run_ckptd("export", "ECGNet_demo", "--to", "safetensors", "--force", cwd=project, env=env).returncode == 0
    assert exports(project)["safetensors"]["at"] > before


def test_a_single_pass_exports_too_and_a_command_works_beside_the_daemon(project):
    """`ckptd scan` makes what the settings name; `ckptd export` needs no lock, and the daemon takes its file for ours."""
    models = project / "trained_models"
    env = environment(project, CKPTD_SUFFIXES='[".pth", ".pt"]', CKPTD_EXPORT__TARGETS="safetensors")
    save(project)
    assert ckptd("scan", cwd=project, env=env)["exported"] == 1
    assert ckptd("scan", cwd=project, env=env)["exported"] == 0
    with running(models, env=env, cwd=project) as daemon:
        done = run_ckptd("export", "ECGNet_demo", "--to", "torchscript,int8", cwd=project, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        save(project, "ECGNet_later.pth", seed=3)
        wait_for(lambda: daemon.has("export.verified", path="ECGNet_later.pth"), "its export", 240)
        assert set(daemon.records()) == {"ECGNet_demo.pth", "ECGNet_later.pth"}
    assert set(sidecar(project)["ckptd"]["exports"]) == {"safetensors", "torchscript", "int8"}


def test_a_kill_in_the_middle_costs_a_repetition(project):
    """Killed while it exports, started again: the exports come, nothing half-made is left, nothing of ours is a stranger."""
    models = project / "trained_models"
    env = environment(project, CKPTD_EXPORT__TARGETS='["safetensors", "torchscript", "pt2"]')
    with running(models, env=env, cwd=project) as daemon:
        save(project)
        wait_for(lambda: list(models.glob(".ckptd/scratch/export-*")) or list(models.glob("*.safetensors")), "an export")
        daemon.kill()
        daemon.start()
        wait_exported(daemon, project, "safetensors", "torchscript", "pt2")
        wait_for(lambda: not os.listdir(models / ".ckptd" / "scratch"), "the sweep of what the kill left")
        wanted = ["ECGNet_demo.pt2", "ECGNet_demo.pth", "ECGNet_demo.safetensors", "ECGNet_demo_metadata.json"]
        assert sorted(path.name for path in models.glob("[!.]*")) == [*wanted, "ECGNet_demo_scripted.pt"]


def test_what_is_ours_is_no_newcomer_and_what_is_somebodys_stays(project):
    """With .pt watched too, our scripted module is not indexed; a person's file is neither replaced nor taken for ours."""
    models = project / "trained_models"
    env = environment(project, CKPTD_SUFFIXES='[".pth", ".pt"]', CKPTD_EXPORT__TARGETS='["torchscript", "safetensors"]')
    (models / "ECGNet_demo.safetensors").write_bytes(b"mine")
    with running(models, env=env, cwd=project) as daemon:
        save(project)
        wait_exported(daemon, project, "torchscript")
        refused = daemon.wait_event("export.unavailable", target="safetensors")
        assert "not one that ckptd made" in refused["reason"]
        assert set(daemon.records()) == {"ECGNet_demo.pth"}
        daemon.stop()
        daemon.start()
        daemon.wait_event("scan.finished")
        assert set(daemon.records()) == {"ECGNet_demo.pth"}
    assert (models / "ECGNet_demo.safetensors").read_bytes() == b"mine"
    assert set(sidecar(project)["ckptd"]["exports"]) == {"torchscript"}


def test_without_trust_the_weights_come_and_the_others_say_what_to_add(project):
    """No code runs; exit status 1, one sentence each, and the sentence cures it."""
    lines = (project / "ckptd.toml").read_text().splitlines()
    untrusting = "\n".join(line for line in lines if not line.startswith("trust"))
    (project / "ckptd.toml").write_text(untrusting)
    save(project)
    run_ckptd("scan", cwd=project, env=environment(project, CKPTD_EXPORT__TARGETS="[]"))
    done = run_ckptd("export", "ECGNet_demo", "--to", "safetensors,float16,int8,onnx", cwd=project, env=environment(project))
    assert done.returncode == 1
    found = exports(project)
    assert {name: one["verdict"] for name, one in found.items()} == {
        "safetensors": "verified",
        "float16": "verified",
        "int8": "verified",
        "onnx": "unavailable",
    }
    assert "trust.directories" in found["onnx"]["reason"]
    assert found["onnx"]["reason"] in done.stdout


def test_a_recipe_is_suggested_and_checked(project):
    """`suggest` prints settings that parse; `check` fits, or names the parameters that do not."""
    save(project)
    env = environment(project)
    run_ckptd("scan", cwd=project, env={**env, "CKPTD_EXPORT__TARGETS": "[]"})
    suggested = run_ckptd("recipe", "suggest", "ECGNet_demo", cwd=project, env=env).stdout
    assert "[[recipe]]" in suggested
    assert "12" in suggested
    fits = run_ckptd("recipe", "check", "ECGNet_demo", cwd=project, env=env)
    assert fits.returncode == 0, fits.stdout + fits.stderr
    wrong = (
        (project / "ckptd.toml")
        .read_text()
        .replace('callable = "ecg:ECGNet"', 'callable = "ecg:ECGNet", hyperparameters = { classes = 7 }')
    )
    (project / "ckptd.toml").write_text(wrong)
    differs = run_ckptd("recipe", "check", "ECGNet_demo", "--json", cwd=project, env=env)
    assert differs.returncode == 1
    assert any("head.weight" in line and "(7, 32)" in line for line in json.loads(differs.stdout)["differences"])


def test_the_module_comes_back_in_python(project):
    """`ckptd.open(root).model(NAME)` is the class with its weights in eval mode; without trust it says what to add."""
    save(project)
    run_ckptd("scan", cwd=project, env={**environment(project), "CKPTD_EXPORT__TARGETS": "[]"})
    # What a sidecar chooses in a trusted directory runs in a confined export, and never in the caller's own process.
    (project / "models" / "chosen.py").write_text("raise SystemExit('a sidecar ran this')\n")
    beside = project / "trained_models" / "ECGNet_demo_metadata.json"
    beside.write_text(json.dumps({**sidecar(project), "recipe": "chosen:Net"}, indent=2))
    code = """
import sys, torch, ckptd
with ckptd.open(config="ckptd.toml") as library:
    state = torch.random.get_rng_state()
    model = library.model("ECGNet_demo")
    assert type(model).__name__ == "ECGNet" and not model.training
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, value in torch.load("trained_models/ECGNet_demo.pth").items():
        assert torch.equal(model.state_dict()[name], value)
    again = library.model("ECGNet_demo", build=type(model))
    assert torch.equal(again.head.weight, model.head.weight)
with ckptd.open("trained_models") as library:
    try:
        library.model("ECGNet_demo")
    except ckptd.CkptdError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "trust.directories" in done.stdout
