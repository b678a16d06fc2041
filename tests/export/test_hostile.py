"""Model code that does its worst, in a real exporter with every wall on: nothing outside is harmed, and nothing is believed."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from pathlib import Path

import pytest
import torch

from ckptd.proof import Verdict
from ckptd.sandbox.limits import JOB_LAYERS
from tests.export.running import kitchen, recipe_of

HOSTILE = Path(__file__).parents[1] / "corpus" / "hostile_models.py"
#: Every wall that has to stand on this kind of machine.
WALLS = {
    "parent_death",
    "priority",
    "rlimits",
    "namespaces",
    "no_new_privs",
    "capabilities",
    "landlock",
    "seccomp",
}


class Neighbourhood:
    """What lies around an exporter and must stay as it is: models, sidecars, a server, a socket."""

    def __init__(self, place: Path) -> None:
        self.root = place / "trained_models"
        self.code = place / "code"
        self.code.mkdir()
        self.visits: list[str] = []
        self._servers = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)]
        self.port = self._servers[0].getsockname()[1]
        self.name = f"ckptd-test-{os.getpid()}-{id(self)}"
        self._servers[1].bind("\0" + self.name)
        self._servers[1].listen()
        for server in self._servers:
            threading.Thread(target=self._accept, args=(server,), daemon=True).start()

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                server.accept()[0].close()
            except OSError:
                return
            self.visits.append("somebody came")

    def furnish(self) -> None:
        """Lay out models, and the code that knows where they are."""
        torch.manual_seed(0)
        torch.save(torch.nn.Linear(3, 2).state_dict(), self.root / "model.pth")
        torch.save(torch.nn.Linear(3, 2).state_dict(), self.root / "victim.pth")
        (self.root / "victim_metadata.json").write_text('{"model_name": "victim"}')
        text = HOSTILE.read_text()
        constants = {
            "CANARIES": f"Path({str(self.root)!r})",
            "PORT": self.port,
            "NEIGHBOUR": repr(self.name),
            "DAEMON": os.getpid(),
        }
        text += "\n".join(["", *(f"{key} = {value}" for key, value in constants.items()), ""])
        (self.code / "hostile_models.py").write_text(text)

    def look(self) -> dict[str, bytes]:
        """Give everything in the directory of models, the scratch left out."""
        return {str(path): path.read_bytes() for path in sorted(self.root.iterdir()) if path.is_file()}

    def close(self) -> None:
        for server in self._servers:
            server.close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """One kitchen for all attacks, as in a batch: what survives one of them has to serve the next."""
    place = tmp_path_factory.mktemp("hostile")
    with kitchen(place, seconds=30.0, workers=1) as opened:
        around = Neighbourhood(place)
        around.furnish()
        yield opened, around
        around.close()


def attack(scene, name, target="torchscript", seconds=None):
    """Have a hostile function run by an export; look that nothing around it changed and that honest work goes on."""
    opened, around = scene
    before, zygotes = around.look(), list(opened.runner.pids)
    if seconds is not None:
        opened.change(seconds=seconds)
    made = opened.make(around.root / "model.pth", target, recipe_of(around.code, f"hostile_models:{name}"))
    opened.change(seconds=30.0)
    if made.scratch is not None:
        made.scratch.close()
    assert around.look() == before, "something was written to the models"
    assert around.visits == [], "somebody was talked to"
    assert os.listdir(around.root / ".ckptd" / "scratch") == [], "a scratch directory was left"
    assert not zygotes or set(zygotes[:1]) <= set(opened.runner.pids), "the zygote was lost"
    assert made.verdict is not Verdict.VERIFIED or name in HARMLESS
    assert "Done" not in made.reason, made.reason
    return made


#: What does its worst in vain and then goes on honestly: its export is as good as any.
HARMLESS = {"kill_parent", "trace_parent", "print_much", "write_through_descriptors", "good"}


def test_an_honest_one_passes_with_every_wall_on(scene):
    """The walls of this kind of machine, none missing; where one is, this test says which."""
    made = attack(scene, "good")
    assert made.verdict is Verdict.VERIFIED, made.reason
    sandbox = made.proof["sandbox"]
    assert set(sandbox["applied"]) == WALLS, sandbox["missing"]
    assert sandbox["landlock_abi"] >= 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("fork_bomb", "PermissionError"),
        ("execute", "PermissionError"),
        ("read_passwd", "PermissionError"),
        ("read_checkpoint_directory", "PermissionError"),
        ("write_models", "PermissionError"),
        ("remove_models", "PermissionError"),
        ("open_socket", "PermissionError"),
        ("open_unix_socket", "PermissionError"),
        ("write_sidecar", "PermissionError"),
        ("import_more", "PermissionError"),
        ("allocate", "MemoryError"),
        ("allocate_torch", "alloc"),
        ("thread_bomb", "thread"),
    ],
)
def test_what_is_forbidden_is_an_error_of_the_model(scene, name, says):
    """The kernel says no, and the sentence names what the model's code was refused."""
    made = attack(scene, name)
    assert says in made.reason


