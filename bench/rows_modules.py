"""Rows about exports of modules: one and twenty, proof included, against the bare scripts that a user would write."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from bench.timing import Row, time_call
from tests.e2e.running import running, wait_for

_EXAMPLES = Path(__file__).parents[1] / "examples"

_SETTINGS = """
export.min_free_bytes = 0
export.quiet_seconds = 0
trust.directories = ["{directory}"]
recipe = [{{ match = "*", callable = "digits_models:DigitsCNN", inputs = [{{ shape = ["batch", 1, 8, 8] }}] }}]
"""

#: What a user writes, without a look at whether it is right.
_SCRIPTS = {
    "onnx": """
import sys, torch
sys.path.insert(0, {directory!r})
from digits_models import DigitsCNN
model = DigitsCNN()
model.load_state_dict(torch.load(sys.argv[1]))
model.eval()
x = torch.randn(2, 1, 8, 8)
shapes = ({{0: torch.export.Dim.DYNAMIC}},)
torch.onnx.export(model, (x,), sys.argv[2], dynamo=True, dynamic_shapes=shapes, external_data=False)
""",
    "pt2": """
import sys, torch
sys.path.insert(0, {directory!r})
from digits_models import DigitsCNN
model = DigitsCNN()
model.load_state_dict(torch.load(sys.argv[1]))
model.eval()
x = torch.randn(2, 1, 8, 8)
torch.export.save(torch.export.export(model, (x,), dynamic_shapes=({{0: torch.export.Dim.DYNAMIC}},)), sys.argv[2])
""",
}


def measure_modules(place: Path, quick: bool) -> list[Row]:
    """One export as a whole process, then twenty in one batch of the daemon; every one of ours is verified."""
    code = place / "code"
    code.mkdir()
    shutil.copy(_EXAMPLES / "digits_models.py", code)
    (place / "ckptd.toml").write_text(_SETTINGS.format(directory=code))
    rows = []
    for target in ("onnx", "pt2"):
        rows += _measure_one(place, code, target, 2 if quick else 3)
    return rows + [_measure_many(place, code, target, 5 if quick else 20) for target in ("onnx", "pt2")]


def _measure_one(place: Path, code: Path, target: str, rounds: int) -> list[Row]:
    root = place / f"one-{target}"
    root.mkdir()
    _save(root, 1)
    options = ["--config", str(place / "ckptd.toml"), "--root", str(root)]
    ckptd = [sys.executable, "-m", "ckptd", *options]
    _run([*ckptd, "scan"])
    mine, bare = [], []
    for _ in range(rounds):
        mine.append(time_call(lambda: _run([*ckptd, "export", "net0", "--to", target, "--force"])))
        bare.append(time_call(lambda: _run_script(place, code, target, root / "net0.pth")))
    ratio = statistics.median(a / b for a, b in zip(mine, bare, strict=True))
    work = f"`ckptd export --to {target}` of a small CNN, proof included"
    peer = f"bare script {statistics.median(bare):.2f} s"
    return [Row(work, f"{statistics.median(mine):.2f} s", peer, f"{ratio:.2f}", "≤ 1.5", ratio <= 1.5)]


def _measure_many(place: Path, code: Path, target: str, count: int) -> Row:
    root = place / f"many-{target}"
    root.mkdir()
    _save(root, count)
    env = {"CKPTD_CONFIG": str(place / "ckptd.toml"), "CKPTD_EXPORT__TARGETS": target, "CKPTD_LOG__LEVEL": "info"}

    def all_by_the_daemon() -> None:
        with running(root, env=env) as daemon:
            wait_for(lambda: len(list(root.glob(f"net*.{target}"))) == count, "all exports", 900)
            wait_for(lambda: daemon.log.read_bytes().count(b'"export.verified"') == count, "all proofs", 60)

    mine = time_call(all_by_the_daemon)
    # Each script is alone and takes as long as the others: three of them say what twenty take.
    bare = count * statistics.median(time_call(lambda: _run_script(place, code, target, root / "net0.pth")) for _ in range(3))
    work = f"{count} small CNNs to {target} in a row, daemon and proofs included"
    ratio = mine / bare
    return Row(
        work,
        f"{mine:.1f} s",
        f"{count} bare scripts {bare:.0f} s ({count} × the median of 3)",
        f"{ratio:.2f}",
        "≤ 0.5",
        ratio <= 0.5,
    )


def _save(root: Path, count: int) -> None:
    """Save models that differ, from another process: this one shall not hold torch."""
    script = (
        f"import sys, torch; sys.path.insert(0, {str(_EXAMPLES)!r})\n"
        "from digits_models import DigitsCNN\n"
        f"for n in range({count}):\n"
        f"    torch.manual_seed(n); torch.save(DigitsCNN().state_dict(), {str(root)!r} + f'/net{{n}}.pth')\n"
    )
    _run([sys.executable, "-c", script])


def _run_script(place: Path, code: Path, target: str, checkpoint: Path) -> None:
    _run([sys.executable, "-c", _SCRIPTS[target].format(directory=str(code)), str(checkpoint), str(place / f"bare.{target}")])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[:6]} ended with {done.returncode}: {(done.stdout + done.stderr)[-800:]}")
