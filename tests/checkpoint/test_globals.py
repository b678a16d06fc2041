"""What a name means: torch's own list, literal attacks, and the harmless names that look like attacks."""

from __future__ import annotations

import pytest

from ckptd.checkpoint.globals import (
    FACTORIES,
    ITEM_BYTES,
    LAYOUTS,
    PACKED,
    REBUILDERS,
    STORAGES,
    TORCH_ONLY,
    Meaning,
    classify,
    is_dangerous_attribute,
    is_name,
    normal_module,
    storage_dtype,
)
from ckptd.checkpoint.tensors import Builder
from tests.checkpoint.machine import read
from tests.corpus import asm, gadgets

DATA = (Meaning.INERT, Meaning.PLAIN)


def _split(dotted: str) -> tuple[str, str]:
    module, _, name = dotted.rpartition(".")
    return module, name


def test_torch_allows_nothing_that_is_unknown_here():
    """Each name that torch's safe unpickler takes is data here, or stands in the reasoned list of those that are not."""
    from torch._weights_only_unpickler import _get_allowed_globals

    allowed = _get_allowed_globals()
    assert len(allowed) > 100
    unknown = {name for name in allowed if classify(*_split(name)) not in DATA}
    assert unknown == TORCH_ONLY & set(allowed)
    assert {name for name in TORCH_ONLY if name not in allowed} == set()


def test_what_only_torch_takes_needs_code():
    """Names that torch takes and ckptd does not rebuild are never called dangerous."""
    assert {classify(*_split(name)) for name in TORCH_ONLY} == {Meaning.CODE}


def test_inert_names_of_torch_are_those_that_torch_allows():
    """Nothing of torch is inert here that torch itself would not take, but for what older versions wrote."""
    from torch._weights_only_unpickler import _get_allowed_globals

    older = {
        *("torch._UntypedStorage", "torch.storage._UntypedStorage", "torch.Tensor", "torch.nn.parameter.Parameter"),
        *("torch._utils._rebuild_wrapper_subclass", "torch.serialization._get_layout"),
        *(f"torch.cuda.{name}" for name in STORAGES),
        *(f"torch.{name}" for name in [*ITEM_BYTES, *LAYOUTS]),
        *("torch.per_tensor_symmetric", "torch.per_channel_symmetric", "torch.QUInt4x2Storage", "torch.QUInt2x4Storage"),
    }
    ours = {f"torch._utils.{name}" for name in REBUILDERS} | {f"torch.{name}" for name in STORAGES} | older
    ours |= {f"torch.{name}" for name in ("Size", "device", "per_tensor_affine", "per_channel_affine")}
    ours |= {"torch._tensor._rebuild_from_type_v2", "torch.storage.UntypedStorage"}
    assert {name for name in ours if classify(*_split(name)) is not Meaning.INERT} == set()
    assert ours - older - set(_get_allowed_globals()) == set()


