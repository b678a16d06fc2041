"""What a name in a pickle means: a fixed table of inert names, a table of known dangerous ones, and all the rest.

No name is ever resolved.  Inert names are exact; danger goes by module, name and every part of a dotted name; whatever is
in neither table needs code.  Source for the inert part: torch/_weights_only_unpickler.py, `_get_allowed_globals`, held
against ours by a test.  Source for the dangerous part: the import and built-in modules that the public collections of
pickle gadgets use, and what reaches the same functions by another name.
"""

from __future__ import annotations

from enum import Enum

#: dtype → bytes an element takes.  Source: torch.dtype.itemsize of torch 2.13.
ITEM_BYTES: dict[str, int] = {
    **dict.fromkeys(("float64", "int64", "uint64", "complex64"), 8),
    **dict.fromkeys(("float32", "int32", "uint32", "qint32", "complex32"), 4),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16", "bits16"), 2),
    **dict.fromkeys("float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu float4_e2m1fn_x2".split(), 1),
    **dict.fromkeys("int8 uint8 bool qint8 quint8 quint4x2 quint2x4 bits8 bits4x2 bits2x4 bits1x8".split(), 1),
    **{f"{sign}{bits}": 1 for sign in ("int", "uint") for bits in range(1, 8)},
    "complex128": 16,
}

#: Elements that share one byte.  Source: c10/util/quint4x2.h and quint2x4.h.
PACKED: dict[str, int] = {"quint4x2": 2, "quint2x4": 4}

#: Storage class → dtype.  Source: torch/storage.py, `_dtype_to_storage_type_map`.
STORAGES: dict[str, str] = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "BFloat16Storage": "bfloat16",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "QUInt8Storage": "quint8",
    "QInt8Storage": "qint8",
    "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
}

#: (module, name) of storage classes whose elements are bytes.
_UNTYPED = frozenset({("torch.storage", "UntypedStorage"), ("torch.storage", "_UntypedStorage"), ("torch", "_UntypedStorage")})

LAYOUTS = frozenset("strided sparse_coo sparse_csr sparse_csc sparse_bsr sparse_bsc _mkldnn jagged".split())
SCHEMES = frozenset(
    "per_tensor_affine per_tensor_symmetric per_channel_affine per_channel_symmetric per_channel_affine_float_qparams".split()
)

#: Functions that make tensors; `tensors` has a maker for each.
REBUILDERS = frozenset(
    "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter _rebuild_parameter_with_state "
    "_rebuild_qtensor _rebuild_sparse_tensor _rebuild_meta_tensor_no_storage _rebuild_wrapper_subclass".split()
)

#: What torch's own safe unpickler takes and ckptd does not rebuild: nested tensors and those of other devices, whose parts are
#: numpy arrays or more tensors; storages as values; tensor types, which old scripts kept as values.  They need code.
TORCH_ONLY = frozenset(
    {
        *[
            f"torch{place}.{kind}Tensor"
            for place in ("", ".cuda", ".sparse", ".cuda.sparse")
            for kind in "BFloat16 Bool Byte Char Double Float Half Int Long Short".split()
            if kind != "Bool" or not place.endswith("sparse")
        ],
        "torch._utils._rebuild_nested_tensor",
        "torch._utils._rebuild_device_tensor_from_numpy",
        "torch._utils._rebuild_device_tensor_from_cpu_tensor",
        "torch.storage.TypedStorage",
    }
)

_INERT = frozenset(
    {
        ("collections", "OrderedDict"),
        ("collections", "Counter"),
        ("collections", "defaultdict"),
        ("torch", "Size"),
        ("torch", "device"),
        ("torch", "Tensor"),
        ("torch.nn.parameter", "Parameter"),
        ("torch.serialization", "_get_layout"),
        ("torch._tensor", "_rebuild_from_type_v2"),
        ("_codecs", "encode"),
        *[("builtins", name) for name in "bytearray bytes set frozenset complex".split()],
        *[("torch._utils", name) for name in REBUILDERS],
    }
)

