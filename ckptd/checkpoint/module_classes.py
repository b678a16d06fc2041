"""Which classes a pickled module is made of, and which of them are torch's own layers: exact names, never a prefix."""

from __future__ import annotations

from ckptd.checkpoint.globals import Meaning, classify
from ckptd.checkpoint.values import Global, Opaque, OrderedDictValue, TensorValue, Value

#: Objects of one file that are looked at, and names that are given.
_MOST_NODES = 2_000_000
MAX_CLASSES = 1_000

_PLACES = {
    "activation": (
        "CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid LogSoftmax Mish MultiheadAttention "
        "PReLU RReLU ReLU ReLU6 SELU SiLU Sigmoid Softmax Softmax2d Softmin Softplus Softshrink Softsign Tanh Tanhshrink "
        "Threshold"
    ),
    "batchnorm": "BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm",
    "channelshuffle": "ChannelShuffle",
    "container": "Container ModuleDict ModuleList ParameterDict ParameterList Sequential",
    "conv": "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d",
    "distance": "CosineSimilarity PairwiseDistance",
    "dropout": "AlphaDropout Dropout Dropout1d Dropout2d Dropout3d FeatureAlphaDropout",
    "flatten": "Flatten Unflatten",
    "fold": "Fold Unfold",
    "instancenorm": "InstanceNorm1d InstanceNorm2d InstanceNorm3d",
    "linear": "Bilinear Identity Linear NonDynamicallyQuantizableLinear",
    "loss": (
        "BCELoss BCEWithLogitsLoss CTCLoss CosineEmbeddingLoss CrossEntropyLoss GaussianNLLLoss HingeEmbeddingLoss HuberLoss "
        "KLDivLoss L1Loss MSELoss MarginRankingLoss MultiLabelMarginLoss MultiLabelSoftMarginLoss MultiMarginLoss NLLLoss "
        "PoissonNLLLoss SmoothL1Loss SoftMarginLoss TripletMarginLoss"
    ),
    "module": "Module",
    "normalization": "CrossMapLRN2d GroupNorm LayerNorm LocalResponseNorm RMSNorm",
    "padding": (
        "CircularPad1d CircularPad2d CircularPad3d ConstantPad1d ConstantPad2d ConstantPad3d ReflectionPad1d ReflectionPad2d "
        "ReflectionPad3d ReplicationPad1d ReplicationPad2d ReplicationPad3d ZeroPad1d ZeroPad2d ZeroPad3d"
    ),
    "pixelshuffle": "PixelShuffle PixelUnshuffle",
    "pooling": (
        "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d AvgPool1d "
        "AvgPool2d AvgPool3d FractionalMaxPool2d FractionalMaxPool3d LPPool1d LPPool2d LPPool3d MaxPool1d MaxPool2d MaxPool3d "
        "MaxUnpool1d MaxUnpool2d MaxUnpool3d"
    ),
    "rnn": "GRU GRUCell LSTM LSTMCell RNN RNNBase RNNCell",
    "sparse": "Embedding EmbeddingBag",
    "transformer": "Transformer TransformerDecoder TransformerDecoderLayer TransformerEncoder TransformerEncoderLayer",
    "upsampling": "Upsample UpsamplingBilinear2d UpsamplingNearest2d",
}

#: torch.nn's own layers, as pickles name them.  Source: torch.nn of torch 2.13; a test looks each of them up.
TORCH_CLASSES = frozenset({f"torch.nn.modules.{place}.{name}" for place, names in _PLACES.items() for name in names.split()})

#: Activations that layers keep as attributes (TransformerEncoderLayer.activation); likewise.
TORCH_FUNCTIONS = frozenset(
    {
        *[f"torch.nn.functional.{name}" for name in "relu relu6 leaky_relu silu elu selu celu mish hardtanh hardswish".split()],
        *[f"torch.nn.functional.{name}" for name in "tanh sigmoid hardsigmoid softmax log_softmax glu rrelu softsign".split()],
        *[f"torch._C._nn.{name}" for name in "gelu softplus log_sigmoid".split()],
    }
)


def named_classes(root: Value) -> tuple[str, ...]:
    """Give the dotted names below an object that are outside of the fixed tables of inert and plain ones, each once.

    They are what has to be trusted before the object is built.  Nothing is resolved.
    """
    found: dict[str, None] = {}
    seen: set[int] = set()
    stack: list[Value] = [root]
    left = _MOST_NODES
    while stack and left and len(found) < MAX_CLASSES:
        value = stack.pop()
        left -= 1
        if type(value) is Global:
            if classify(value.module, value.name) not in {Meaning.INERT, Meaning.PLAIN}:
                found.setdefault(value.dotted)
            continue
        parts = _parts(value)
        if parts and id(value) not in seen:
            seen.add(id(value))
            stack.extend(reversed(parts))
    return tuple(found)


def _parts(value: Value) -> list[Value]:
    kind = type(value)
    if kind is Opaque:
        items = [part for pair in value.items for part in pair]
        return [value.callee, value.args, value.state, *items, *value.elements]
    if kind is OrderedDictValue:
        return [*value.keys(), *value.values(), value.state]
    if kind is dict:
        return [*value.keys(), *value.values()]
    if kind in {list, tuple, set, frozenset}:
        return list(value)
    return [value.extra, value.attributes] if kind is TensorValue else []
