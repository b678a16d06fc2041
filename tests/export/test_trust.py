"""Trust: nobody but the operator can change what runs, and every refusal says what to do."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.checkpoint.module_classes import TORCH_CLASSES, TORCH_FUNCTIONS, named_classes
from ckptd.export.guarded import Refusal, check_directory, lies_in_place, read_below
from ckptd.export.locating import environment_paths, find_module_file
from ckptd.export.trust import Code, Ground, Trust
from ckptd.proof import split_callable
from ckptd.settings.model import TrustSettings

STRANGER = 12345
ME = os.geteuid()


@pytest.fixture
def code(tmp_path):
    """A directory of code as people have it: a module, a package, and what is no code."""
    directory = tmp_path / "code"
    (directory / "nets" / "deep").mkdir(parents=True)
    (directory / "models.py").write_text("class BiLSTM: ...\n")
    (directory / "nets" / "__init__.py").write_text("raise SystemExit('nobody runs this')\n")
    (directory / "nets" / "deep" / "conv.py").write_text("class Conv: ...\n")
    (directory / "README.md").write_text("text")
    for path in (tmp_path, directory, directory / "nets", directory / "nets" / "deep"):
        path.chmod(0o755)
    for path in directory.rglob("*.*"):
        path.chmod(0o644)
    return directory


def ground(*directories, environment=(), **lists) -> Ground:
    settings = TrustSettings(directories=directories, **lists)
    return Trust.of(settings, environment=environment).examine()


def refusal(found) -> str:
    assert isinstance(found, Refusal)
    assert "\n" not in str(found)
    return str(found)


def test_a_callable_of_a_trusted_directory_may_run(code):
    """Module, package without running its `__init__`, and sub-module of a directory without one."""
    on = ground(code)
    assert on.directories == (str(code),)
    for text, file in (
        ("models:BiLSTM", "models.py"),
        ("nets:make", "nets/__init__.py"),
        ("nets.deep.conv:Conv", "nets/deep/conv.py"),
    ):
        found = on.find_callable(text)
        assert isinstance(found, Code)
        assert not found.is_exact
        assert found.file == str(code / file)
        assert found.sha256 == hashlib.sha256((code / file).read_bytes()).hexdigest()


def test_an_exact_callable_of_a_trusted_directory_is_exact(code):
    """The worker need not look where it is defined."""
    found = ground(code, callables=["models:BiLSTM"]).find_callable("models:BiLSTM")
    assert isinstance(found, Code)
    assert found.is_exact


def test_an_installed_callable_has_to_be_named(code):
    """What is installed is not the operator's own; the sentence says which line to add."""
    on = ground(environment=(str(code),))
    assert 'add "models:BiLSTM" to trust.callables' in refusal(on.find_callable("models:BiLSTM"))
    found = ground(environment=(str(code),), callables=["models:BiLSTM"]).find_callable("models:BiLSTM")
    assert isinstance(found, Code)
    assert found.is_exact
    assert found.sha256 is not None


def test_naming_one_callable_trusts_no_other(code):
    """Never a prefix."""
    on = ground(environment=(str(code),), callables=["models:BiLSTM"])
    for other in ("models:BiLSTM2", "models:BiLST", "models:os", "nets:BiLSTM"):
        assert f'add "{other}" to trust.callables' in refusal(on.find_callable(other))


def test_what_lies_nowhere_says_where_it_should(code):
    """The directory is what is missing."""
    text = refusal(ground(code).find_callable("elsewhere.net:Net"))
    assert 'there is no module "elsewhere.net"' in text
    assert 'add the directory that holds "elsewhere" to trust.directories' in text
    assert "is a part of Python" in refusal(ground(code, callables=["sys:exit"]).find_callable("sys:exit"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "models",
        "models:",
        ":BiLSTM",
        "models.BiLSTM",
        "models:os.system",
        "models:__import__",
        "models:__class__",
        "__main__:Net",
        "models:BiLSTM()",
        "models:BiLSTM ",
        "models:a:b",
        "../models:BiLSTM",
        "models..x:BiLSTM",
        ".models:BiLSTM",
        "mod els:x",
        "models:\u0131mport",
        "models:x\n",
        "models:\x1b[2J",
        "m" * 250 + ":callable",
        "models:" + "x" * 100_000,
    ],
)
def test_what_is_no_module_and_name_is_refused(code, text):
    """Identifiers, dots and one colon; everything else comes back escaped and cut."""
    found = refusal(ground(code).find_callable(text))
    assert 'write it as "module:name"' in found
    assert found.isprintable()
    assert len(found) < 400


