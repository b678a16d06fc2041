"""Each wall of a job by itself, and all together, against what hostile model code would try; on the real kernel."""

import os
import resource
import socket
from pathlib import Path

import pytest

from ckptd.sandbox.confine import RefusedError
from ckptd.sandbox.jail import Jail, library_paths
from ckptd.sandbox.limits import JOB_LAYERS
from tests.sandbox.nursing import READABLE, Nursing

SIGSYS = "it made a forbidden system call"


@pytest.fixture(scope="module")
def nursing(tmp_path_factory):
    nursing = Nursing(tmp_path_factory.mktemp("jail"))
    yield nursing
    nursing.close()


@pytest.fixture(autouse=True)
def survives(nursing):
    """Whatever a job tried, its zygote is the same afterwards, does the next job, and nothing odd lies in the scratch."""
    nursing.ask("echo")
    before = nursing.zygote
    yield
    nursing.clear()
    assert nursing.ask("echo", value="next").answer["value"] == "next"
    assert nursing.zygote == before


@pytest.fixture
def outside(tmp_path):
    path = tmp_path / "outside"
    path.write_text("secret")
    return path


@pytest.fixture
def fd(outside):
    fd = os.open(outside, os.O_RDONLY)
    yield fd
    os.close(fd)


def only(*names):
    return {"required": False, "layers": tuple(name for name in JOB_LAYERS if name in names)}


def without(*names):
    return {"required": False, "layers": tuple(name for name in JOB_LAYERS if name not in names)}


#: What restrict calls need to be allowed at all.
LANDLOCK = only("no_new_privs", "landlock")
SECCOMP = only("no_new_privs", "seccomp")


def test_all_walls_stand(nursing):
    layers = nursing.ask("echo").layers
    assert (layers.applied, layers.missing) == (JOB_LAYERS, ())
    assert layers.landlock_abi >= 1


@pytest.mark.parametrize("act", ["write_here", "use_devices", "import_more", "run_thread", "make_code", "signal_itself"])
def test_what_a_job_needs_works(nursing, act):
    """Files in its directory, devices without effect, imports, threads, machine code of its own, signals to itself."""
    assert nursing.attempt(act) == "done"


# -- rlimits


@pytest.mark.parametrize("jail", [only("rlimits"), {}], ids=["alone", "all"])
@pytest.mark.parametrize(
    ("act", "outcome"),
    [
        ("allocate_bytes", "MemoryError"),
        ("allocate_much", "MemoryError"),
        ("allocate_private", "ENOMEM"),
        ("allocate_shared", "ENOMEM"),
        ("fill_file", "EFBIG"),
        ("open_many", "EMFILE"),
    ],
)
def test_limits(nursing, jail, act, outcome):
    assert nursing.attempt(act, jail={**jail, "memory_bytes": 128 << 20}) == outcome


def test_memory_is_counted_from_the_fork_on(nursing):
    """A job gets what it was promised, however much its zygote holds already."""
    assert nursing.attempt("allocate_much", jail={"memory_bytes": 256 << 20}) == "done"


def test_threads_are_bounded_by_memory(nursing):
    """Each takes address space for its stack."""
    assert 0 < nursing.ask("thread_bomb").answer["threads"] < 200


def test_threads_are_counted_in_the_namespace_of_the_job(nursing):
    """Those with small stacks fit into any memory; without a namespace of its own, others' would count too."""
    before = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    assert nursing.ask("look_around", jail=without("namespaces")).answer["threads"] == before
    assert 0 < nursing.ask("look_around").answer["threads"] <= 2048


def test_blocks_beyond_the_end_of_a_file_are_refused(nursing):
    assert nursing.attempt("reserve_blocks", jail=SECCOMP) == "EPERM"


def test_memory_that_lies_in_no_process_is_refused(nursing):
    assert nursing.attempt("make_memory_file", jail=SECCOMP) == "EPERM"


# -- files