def test_widths_are_those_of_torch():
    """A dtype takes as many bytes as torch says, and every dtype of torch is known."""
    import torch

    theirs = {str(value).removeprefix("torch."): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
    assert set(theirs) == set(ITEM_BYTES)
    assert {name: dtype.itemsize for name, dtype in theirs.items()} == ITEM_BYTES
    assert dict.fromkeys(PACKED, 1) == {name: ITEM_BYTES[name] for name in PACKED}


def test_storages_are_those_of_torch():
    """A storage class has the element type that torch gives it."""
    from torch.storage import _dtype_to_storage_type_map

    theirs = {name: str(dtype).removeprefix("torch.") for dtype, name in _dtype_to_storage_type_map().items()}
    assert theirs.items() <= STORAGES.items()
    for name, dtype in STORAGES.items():
        assert storage_dtype("torch", name) == storage_dtype("torch.cuda", name) == dtype
    assert storage_dtype("torch.storage", "UntypedStorage") == "uint8"
    for module, name in (
        ("torch", "float32"),
        ("os", "FloatStorage"),
        ("torch.storage", "TypedStorage"),
        ("torch", "EvilStorage"),
    ):
        assert storage_dtype(module, name) is None


DANGEROUS = """
os.system posix.system nt.system os.popen os.execve posix.fork os.path.join posixpath.os.system
builtins.eval builtins.exec builtins.compile builtins.open builtins.__import__ builtins.globals builtins.breakpoint
__builtin__.eval __builtin__.execfile __builtin__.open __builtin__.apply __builtin__.raw_input commands.getoutput
subprocess.Popen subprocess.run subprocess.check_output _posixsubprocess.fork_exec pty.spawn
operator.attrgetter operator.methodcaller _operator.attrgetter functools.reduce itertools.starmap
runpy.run_path runpy._run_code importlib.import_module importlib._bootstrap._gcd_import imp.load_source pkgutil.resolve_name
pickle.loads _pickle.loads cPickle.loads marshal.loads dill.loads cloudpickle.loads joblib.load types.FunctionType
types.CodeType ctypes.CDLL ctypes.cdll.LoadLibrary cffi.FFI
socket.create_connection socket.socket urllib.request.urlopen urllib.urlopen urllib2.urlopen httplib.HTTPConnection
http.client.HTTPConnection requests.get asyncio.create_subprocess_shell asyncio.unix_events._UnixSubprocessTransport._start
multiprocessing.Process ssl.SSLSocket smtplib.SMTP ftplib.FTP SocketServer.TCPServer
shutil.rmtree tempfile.mkdtemp sys.exit sys.modules.get sys.settrace signal.raise_signal thread.start_new_thread
timeit.timeit cProfile.run profile.run profile.Profile.run pdb.run bdb.Bdb trace.Trace code.interact
code.InteractiveInterpreter.runcode doctest.debug_script pydoc.pipepager webbrowser.open pip.main pip._internal.main
venv.create ensurepip._run_pip distutils.spawn.spawn setuptools.setup idlelib.pyshell.ModifiedInterpreter.runcommand
lib2to3.pgen2.pgen.ParserGenerator uuid._get_command_stdout logging.config.listen sqlite3.connect zipimport.zipimporter
numpy.f2py.crackfortran.getlincoef numpy.f2py.diagnose.run_command numpy.testing._private.utils.runstring numpy.load
numpy.ctypeslib.load_library numpy.memmap numpy.distutils.exec_command.exec_command pandas.eval pandas.read_pickle
torch.hub.load torch.hub.load_state_dict_from_url torch.load torch.serialization.load torch.jit.load
torch.package.PackageImporter
torch.utils.cpp_extension.load_inline torch.utils.collect_env.run torch.utils.bottleneck.__main__.run_cprofile
torch._dynamo.guards.GuardBuilder.get torch._dynamo.debug_utils.inductor_accuracy_fails torch._inductor.codecache.compile_file
torch.fx.experimental.symbolic_shapes.ShapeEnv.evaluate_guards_expression torch.jit.unsupported_tensor_ops.execWrapper
torch.distributed.rpc.rpc_sync torch.multiprocessing.spawn torch.utils._config_module.ConfigModule.load_config
torch.utils.data.datapipes.utils.decoder.basichandlers torch.serialization.os.system torch.utils.data.os.system
mymodel.os.system my_project.train.subprocess mymodule.importlib.import_module any.module.__import__ any.module.eval
any.module.Class.__globals__ any.module.f.__code__ any.module.f.__class__.__subclasses__ any.module.__builtins__.exec
""".split()  # fmt: skip


@pytest.mark.parametrize("dotted", DANGEROUS)
def test_an_attack_is_called_one(dotted):
    """However a dotted name is cut into module and name, what it reaches is dangerous."""
    parts = dotted.split(".")
    whole = [(".".join(parts[:i]), ".".join(parts[i:])) for i in range(1, len(parts))]
    assert {cut: classify(*cut) for cut in whole} == dict.fromkeys(whole, Meaning.DANGER)


HARMLESS = """
torch.optim.sgd.SGD torch.optim.adam.Adam torch.optim.lr_scheduler.StepLR functools.partial builtins.getattr builtins.setattr
torch.storage._load_from_bytes torch.nn.modules.linear.Linear torch.nn.modules.container.Sequential torch.jit.ScriptModule
mymodel.system_model.Net models.os_net.OSNet models.evaluation.Evaluator sys_id.models.Lstm osnet.models.osnet_x1_0
mymodel.Net.forward __main__.Model __main__.Config builtins.print builtins.object builtins.slice builtins.range builtins.type
enum.Enum dataclasses.field collections.namedtuple collections.deque random.Random numpy.random.mtrand.RandomState
numpy.random._pickle.__randomstate_ctor numpy.core.multiarray.arange sklearn.preprocessing._data.StandardScaler
omegaconf.dictconfig.DictConfig pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint
lightning_fabric.utilities.data.AttributeDict
transformers.training_args.TrainingArguments torchvision.models.resnet.ResNet ultralytics.nn.tasks.DetectionModel
torch._C._distributed_c10d.ReduceOp easydict.EasyDict fairseq.data.dictionary.Dictionary uuid.UUID decimal.Decimal
fractions.Fraction ipaddress.IPv4Address re._compile copyreg._reconstructor torch.fx.graph_module.GraphModule
torch.nn.quantized.dynamic.modules.linear.Linear torch.ao.nn.quantized.modules.linear.Linear logging.Logger threading.Lock
models.code.Coder trainer.profile.ProfileNet my_os.Net posix_net.Net subprocessing.Net test.models.Net evaluate.load_net
""".split()  # fmt: skip


@pytest.mark.parametrize("dotted", HARMLESS)
def test_a_harmless_name_needs_code_and_no_more(dotted):
    """Real checkpoints hold these: code, and no attack."""
    assert classify(*_split(dotted)) is Meaning.CODE


@pytest.mark.parametrize("gadget", gadgets.certain("/x"), ids=lambda gadget: f"{gadget.module}.{gadget.name}")
def test_every_gadget_of_the_corpus_is_dangerous(gadget):
    """Each call of the corpus that is nothing but an attack is known."""
    assert classify(gadget.module, gadget.name) is Meaning.DANGER


@pytest.mark.parametrize(
    "dotted",
    """collections.OrderedDict collections.Counter collections.defaultdict torch.Size torch.device torch.float32 torch.bfloat16
    torch.float8_e4m3fn torch.FloatStorage torch.cuda.HalfStorage torch.storage.UntypedStorage torch.sparse_coo torch.strided
    torch.per_channel_affine _codecs.encode builtins.bytearray builtins.set __builtin__.set builtins.frozenset builtins.complex
    builtins.bytes torch._utils._rebuild_tensor_v2 torch._tensor._rebuild_from_type_v2""".split(),
)
def test_inert_names_are_inert(dotted):
    """The names of DESIGN section 5 become inert values."""
    assert classify(*_split(dotted)) is Meaning.INERT


@pytest.mark.parametrize(
    "dotted",
    """argparse.Namespace datetime.datetime datetime.date datetime.time datetime.timedelta datetime.timezone pathlib.PosixPath
    pathlib.PureWindowsPath pathlib._local.PosixPath numpy.dtype numpy.ndarray numpy.core.multiarray.scalar
    numpy._core.multiarray._reconstruct numpy._core.numeric._frombuffer builtins.list builtins.dict builtins.int""".split(),
)
def test_plain_names_are_plain(dotted):
    """Plain values of other libraries, and the makers of defaultdicts, need no code."""
    assert classify(*_split(dotted)) is Meaning.PLAIN


def test_an_inert_name_is_exact():
    """One letter more, another module or another case is another name."""
    for module, name in (
        ("torch", "size"),
        ("torch", "Size.__new__"),
        ("torch.x", "Size"),
        ("collections", "orderedDict"),
        ("collections.abc", "OrderedDict"),
        ("torch._utils", "_rebuild_tensor_v4"),
        ("torch._utils._rebuild_tensor_v2", "__call__"),
        ("torch", "float32.to_complex"),
        ("numpy", "core.multiarray.scalar"),
    ):
        assert classify(module, name) is Meaning.CODE, (module, name)


def test_python2_names_are_read_as_todays():
    """Protocol 2 writes Python 2's names of modules, submodules included."""
    assert normal_module("__builtin__") == "builtins"
    assert normal_module("copy_reg") == "copyreg"
    assert normal_module("cPickle") == "pickle"
    assert normal_module("__builtin__.x") == "builtins.x"
    assert normal_module("torch.nn") == "torch.nn"
    assert normal_module("") == ""


@pytest.mark.parametrize(
    ("name", "dangerous"), [("system", True), ("__globals__", True), ("path.os", True), ("forward", False)]
)
def test_attributes_are_judged_by_name(name, dangerous):
    """An attribute reaches what a dotted name reaches."""
    assert is_dangerous_attribute(name) is dangerous


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        *(("x", True), ("a.b_c1", True), ("f.<locals>.g", True), ("Ä", True), ("", False), ("a..b", False), ("a b", False)),
        *(("a\x1b", False), ("1a", False), ("a.", False), ("<lambda>", False)),
    ],
)
def test_a_name_is_a_name_in_python(text, is_one):
    """What is no name in Python is named in no honest pickle."""
    assert is_name(text) is is_one