#: Plain values of other libraries that `ckptd.load` rebuilds; `plain` checks what they are given.
_PLAIN = frozenset(
    {
        ("argparse", "Namespace"),
        *[("datetime", name) for name in "datetime date time timedelta timezone".split()],
        *[
            (module, name)
            for module in ("pathlib", "pathlib._local")
            for name in "PosixPath PurePosixPath WindowsPath PureWindowsPath".split()
        ],
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        *[(f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("scalar", "_reconstruct")],
        *[(f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")],
    }
)

#: Types that a defaultdict may name as the maker of what is missing.
FACTORIES = frozenset(
    {
        *[("builtins", name) for name in "list dict set int float str tuple bool".split()],
        ("collections", "OrderedDict"),
        ("collections", "Counter"),
    }
)


class Meaning(Enum):
    """What a name asks for."""

    INERT = "inert"
    PLAIN = "plain"
    CODE = "code"
    DANGER = "danger"


#: Python 2's names for modules, as pickle maps them.  Source: CPython, Lib/_compat_pickle.py.
_RENAMED = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "exceptions": "builtins",
    "commands": "subprocess",
    "cPickle": "pickle",
    "urllib2": "urllib",
    "httplib": "http",
    "Queue": "queue",
    "SocketServer": "socketserver",
    "ConfigParser": "configparser",
    "_winreg": "winreg",
    "thread": "_thread",
    "anydbm": "dbm",
    "whichdb": "dbm",
}

#: Modules, or single names of modules, that are dangerous with all that is below them.  Where training code may have a
#: module of the same name (code, test, trace, profile), only single names stand here.
_DANGEROUS_MODULES = frozenset(
    (
        # processes, files, the interpreter
        "os posix nt posixpath ntpath subprocess _posixsubprocess _winapi winreg msvcrt pty sys shutil tempfile fileinput "
        "io.open io.FileIO io.open_code _io.open _io.FileIO _io.open_code _pyio codeop pdb bdb runpy importlib _imp imp "
        "pkgutil zipimport zipapp sysconfig ensurepip venv _signal atexit faulthandler gc linecache sqlite3 _sqlite3 dbm "
        "shelve timeit cProfile pstats tracemalloc doctest unittest lib2to3 idlelib tkinter pydoc _osx_support "
        "_aix_support _pyrepl mailcap ctypes _ctypes cffi _cffi_backend mmap fcntl webbrowser antigravity getpass pipes "
        "popen2 logging.config logging.FileHandler logging.handlers threading.Thread threading.Timer "
        "_thread.start_new_thread signal.signal signal.raise_signal signal.pthread_kill signal.alarm signal.setitimer "
        "signal.set_wakeup_fd code.interact code.InteractiveInterpreter code.InteractiveConsole code.compile_command "
        "cmd.Cmd trace.Trace profile.run profile.runctx profile.Profile test.support invoke.run site.addsitedir "
        "site.execsitecustomize "
        # code as data
        "pickle _pickle pickletools marshal cloudpickle.loads dill.loads joblib.load jsonpickle.decode yaml xmlrpc "
        "types.FunctionType types.CodeType types.LambdaType types.ModuleType "
        # the network
        "socket _socket ssl asyncio concurrent multiprocessing http urllib urllib3 requests httpx aiohttp ftplib "
        "telnetlib smtplib smtpd poplib imaplib nntplib socketserver wsgiref paramiko fabric pexpect plumbum "
        # installers
        "pip setuptools distutils pkg_resources _distutils_hack easy_install conda "
        # functions that call what they are given
        "operator.attrgetter operator.methodcaller operator.call functools.reduce itertools.starmap _operator.attrgetter "
        "_operator.methodcaller _operator.call _functools.reduce "
        # numpy and friends
        "numpy.f2py numpy.distutils numpy.testing numpy.ctypeslib numpy.load numpy.save numpy.savez numpy.fromfile "
        "numpy.memmap numpy.loadtxt numpy.genfromtxt numpy.lib.npyio numpy.lib._npyio_impl numpy.lib.utils "
        "numpy.lib.format numpy.lib.introspect pandas.read_pickle pandas.eval pandas.io pandas.core.computation scipy.io "
        # torch
        "torch.hub torch.load torch.save torch.serialization torch.jit torch.package torch.onnx torch.testing "
        "torch.export torch.multiprocessing torch.distributed.rpc torch.distributed.elastic torch.distributed.run "
        "torch.distributed.launch torch.distributed.launcher torch._inductor torch._export torch._dynamo.guards "
        "torch._dynamo.debug_utils torch._dynamo.repro torch.fx.experimental.symbolic_shapes torch.cuda._memory_viz "
        "torch.utils.cpp_extension torch.utils.model_zoo torch.utils.bottleneck torch.utils.collect_env "
        "torch.utils.hipify torch.utils.tensorboard torch.utils.file_baton torch.utils.show_pickle torch.utils.benchmark "
        "torch.utils._config_module torch.utils.data.datapipes.utils torch._appdirs torchvision.datasets.utils "
        "transformers.utils.hub huggingface_hub"
    ).split()
)

#: Names that are dangerous wherever they come from: a module that imports os is as good as os.
_DANGEROUS_NAMES = frozenset(
    (
        "system popen popen2 popen3 popen4 spawnl spawnle spawnlp spawnv spawnve spawnvp execl execle execlp execv execve "
        "execvp execvpe posix_spawn posix_spawnp fork forkpty startfile getoutput getstatusoutput check_output check_call "
        "Popen eval exec execfile __import__ import_module exec_module load_module run_module run_path runstring "
        "runsource runcode runeval runctx breakpoint raw_input __builtins__ __globals__ __subclasses__ __code__ __mro__ "
        "__bases__ __base__ __dict__ __getattribute__ __reduce__ __reduce_ex__ __loader__ __spec__ __closure__ "
        "func_globals f_globals gi_frame cr_frame load_library CDLL dlopen FunctionType CodeType rmtree unlink removedirs "
        "rmdir chmod chown symlink urlopen urlretrieve create_connection load_inline compile_file execWrapper "
        "_get_command_stdout _popen _os _sys os sys posix nt subprocess builtins importlib runpy shutil socket ctypes "
        "marshal pickle pty pdb codeop"
    ).split()
)

_DANGEROUS_BUILTINS = frozenset(
    "eval exec execfile compile open file input raw_input breakpoint __import__ globals locals vars apply help exit quit "
    "delattr".split()
)

#: Exact exceptions to the modules above: they stand in harmless files.
_HARMLESS = frozenset(
    {
        ("torch.jit", "ScriptModule"),
        ("multiprocessing", "TimeoutError"),
        ("http", "HTTPStatus"),
        ("logging.handlers", "Handler"),
    }
)


def normal_module(module: str) -> str:
    """Give today's name of a module that Python 2, or a pickle of protocol 2, calls otherwise."""
    head, dot, rest = module.partition(".")
    return _RENAMED.get(head, head) + dot + rest


def classify(module: str, name: str) -> Meaning:
    """Say what a global asks for; module and name as the pickle has them."""
    module = normal_module(module)
    key = (module, name)
    if key in _INERT or _is_constant(module, name):
        return Meaning.INERT
    if key in _PLAIN or key in FACTORIES:
        return Meaning.PLAIN
    return Meaning.DANGER if is_dangerous(module, name) else Meaning.CODE


def is_dangerous(module: str, name: str) -> bool:
    """Tell whether a name, in today's spelling, runs commands, opens files, or builds or reaches code."""
    if (module, name) in _HARMLESS:
        return False
    if module == "builtins" and name in _DANGEROUS_BUILTINS:
        return True
    if not _DANGEROUS_NAMES.isdisjoint(name.split(".")):
        return True
    parts = f"{module}.{name}".split(".")
    prefix = ""
    for part in parts:
        prefix = f"{prefix}.{part}" if prefix else part
        if prefix in _DANGEROUS_MODULES:
            return True
    return False


def is_dangerous_module(module: str) -> bool:
    """Tell whether a whole module is dangerous, or holds Python's own functions."""
    return module == "builtins" or module in _DANGEROUS_MODULES


def is_dangerous_name(name: str) -> bool:
    """Tell whether a name by itself says that it runs something."""
    return name in _DANGEROUS_NAMES or name in _DANGEROUS_BUILTINS


def is_dangerous_attribute(name: str) -> bool:
    """Tell whether getattr with this name reaches for code."""
    return not _DANGEROUS_NAMES.isdisjoint(name.split("."))


def is_name(text: str) -> bool:
    """Tell whether every part of a dotted text could be a name in Python (`<locals>` as qualified names have it)."""
    return all(part.isidentifier() or part == "<locals>" for part in text.split("."))


def storage_dtype(module: str, name: str) -> str | None:
    """Give the element type of a storage class, "uint8" for untyped ones, None when it is none."""
    if (module, name) in _UNTYPED:
        return "uint8"
    return STORAGES.get(name) if module in {"torch", "torch.cuda"} else None


def _is_constant(module: str, name: str) -> bool:
    if storage_dtype(module, name) is not None:
        return True
    return module == "torch" and (name in ITEM_BYTES or name in LAYOUTS or name in SCHEMES)