@given(st.text(max_size=40))
def test_a_split_callable_is_two_identifiers(text):
    """Whatever passes can neither leave a directory nor reach for an attribute of an attribute."""
    parts = split_callable(text)
    if parts is not None:
        module, name = parts
        assert f"{module}:{name}" == text
        assert name.isidentifier()
        assert all(part.isidentifier() for part in module.split("."))
        assert "/" not in text


@pytest.mark.parametrize("below", ["", "models.py", "nets", "nets/__init__.py", "nets/deep", "nets/deep/conv.py"])
@pytest.mark.parametrize(("mode", "who"), [(0o020, "its group"), (0o002, "everybody")])
def test_what_others_can_write_to_is_not_trusted(code, below, mode, who):
    """The directory and every file that could be imported from it."""
    path = code / below
    path.chmod(path.stat().st_mode | mode)
    on = ground(code)
    assert on.directories == ()
    text = refusal(on.find_callable("models:BiLSTM"))
    assert f"can be written by {who}" in text
    assert f"chmod go-w {path}" in text


def test_many_loose_files_have_one_cure(code):
    """A project made with umask 002 is put right by one command, not by one for each file."""
    for name in ("models.py", "nets", "nets/deep/conv.py"):
        (code / name).chmod(0o775)
    text = refusal(check_directory(str(code), ME))
    assert f"{code}/models.py can be written by its group, and 1 more are refused below {code}" in text
    assert f"chmod -R go-w {code}" in text


@given(st.integers(0, 0o1777), st.sampled_from(["models.py", "nets", "."]))
def test_a_mode_is_fine_when_nobody_else_writes(mode, name):
    """Whatever else it says, sticky bit included."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "nets").mkdir(mode=0o755)
        Path(directory, "models.py").write_text("")
        Path(directory, "models.py").chmod(0o644)
        Path(directory, name).chmod(mode | 0o700)
        assert isinstance(check_directory(directory, ME), str) is not bool(mode & 0o022)


@pytest.mark.skipif(ME != 0, reason="only root gives files away")
@pytest.mark.parametrize("below", ["..", "", "models.py", "nets", "nets/deep/conv.py"])
def test_what_belongs_to_somebody_else_is_not_trusted(code, below):
    """An owner can change the mode again, and what is above can be exchanged as a whole."""
    path = (code / below).resolve()
    os.chown(path, STRANGER, 0)
    text = refusal(ground(code).find_callable("models:BiLSTM"))
    assert f"belongs to {STRANGER} and not to root" in text
    assert f"chown root {path}" in text


@pytest.mark.skipif(ME != 0, reason="only root gives files away")
def test_the_daemons_own_user_and_root_may_own_code(code):
    """Both, mixed."""
    os.chown(code, STRANGER, 0)
    os.chown(code / "models.py", STRANGER, 0)
    assert check_directory(str(code), STRANGER) == str(code)
    assert isinstance(check_directory(str(code), STRANGER + 1), Refusal)


@pytest.mark.parametrize(("mode", "is_fine"), [(0o1777, True), (0o777, False), (0o775, False), (0o1775, True)])
def test_a_directory_above_may_be_sticky(tmp_path, code, mode, is_fine):
    """In /tmp nobody renames what is not theirs; in a directory without the bit anybody does."""
    tmp_path.chmod(mode)
    assert isinstance(check_directory(str(code), ME), str) is is_fine


def test_a_trusted_directory_itself_may_not_be_sticky(code):
    """There a stranger could add a module that another one imports."""
    code.chmod(0o1777)
    assert "chmod go-w" in refusal(check_directory(str(code), ME))


def test_a_link_to_code_elsewhere_is_refused(code, tmp_path):
    """What it leads to was not looked at; one that stays inside is fine."""
    (code / "alias.py").symlink_to(code / "models.py")
    assert isinstance(check_directory(str(code), ME), str)
    outside = tmp_path / "outside.py"
    outside.write_text("x = 1")
    (code / "evil.py").symlink_to(outside)
    text = refusal(check_directory(str(code), ME))
    assert f"{code}/evil.py is a link out of it" in text
    assert "put a copy there" in text


def test_a_linked_package_is_refused_and_linked_data_is_not(code, tmp_path):
    """A directory of weights is often a link; a directory of modules is code."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "weights.pth").write_bytes(b"")
    (code / "data").symlink_to(data)
    (code / "gone").symlink_to(tmp_path / "nowhere")
    assert isinstance(check_directory(str(code), ME), str)
    (data / "module.py").write_text("")
    assert "is a link out of it" in refusal(check_directory(str(code), ME))


def test_a_link_to_the_directory_is_followed_first(code, tmp_path):
    """As sshd does: what counts is where it leads."""
    (tmp_path / "link").symlink_to(code)
    assert ground(tmp_path / "link").directories == (str(code),)