def test_a_builder_notes_what_names_mean():
    """Every name of a file is kept with its meaning, under the name that is written there; odd ones are a problem."""
    host = read(
        asm.program(asm.sequence(asm.named("__builtin__", "eval"), asm.named("torch", "float32"), asm.named("a b", "c")))
    )[1]
    assert set(host.globals) == {("__builtin__", "eval"), ("torch", "float32"), ("a b", "c")}
    assert {name.dotted: meaning for name, meaning in host.meanings.items()} == {
        "builtins.eval": Meaning.DANGER,
        "torch.float32": Meaning.INERT,
        "a b.c": Meaning.CODE,
    }
    assert [problem.code for problem in host.problems] == ["odd-global-name"]


def test_a_name_is_one_value():
    """The same name twice is the same value, so that identity tells names apart."""
    host = Builder()
    assert host.find_global("torch", "float32") is host.find_global("torch", "float32")


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        (asm.call("builtins", "getattr", asm.NONE, asm.text("__globals__")), ["dangerous-attribute"]),
        (asm.call("builtins", "getattr", asm.NONE, asm.text("a.system")), ["dangerous-attribute"]),
        (asm.call("my.module", "getattr_static", asm.NONE, asm.text("__code__")), ["dangerous-attribute"]),
        (asm.call("builtins", "getattr", asm.NONE, asm.text("forward")), []),
        (asm.call("builtins", "getattr", asm.NONE), []),
        (asm.call("torch.storage", "_load_from_bytes", asm.short_bytes(b"\x80\x02cos\nsystem\n.")), ["dangerous-global"]),
        (asm.call("torch.storage", "_load_from_bytes", asm.short_bytes(b"\x80\x02ctorch\nSize\n.")), []),
    ],
)
def test_what_a_call_reaches_for_is_seen(body, codes):
    """Attributes by a dangerous name, and pickles inside the pickle."""
    assert [problem.code for problem in read(asm.program(body))[1].problems] == codes


def test_factories_are_data():
    """What a defaultdict may name as its maker needs no code by itself."""
    assert {classify(*key) for key in FACTORIES} <= set(DATA)