def test_files_outside_are_closed(nursing, outside, fd):
    """Landlock alone keeps them closed, and so do all walls together."""
    for jail in (LANDLOCK, {}):
        assert nursing.attempt("read_passwd", jail=jail) == "EACCES"
        assert nursing.attempt("list_root", jail=jail) == "EACCES"
        assert nursing.attempt("read_elsewhere", jail=jail, path=str(outside)) == "EACCES"
        assert nursing.attempt("reopen_to_write", fd, jail=jail) == "EACCES"
        assert nursing.attempt("read_memory", jail=jail) == "EACCES"
        assert nursing.attempt("write_elsewhere", jail=jail, path=str(outside.parent)) == "EACCES"
        assert nursing.attempt("write_above", jail=jail) == "EACCES"
    assert os.listdir(outside.parent) == ["outside"]


def test_without_landlock_they_are_open(nursing, outside):
    """It is that wall that keeps them closed, so the attempts above are attempts."""
    jail = without("landlock")
    assert nursing.attempt("read_passwd", jail=jail) == "done"
    assert nursing.attempt("read_elsewhere", jail=jail, path=str(outside)) == "done"


@pytest.mark.parametrize("act", ["make_symlink", "make_fifo", "make_device", "make_link"])
def test_an_output_is_no_special_file(nursing, act):
    """Landlock alone, seccomp alone, and all walls refuse links, pipes and devices in the job's own directory."""
    for jail in (LANDLOCK, SECCOMP, {}):
        assert nursing.attempt(act, jail=jail) in {"EACCES", "EPERM", "EXDEV"}
        assert nursing.clear() == []


def test_a_socket_is_no_output(nursing):
    assert nursing.attempt("bind_unix", jail=LANDLOCK) == "EACCES"
    assert nursing.clear() == []


def test_what_is_named_may_be_read(nursing, outside, tmp_path):
    """By path, and by descriptor of a directory; both without the right to write there."""
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        assert nursing.attempt("read_elsewhere", jail={"readable": (*READABLE, str(outside))}, path=str(outside)) == "done"
        assert nursing.attempt("read_elsewhere", directory, readable=(1,), path=str(outside)) == "done"
        assert nursing.attempt("write_elsewhere", directory, readable=(1,), path=str(tmp_path)) == "EACCES"
    finally:
        os.close(directory)


@pytest.mark.parametrize("act", ["change_mode", "change_times", "change_flags", "lock_file", "lease_file"])
def test_a_file_that_may_be_read_is_left_as_it_is(nursing, fd, act):
    """What Landlock does not govern, seccomp refuses."""
    assert nursing.attempt(act, fd, jail=SECCOMP) == "EPERM"
    assert nursing.attempt(act, fd) == "EPERM"


# -- network


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_no_network(nursing, port):
    """In a namespace of its own there is none; Landlock and seccomp each refuse it as well."""
    assert nursing.attempt("connect_tcp", port=port, jail=only("parent_death")) == "done"
    assert nursing.attempt("connect_tcp", port=port, jail=only("namespaces")) == "ENETUNREACH"
    if nursing.ask("echo").layers.landlock_abi >= 4:
        assert nursing.attempt("connect_tcp", port=port, jail=LANDLOCK) == "EACCES"
    assert nursing.attempt("connect_tcp", port=port, jail=SECCOMP) == "EPERM"
    assert nursing.attempt("connect_tcp", port=port) == "EPERM"


@pytest.mark.parametrize("act", ["open_unix", "open_inet", "open_pair"])
def test_no_socket(nursing, act):
    assert nursing.attempt(act, jail=SECCOMP) == "EPERM"


# -- other processes


@pytest.mark.parametrize("act", ["kill_parent", "kill_everybody", "kill_group", "kill_given", "signal_given_thread"])
def test_nobody_else_can_be_signalled(nursing, act):
    """Signal 0 asks for the right alone; neither its zygote, its nursery, its group nor everybody can be ended."""
    assert nursing.attempt(act, pid=os.getpid(), jail=SECCOMP) == "EPERM"
    assert nursing.attempt(act, pid=os.getpid()) == "EPERM"
    # The kernel lets a signal to a group or to everybody succeed that reaches nobody.
    if act not in {"kill_group", "kill_everybody"} and nursing.ask("echo").layers.landlock_abi >= 6:
        assert nursing.attempt(act, pid=os.getpid(), jail=LANDLOCK) == "EPERM"


@pytest.mark.parametrize(
    "act",
    ["execute", "new_session", "outlive_parent", "limit_parent", "renice_parent", "pin_parent", "name_host", "lock_memory"],
)
def test_no_hold_on_other_processes(nursing, act):
    assert nursing.attempt(act, jail=SECCOMP) == "EPERM"


