"""What people save, made anew and small: models after real steps, checkpoint dicts, odd tensors, plain values.

Every function gives one object; torch is imported inside, so that reading the list of names costs nothing.
"""

from __future__ import annotations

import collections
import datetime
import math
import pathlib
import warnings
from argparse import Namespace
from collections.abc import Callable
from typing import Any, NamedTuple

from ckptd.model import Kind, Status


class Shape(NamedTuple):
    """One object: how it is made, what kind of thing it is, how many tensors it holds, whether loading it needs code."""

    make: Callable[[], Any]
    kind: Kind | None
    tensors: int | None
    status: Status


SHAPES: dict[str, Shape] = {}


def shape(
    kind: Kind | None, tensors: int | None, status: Status = Status.OK
) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Register a function under its own name."""

    def register(make: Callable[[], Any]) -> Callable[[], Any]:
        SHAPES[make.__name__] = Shape(make, kind, tensors, status)
        return make

    return register


def cnn() -> Any:
    """A small convolutional network with batch norm."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(
        collections.OrderedDict(
            conv1=nn.Conv2d(1, 4, 3), bn1=nn.BatchNorm2d(4), act=nn.ReLU(), flat=nn.Flatten(), fc=nn.Linear(4 * 36, 10)
        )
    )


def trained(optimizer: str) -> tuple[Any, Any]:
    """Give the network and its optimizer after two real steps."""
    import torch

    model = cnn()
    made = {
        "Adam": lambda p: torch.optim.Adam(p, lr=1e-3, amsgrad=True),
        "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    }[optimizer](model.parameters())
    for _ in range(2):
        made.zero_grad()
        model(torch.randn(4, 1, 8, 8)).square().mean().backward()
        made.step()
    return model, made


@shape(Kind.STATE_DICT, 9)
def cnn_state_dict() -> Any:
    return cnn().state_dict()


@shape(Kind.STATE_DICT, 20)
def bilstm_attention() -> Any:
    from torch import nn

    parts = {"lstm": nn.LSTM(6, 8, num_layers=2, bidirectional=True, batch_first=True), "attention": nn.Linear(16, 1)}
    return nn.ModuleDict(parts | {"classifier": nn.Linear(16, 5)}).state_dict()


@shape(Kind.STATE_DICT, 24)
def transformer_encoder() -> Any:
    from torch import nn

    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.TransformerEncoder(layer, 2).state_dict()


@shape(Kind.STATE_DICT, 3)
def tied_embeddings() -> Any:
    from torch import nn

    model = nn.ModuleDict({"embedding": nn.Embedding(20, 8, padding_idx=0), "decoder": nn.Linear(8, 20)})
    model["decoder"].weight = model["embedding"].weight
    return model.state_dict()


@shape(Kind.STATE_DICT, 9)
def data_parallel() -> Any:
    return collections.OrderedDict((f"module.{key}", value) for key, value in cnn().state_dict().items())


@shape(Kind.CHECKPOINT, 33)
def adam_checkpoint() -> Any:
    model, optimizer = trained("Adam")
    return {
        "epoch": 7,
        "global_step": 1400,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "best_acc": 0.9731,
        "metrics": {"accuracy": 0.97, "f1": 0.96, "loss": 0.11},
        "hyperparams": {"lr": 1e-3, "batch_size": 64, "layers": [4, 8], "activation": "relu", "dropout": None},
    }


@shape(Kind.CHECKPOINT, 16)
def sgd_checkpoint() -> Any:
    import torch

    model, optimizer = trained("SGD")
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    return {
        "arch": "resnet18",
        "epoch": 90,
        "state_dict": model.state_dict(),
        "best_acc1": torch.tensor(71.5),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
    }


@shape(Kind.OPTIMIZER, 24)
def adam_alone() -> Any:
    return trained("Adam")[1].state_dict()


@shape(Kind.CHECKPOINT, 34)
def lightning() -> Any:
    import torch

    model, optimizer = trained("Adam")
    callback = {
        "monitor": "val_loss",
        "best_model_score": torch.tensor(math.inf),
        "best_model_path": "/home/alice/runs/epoch=3.ckpt",
        "current_score": None,
        "dirpath": "/home/alice/runs",
        "best_k_models": {},
        "kth_value": float("inf"),
    }
    loop = {
        "state_dict": {},
        "epoch_progress": {"total": {"ready": 4, "completed": 3}, "current": {"ready": 4, "completed": 3}},
    }
    return {
        "epoch": 3,
        "global_step": 800,
        "pytorch-lightning_version": "2.5.1",
        "state_dict": collections.OrderedDict((f"model.{k}", v) for k, v in model.state_dict().items()),
        "loops": {"fit_loop": loop, "validate_loop": loop},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_loss', 'mode': 'min'}": callback},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"hidden_size": 32, "lr": 0.001, "model_name": "CNN"},
    }


@shape(Kind.CHECKPOINT, 9)
def argparse_namespace() -> Any:
    args = Namespace(lr=0.1, model="cnn", data=pathlib.PurePosixPath("/data/ecg"), gpus=[0, 1])
    return {"model": cnn().state_dict(), "args": args, "epoch": 3}


@shape(Kind.CHECKPOINT, 9)
def numpy_scalars() -> Any:
    import numpy as np

    return {
        "state_dict": cnn().state_dict(),
        "best_acc": np.float64(0.91),
        "loss": np.float32(0.25),
        "epoch": np.int64(12),
        "flag": np.bool_(True),  # noqa: FBT003 — the value itself
        "history": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "names": np.array(["n", "s"]),
        "empty": np.zeros((0, 3)),
        "complex": np.complex64(1 + 2j),
        "when": np.datetime64("2025-01-02"),
        "big": np.arange(3, dtype=">i4"),
        "dtype": np.dtype("float32"),
    }


@shape(Kind.CHECKPOINT, 9)
def dates_and_paths() -> Any:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    return {
        "state_dict": cnn().state_dict(),
        "saved": datetime.datetime(2025, 1, 2, 3, 4, 5, 678, tzinfo=zone),
        "utc": datetime.datetime(2025, 1, 2, tzinfo=datetime.UTC),
        "naive": datetime.datetime(2025, 1, 2, 3, 4, 5),  # noqa: DTZ001 — a time without a zone is the case
        "day": datetime.date(2025, 1, 2),
        "took": datetime.timedelta(seconds=90),
        "at": datetime.time(3, 4),
        "path": pathlib.PurePosixPath("runs/a"),
        "home": pathlib.Path("/srv/x/y"),
    }


@shape(Kind.MODULE, 9, Status.NEEDS_CODE)
def whole_module() -> Any:
    return cnn()


@shape(Kind.CHECKPOINT, None, Status.NEEDS_CODE)
def module_inside() -> Any:
    return {"epoch": 1, "model": cnn(), "acc": 0.5}


@shape(None, None, Status.NEEDS_CODE)
def optimizer_object() -> Any:
    return {"state_dict": cnn().state_dict(), "optimizer": trained("SGD")[1], "partial": None}


@shape(Kind.TENSOR, 1)
def one_tensor() -> Any:
    import torch

    return torch.arange(12.0).reshape(3, 4)


@shape(None, 3)
def list_of_tensors() -> Any:
    import torch

    return [torch.zeros(2), (torch.ones(3), torch.tensor(5))]


@shape(Kind.STATE_DICT, 26)
def every_dtype() -> Any:
    import torch

    names = (
        "float64 float32 float16 bfloat16 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu "
        "complex32 complex64 complex128 bool uint8 int8 int16 int32 int64 uint16 uint32 uint64"
    ).split()
    tensors = {name: (torch.arange(6) % 2).to(getattr(torch, name)) for name in names}
    tensors |= {
        f"{name}_special": torch.tensor([math.inf, -math.inf, math.nan], dtype=getattr(torch, name)) for name in names[:4]
    }
    return tensors | {"packed": torch.zeros(4, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)}


@shape(Kind.STATE_DICT, 16)
def views() -> Any:
    import torch

    base = torch.arange(24.0)
    grid = base.view(4, 6)
    return {
        "base": base,
        "offset": base[5:17],
        "rows": grid[1:3],
        "columns": grid[:, 2:4],
        "transposed": grid.t(),
        "strided": base[::3],
        "expanded": torch.ones(1, 3).expand(5, 3),
        "clone": grid.clone(),
        "empty": torch.empty(0),
        "empty_2d": torch.empty(0, 5, dtype=torch.float16),
        "empty_view": base[24:],
        "scalar": torch.tensor(3.5),
        "scalar_view": base[7],
        "channels_last": torch.ones(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
        "rank_8": torch.ones(1, 2, 1, 2, 1, 1, 2, 1),
        "other_dtype": base.view(torch.int32)[:4].clone(),
    }


@shape(Kind.STATE_DICT, 3)
def conjugates() -> Any:
    import torch

    values = torch.tensor([1 + 2j, 3 - 4j])
    return {"plain": values, "conj": values.conj(), "negative": torch.tensor([5 + 6j]).conj().imag}


@shape(Kind.STATE_DICT, 5)
def parameters() -> Any:
    import torch

    loud = torch.nn.Parameter(torch.ones(3))
    loud.tag = "head"
    labelled = torch.arange(3.0)
    labelled.note = {"unit": "mV"}
    return {
        "weight": torch.nn.Parameter(torch.ones(2, 2)),
        "frozen": torch.nn.Parameter(torch.ones(2), requires_grad=False),
        "with_attribute": loud,
        "tensor_with_attribute": labelled,
        "leaf": torch.ones(2, requires_grad=True),
    }


def subclass_of_tensor() -> Any:
    """Give a subclass of Tensor that pickle finds in this module."""
    import torch

    known = globals().get("LabelledTensor")
    if known is None:
        known = type("LabelledTensor", (torch.Tensor,), {"__module__": __name__, "__qualname__": "LabelledTensor"})
        globals()["LabelledTensor"] = known
    return known


@shape(None, None, Status.NEEDS_CODE)
def tensor_subclass() -> Any:
    import torch

    return {"weight": torch.ones(2, 2).as_subclass(subclass_of_tensor()), "bias": torch.zeros(2)}


@shape(None, None)
def sparse() -> Any:
    import torch

    dense = torch.tensor([[0.0, 1, 0, 2], [3, 0, 0, 0], [0, 0, 0, 0], [0, 4, 5, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "coo": dense.to_sparse(),
            "coo_uncoalesced": torch.sparse_coo_tensor([[0, 0], [1, 1]], [1.0, 2.0], (2, 2)),
            "coo_hybrid": torch.stack([dense, dense], dim=-1).to_sparse(2),
            "csr": dense.to_sparse_csr(),
            "csc": dense.to_sparse_csc(),
            "bsr": dense.to_sparse_bsr((2, 2)),
            "bsc": dense.to_sparse_bsc((2, 2)),
        }


@shape(None, None)
def quantized() -> Any:
    import torch

    weight = torch.linspace(-1, 1, 12).reshape(3, 4)
    scales = torch.tensor([0.01, 0.02, 0.03], dtype=torch.float64)
    zeros = torch.tensor([0, 1, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "per_tensor": torch.quantize_per_tensor(weight, 0.1, 3, torch.qint8),
            "quint8": torch.quantize_per_tensor(weight, 0.1, 3, torch.quint8),
            "qint32": torch.quantize_per_tensor(weight, 0.1, 3, torch.qint32),
            "per_channel": torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8),
            "per_channel_1": torch.quantize_per_channel(weight.t().contiguous(), scales, zeros, 1, torch.qint8),
            "transposed": torch.quantize_per_tensor(weight, 0.1, 3, torch.qint8).t(),
        }


@shape(None, None)
def quantized_linear() -> Any:
    """Dynamic quantization of torch.ao: packed parameters in a state dict."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(cnn(), {torch.nn.Linear}, dtype=torch.qint8).state_dict()


@shape(Kind.STATE_DICT, 2)
def meta() -> Any:
    import torch

    return {"meta": torch.empty(3, 4, device="meta"), "strided": torch.empty(6, 4, device="meta", dtype=torch.float16).t()}


@shape(Kind.STATE_DICT, 9)
def float16_weights() -> Any:
    return {key: value.half() if value.is_floating_point() else value for key, value in cnn().state_dict().items()}


@shape(Kind.STATE_DICT, 2)
def int8_weights() -> Any:
    import torch

    return {"fc.weight": torch.arange(-8, 8, dtype=torch.int8).reshape(4, 4), "fc.weight_scale": torch.full((4,), 0.01)}


@shape(None, 0)
def plain_values() -> Any:
    return {
        "none": None,
        "bool": [True, False],
        "ints": [0, -1, 255, 256, 65535, 65536, -(2**31), 2**31, 2**63, -(2**63), 2**200, -(2**200)],
        "floats": [0.0, -0.0, math.inf, -math.inf, 1e-300],
        "complex": complex(1, -2),
        "text": ["", "ascii", "日本語", "a\x1b[31mb", "\U0001f600", "x" * 300],
        "bytes": [b"", b"\x00\xff", bytes(range(256))],
        "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, (4, (5,)))],
        "nested": [[[[[]]]], {"a": {"b": {"c": [1, {"d": ()}]}}}],
        "keys": {7: "int", 2.5: "float", True: "bool", None: "none", "日本": "text"},
        "set": {1, 2, 3},
    }


@shape(None, 0)
def rarer_values() -> Any:
    return {
        "frozenset": frozenset({"a", "b"}),
        "bytearray": bytearray(b"abc"),
        "counter": collections.Counter("abracadabra"),
        "defaultdict": collections.defaultdict(list, {"a": [1], "b": [2]}),
        "defaultdict_none": collections.defaultdict(None, {"a": 1}),
        "ordered": collections.OrderedDict(b=1, a=2),
    }


@shape(None, 1)
def torch_values() -> Any:
    import torch

    return {
        "size": torch.Size([2, 3]),
        "empty_size": torch.Size([]),
        "device": [torch.device("cpu"), torch.device("cuda", 1), torch.device("meta")],
        "dtype": [torch.float32, torch.bfloat16, torch.qint8, torch.int64, torch.bool],
        "layout": [torch.strided, torch.sparse_coo],
        "tensor": torch.ones(1),
    }


@shape(None, 2)
def recursive() -> Any:
    import torch

    root: dict[str, Any] = {"list": [1], "tensor": torch.ones(2)}
    root["self"] = root
    root["list"].append(root["list"])
    root["pair"] = ([], root["tensor"])
    root["pair"][0].append(root["pair"])
    return root


@shape(None, 3)
def shared_objects() -> Any:
    import torch

    weight, inner = torch.ones(3), {"a": [1, 2]}
    return {"one": weight, "same": weight, "first": inner, "second": inner, "list": [inner, inner["a"]], "view": weight[1:]}


@shape(Kind.STATE_DICT, 2)
def odd_names() -> Any:
    import torch

    return {"层.weight": torch.ones(1), "a\x1b[2Jb\u202e": torch.ones(1)}


@shape(None, 0)
def empty_dict() -> Any:
    return {}


@shape(Kind.STATE_DICT, 3)
def not_finite() -> Any:
    import torch

    return {
        "conv6.weight": torch.tensor([1.0, math.nan, math.inf]),
        "fine": torch.ones(2),
        "ints": torch.ones(2, dtype=torch.int64),
    }


@shape(Kind.STATE_DICT, 400)
def many_tensors() -> Any:
    import torch

    return {f"blocks.{i}.weight": torch.full((3,), float(i)) for i in range(400)}