@pytest.mark.parametrize("name", ["kill_parent", "trace_parent", "print_much", "write_through_descriptors"])
def test_what_goes_on_after_its_worst_did_no_harm(scene, name):
    """Nobody was killed or read, a gigabyte of prints went nowhere, no descriptor was writable."""
    attack(scene, name)
    made = attack(scene, "good")
    assert made.verdict is Verdict.VERIFIED, made.reason


@pytest.mark.parametrize("name", ["endless", "asleep"])
def test_what_never_ends_is_ended(scene, name):
    """By the wall clock, whether it uses the processor or not."""
    made = attack(scene, name, seconds=3.0)
    assert made.verdict is Verdict.ERROR
    assert "longer than 3 seconds" in made.reason


@pytest.mark.parametrize("name", ["forge_answer", "flood_answer"])
def test_a_forged_answer_proves_nothing(scene, name):
    """The exporter's own word that all is well is no verdict."""
    made = attack(scene, name)
    assert made.verdict is Verdict.ERROR


@pytest.mark.parametrize("name", ["leave_symlink", "leave_fifo", "leave_garbage"])
def test_what_it_leaves_as_its_output_is_never_taken(scene, name):
    """A link to somebody's file, a pipe, another file: no export, and nobody hangs."""
    made = attack(scene, name)
    assert made.verdict is Verdict.ERROR or made.verdict is Verdict.UNAVAILABLE, made


def test_threads_are_counted(scene):
    """The kernel's limit holds everybody but root, and so they are counted too."""
    made = attack(scene, "thread_bomb_of_small_stacks")
    assert made.verdict is not Verdict.VERIFIED
    assert "threads" in made.reason or "new thread" in made.reason, made.reason


def test_a_disk_is_not_filled(scene):
    """What is written is bounded in all, not only file by file."""
    around = scene[1]
    free = shutil.disk_usage(around.root).free
    made = attack(scene, "fill_disk")
    assert made.verdict is Verdict.ERROR
    assert "wrote more than" in made.reason or "File too large" in made.reason
    assert shutil.disk_usage(around.root).free > free - (1 << 30)


def test_a_disk_is_not_filled_with_what_nobody_sees(scene):
    """Files without a name are in no directory: the room that is left tells."""
    opened, around = scene
    opened.change(min_free_bytes=shutil.disk_usage(around.root).free - (1 << 30))
    made = attack(scene, "fill_disk_unseen")
    opened.change(min_free_bytes=0)
    assert made.verdict is Verdict.ERROR
    assert "export.min_free_bytes" in made.reason


def test_where_a_wall_is_missing_it_is_refused(tmp_path):
    """Without Landlock no model code runs, and the sentence says what to do; best_effort runs it and says what was missing."""
    missing = tuple(name for name in JOB_LAYERS if name != "landlock")
    with kitchen(tmp_path, layers=missing, workers=1) as opened:
        around = Neighbourhood(tmp_path)
        around.furnish()
        recipe = recipe_of(around.code, "hostile_models:good")
        made = opened.make(around.root / "model.pth", "torchscript", recipe)
        assert made.verdict is Verdict.UNAVAILABLE
        assert "landlock" in made.reason
        assert 'export.sandbox = "best_effort"' in made.reason
        opened.change(sandbox="best_effort")
        made = opened.make(around.root / "model.pth", "torchscript", recipe)
        assert made.verdict is Verdict.VERIFIED, made.reason
        assert [name for name, _ in made.proof["sandbox"]["missing"]] == ["landlock"]
        (finding,) = [one for one in made.proof["findings"] if one["code"] == "sandbox-degraded"]
        assert "landlock" in finding["message"]
        around.close()