@pytest.mark.parametrize("act", ["trace_parent", "read_parent", "new_namespace"])
def test_what_no_library_does_ends_the_process(nursing, act):
    assert nursing.attempt(act, jail=SECCOMP) == SIGSYS
    assert nursing.attempt(act) == SIGSYS


def test_a_fork_is_an_exception_that_names_its_line(nursing):
    """A model's own code is told where; one process stays one process."""
    for jail in (SECCOMP, {}):
        error = nursing.ask("fork_bomb", jail=jail).error
        assert error.why.startswith("PermissionError: [Errno 1] Operation not permitted (")
        assert "jobs_zygote.py:" in error.why


# -- namespaces, manners and privileges


def test_user_and_group_keep_their_numbers(nursing):
    """So that what a job writes belongs to whoever runs it."""
    seen = nursing.ask("look_around").answer
    assert (seen["uid"], seen["gid"]) == (os.getuid(), os.getgid())
    (nursing.scratch / "before").touch()
    assert nursing.attempt("write_here", jail=only("namespaces")) == "done"


def test_a_job_sees_nothing_of_the_rest(nursing, fd):
    """Its descriptors are its own, its input is empty, its environment is clean, it dumps no core and steps back."""
    seen = nursing.ask("look_around", fd).answer
    assert len(seen["given"]) == 2
    assert len(seen["fds"]) == 3 + 1 + len(seen["given"])
    assert seen["is_null"]
    assert seen["home"] == "/nonexistent"
    assert not {"PATH", "PYTHONPATH", "SSH_AUTH_SOCK"} & set(seen["variables"])
    assert (seen["core"], seen["nice"]) == (0, 19)


def test_temporary_files_come_into_the_scratch(nursing):
    seen = nursing.ask("use_tempfile").answer
    assert seen["directory"] == seen["cwd"] == str(nursing.scratch)


# -- refusing


@pytest.mark.parametrize("name", [name for name in JOB_LAYERS if name not in {"priority", "namespaces"}])
def test_a_job_without_a_wall_is_refused(nursing, name):
    """What must be confined and can't be does nothing, and the sentence says what to do."""
    result = nursing.ask("echo", jail={"layers": tuple(other for other in JOB_LAYERS if other != name)})
    assert isinstance(result.error, RefusedError)
    assert result.answer is None
    assert f"no {name} (switched off)" in str(result.error)
    assert "a kernel from 5.13 on with Landlock" in result.error.cure
    assert 'export.sandbox = "best_effort"' in result.error.cure


@pytest.mark.parametrize("name", JOB_LAYERS)
def test_best_effort_works_on_and_says_what_is_missing(nursing, name):
    result = nursing.ask("echo", jail=without(name))
    assert result.error is None
    missing = dict(result.layers.missing)
    assert missing[name] == "switched off"
    # The kernel gives these two only to those who can gain no privileges.
    assert set(missing) == ({name, "landlock", "seccomp"} if name == "no_new_privs" else {name})
    assert result.layers.degraded == (name not in {"priority", "namespaces"})


@pytest.mark.parametrize("name", ["priority", "namespaces"])
def test_walls_that_others_back_up_are_reported_alone(nursing, name):
    """A machine that allows no namespaces to users still confines."""
    result = nursing.ask("echo", jail={"layers": tuple(other for other in JOB_LAYERS if other != name)})
    assert result.error is None
    assert result.layers.missing == ((name, "switched off"),)


# -- values


def test_a_jail_survives_the_way():
    jail = Jail(readable=("/usr",), memory_bytes=1, file_bytes=2, open_files=3, nice=4, required=False, layers=("seccomp",))
    assert Jail.from_json(jail.to_json()) == jail


def test_library_paths_are_what_is_installed_and_no_home():
    paths = library_paths()
    assert all(os.path.isabs(path) for path in paths)
    assert len(set(paths)) == len(paths)
    site_packages = {str(Path(pytest.__file__).parents[1]), str(Path(os.__file__).parent)}
    assert site_packages <= set(paths)
    assert not {"/", "/etc", "/home", "/root", str(Path.home()), "/proc", "/sys", "/usr", "/var", "/tmp"} & set(paths)