@pytest.mark.parametrize(
    ("make", "word"),
    [(os.fspath, "no such file"), (lambda path: path.write_text(""), "not a directory")],
    ids=["missing", "a file"],
)
def test_what_is_no_directory_is_refused(tmp_path, make, word):
    """With the path, and no crash."""
    path = tmp_path / "x"
    make(path)
    text = refusal(check_directory(str(path), ME))
    assert str(path) in text
    assert word in text
    assert "correct the path" in text


def test_files_that_are_no_code_may_be_anybodys(code):
    """Checkpoints, hidden directories and bytecode caches are not imported from there."""
    for name in ("README.md", ".git/hook.py", "__pycache__/models.cpython-311.pyc", "my-data/x.py"):
        path = code / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
        path.chmod(0o666)
    for name in (".git", "__pycache__", "my-data"):
        (code / name).chmod(0o777)
    assert check_directory(str(code), ME) == str(code)


def test_an_installed_package_below_a_trusted_directory_is_not_its_own(code):
    """A virtual environment in the project does not make torch.hub.load the operator's."""
    packages = code / ".venv" / "lib" / "python3" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "hub.py").write_text("def load(): ...")
    on = ground(code, environment=(str(packages),))
    assert 'add "hub:load" to trust.callables' in refusal(on.find_callable("hub:load"))
    assert not lies_in_place(str(packages / "hub.py"), "hub", str(code))
    assert lies_in_place(str(packages / "hub.py"), "hub", str(packages))


@pytest.mark.parametrize(
    ("file", "module", "is_there"),
    [
        ("a.py", "a", True),
        ("a/__init__.py", "a", True),
        ("a/b.py", "a.b", True),
        ("a/b.cpython-311-x86_64-linux-gnu.so", "a.b", False),
        ("a/b.abi3.so", "a.b", True),
        ("a/b.py", "b", False),
        ("a/b.py", "a", False),
        ("a.txt", "a", False),
        ("../a.py", "a", False),
        ("__init__.py", "", True),
    ],
)
def test_where_a_module_lies_in_a_directory(tmp_path, file, module, is_there):
    """Exactly there, and not only somewhere below."""
    if "cpython" in file:
        is_there = file.endswith(tuple(__import__("importlib.machinery").machinery.EXTENSION_SUFFIXES))
    assert lies_in_place(str(tmp_path / "d" / file), module, str(tmp_path / "d")) is is_there


def test_a_trusted_directory_shadows_what_is_installed(code, tmp_path):
    """The worker searches it first, so the check does too."""
    installed = tmp_path / "installed"
    installed.mkdir()
    (installed / "models.py").write_text("")
    found = ground(code, environment=(str(installed),)).find_callable("models:BiLSTM")
    assert isinstance(found, Code)
    assert found.file == str(code / "models.py")


def test_a_refused_directory_does_not_spoil_another(code, tmp_path):
    """Its modules are named with the reason, those of the other go on."""
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "loose.py").write_text("")
    bad.chmod(0o777)
    on = ground(bad, code)
    assert isinstance(on.find_callable("models:BiLSTM"), Code)
    text = refusal(on.find_callable("loose:Net"))
    assert "loose:Net is not trusted, because" in text
    assert f"chmod go-w {bad}" in text
    assert bad.as_posix() not in on.directories


def test_trust_is_looked_at_anew_each_time(code):
    """A directory that became writable since the last look is not trusted any more."""
    trust = Trust.of(TrustSettings(directories=(code,)), environment=())
    assert trust.examine().directories
    code.chmod(0o777)
    assert not trust.examine().directories
    code.chmod(0o755)
    assert trust.examine().directories


def test_what_is_read_is_what_was_checked(code, tmp_path):
    """Links, pipes and directories in the place of a source are refused without being opened for good."""
    path = code / "models.py"
    assert read_below(str(code), str(path), ME) == path.read_bytes()
    assert "no source is as long" in refusal(read_below(str(code), str(path), ME, most_bytes=3))
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    assert "is a link" in refusal(read_below(str(code), str(path), ME))
    path.unlink()
    os.mkfifo(path)
    assert "is no regular file" in refusal(read_below(str(code), str(path), ME))
    path.unlink()
    assert "correct the path" in refusal(read_below(str(code), str(path), ME))


def test_a_text_is_vouched_for_by_its_directory_or_its_digest(code, tmp_path):
    """And the text has to be the one that lies there."""
    inside, outside = code / "f.json", tmp_path / "f.json"
    for path in (inside, outside):
        path.write_text("text")
        path.chmod(0o644)
    digest = hashlib.sha256(b"text").hexdigest()
    on = ground(code)
    assert on.vouch_for_text(str(inside), "text", digest) is None
    text = refusal(on.vouch_for_text(str(outside), "text", digest))
    assert f'add "{tmp_path}" to trust.directories, or "{digest}" to trust.digests' in text
    assert ground(digests=[digest]).vouch_for_text(str(outside), "text", digest) is None
    assert refusal(ground(digests=[digest]).vouch_for_text(str(outside), "other", digest))
    inside.write_text("changed")
    assert "was changed" in refusal(on.vouch_for_text(str(inside), "text", digest))
    inside.chmod(0o666)
    assert f"chmod go-w {inside}" in refusal(on.vouch_for_text(str(inside), "changed", hashlib.sha256(b"changed").hexdigest()))


def test_a_program_file_is_vouched_for_alike(code, tmp_path):
    """TorchScript: by digest, or because it lies where only the operator writes."""
    inside, outside = code / "m.pt", tmp_path / "m.pt"
    for path in (inside, outside):
        path.write_bytes(b"x")
        path.chmod(0o644)
    assert ground(code).vouch_for_file(str(inside), "0" * 64) is None
    assert '"%s" to trust.digests' % ("0" * 64) in refusal(ground(code).vouch_for_file(str(outside), "0" * 64))
    assert "to trust.directories" in refusal(ground(code).vouch_for_file(str(outside), None))
    assert ground(digests=["0" * 64]).vouch_for_file(str(outside), "0" * 64) is None
    (code / "link.pt").symlink_to(outside)
    assert "is a link" in refusal(ground(code).vouch_for_file(str(code / "link.pt"), None))


def test_nothing_is_imported_to_find_a_module():
    """The finders are asked as Python asks them; the module stays unloaded."""
    before = set(sys.modules)
    for name in ("torch.nn.modules.linear", "torchcrepe.model", "json.decoder", "sys", "no.such.module", "antigravity"):
        file = find_module_file(name, environment_paths())
        assert (file is None) == (name in {"sys", "no.such.module"})
    assert not {"torchcrepe", "torchcrepe.model", "antigravity"} & (set(sys.modules) - before)


def test_the_environment_is_that_of_a_worker(monkeypatch, tmp_path):
    """What PYTHONPATH or the present directory hold is no part of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sneaky.py").write_text("")
    assert find_module_file("sneaky", environment_paths()) is None
    assert all(os.path.isabs(path) for path in environment_paths())


def test_each_of_torchs_own_classes_is_there():
    """The table names what torch has, by the names that pickles use, and modules or activations only."""
    import importlib

    from torch import nn

    for dotted in TORCH_CLASSES:
        module, _, name = dotted.rpartition(".")
        found = getattr(importlib.import_module(module), name)
        assert issubclass(found, nn.Module), dotted
    for dotted in TORCH_FUNCTIONS:
        module, _, name = dotted.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name)), dotted


def test_torchs_own_classes_are_trusted_and_their_neighbours_are_not():
    """A table of exact names: not `torch.hub.load`, and not a class of somebody's `torch.nn.modules.linear`."""
    on = ground(classes=["mine.Net"])
    names = ("torch.nn.modules.linear.Linear", "mine.Net", "mine.Net2", "torch.hub.load", "torch.nn.modules.linear.Evil")
    assert on.untrusted_classes(names) == names[2:]


def test_a_module_that_lies_nowhere_is_named(tmp_path):
    """A package without `__init__` and a class in a class are found; what is no name is passed over."""
    code = tmp_path / "code"
    (code / "inner").mkdir(parents=True, mode=0o755)
    code.chmod(0o755)
    for path in (code / "nets.py", code / "inner" / "part.py"):
        path.write_text("")
        path.chmod(0o644)
    on = ground(str(code), environment=environment_paths())
    assert on.missing_package(["nets.Net", "nets.Outer.Inner", "inner.part.Net", "json.X", "sys.X", "Net", "a/b.X", ""]) is None
    assert on.missing_package(["nets.Net", "elsewhere.net.Net"]) == "elsewhere"


def test_the_names_of_a_pickled_module_are_found(tmp_path):
    """Its classes, its activations and what hides in its state; tensors and plain values need no trust."""
    import torch
    from torch import nn

    from ckptd.checkpoint.reader import read_structure

    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.Sequential(nn.Linear(8, 8), layer)
    path = tmp_path / "module.pth"
    torch.save(model, path)
    with path.open("rb") as file:
        names = named_classes(read_structure(file.fileno()).root)
    assert "torch.nn.modules.container.Sequential" in names
    assert "torch.nn.functional.relu" in names
    assert not any("_rebuild" in name or "OrderedDict" in name for name in names)
    assert ground().untrusted_classes(names) == ()
