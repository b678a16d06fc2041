"""Which parts of a checkpoint go, and which stay whatever they are called."""

from __future__ import annotations

import io

import pytest

from ckptd.checkpoint.containers.zipped import read_zip
from ckptd.checkpoint.opcodes import run
from ckptd.checkpoint.source import Source
from ckptd.checkpoint.tensors import Builder
from ckptd.model import Container, Inspection, Kind, Status, TensorTotals
from ckptd.slim.choosing import can_slim, droppable_bytes
from ckptd.slim.parts import find_parts


def parts(**checkpoint) -> tuple[str, ...]:
    """Find the parts of an object as torch.save writes it and the machine reads it."""
    import os

    import torch

    held = io.BytesIO()
    torch.save(checkpoint, held)
    fd = os.memfd_create("ckptd-parts")
    try:
        os.write(fd, held.getvalue())
        source = Source(fd, len(held.getvalue()), 1 << 30)
    finally:
        os.close(fd)
    pickle = read_zip(source).members["data.pkl"]
    return find_parts(run(source.read(pickle.offset, pickle.length), 0, Builder())[0])


def trained(make, steps=1):
    """Give a small model and its optimizer after real steps."""
    import torch

    model = torch.nn.Linear(3, 2)
    optimizer = make(model.parameters())
    for _ in range(steps):
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
    return model, optimizer


@pytest.mark.parametrize("name", "Adam AdamW SGD RMSprop Adagrad Adadelta Adamax NAdam RAdam Rprop".split())
def test_state_of_every_common_optimizer_goes(name):
    """Whatever torch.optim saves per parameter beside weights is optimizer state."""
    import torch

    _, optimizer = trained(lambda p: getattr(torch.optim, name)(p, lr=0.1))
    assert parts(optimizer=optimizer.state_dict(), epoch=1) == ("optimizer",)


def test_averaged_weights_of_an_optimizer_stay():
    """ASGD keeps the averaged weights, the very thing one wants, in its state."""
    import torch

    _, optimizer = trained(lambda p: torch.optim.ASGD(p, lr=0.1))
    assert parts(optimizer=optimizer.state_dict()) == ()


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("StepLR", lambda o, s: s.StepLR(o, 3)),
        ("LambdaLR", lambda o, s: s.LambdaLR(o, lambda epoch: 0.9**epoch)),
        ("OneCycleLR", lambda o, s: s.OneCycleLR(o, 0.1, total_steps=10)),
        ("CosineAnnealingWarmRestarts", lambda o, s: s.CosineAnnealingWarmRestarts(o, 5)),
        ("ReduceLROnPlateau", lambda o, s: s.ReduceLROnPlateau(o)),
        ("ExponentialLR", lambda o, s: s.ExponentialLR(o, 0.9)),
        ("SequentialLR", lambda o, s: s.SequentialLR(o, [s.StepLR(o, 2), s.ExponentialLR(o, 0.9)], [4])),
    ],
)
def test_state_of_every_common_scheduler_goes(name, make):
    """A scheduler is known by last_epoch and what stands beside it."""
    import torch

    _, optimizer = trained(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9))
    made = make(optimizer, torch.optim.lr_scheduler)
    if name == "ReduceLROnPlateau":
        made.step(torch.tensor(0.5))
    assert parts(scheduler=made.state_dict(), lr_schedulers=[made.state_dict()]) == ("scheduler", "lr_schedulers")


OPTIMIZER = {"state": {0: {"momentum_buffer": None}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
SCHEDULER = {"last_epoch": 3, "_step_count": 4, "base_lrs": [0.1]}
SCALER = {"scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000, "_growth_tracker": 0}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[
            (key, OPTIMIZER)
            for key in (
                "optimizer optimizer_state optimizer_state_dict optim opt optimizer_G optimizerD d_optim optim-state "
                "opt_state_dict Optimizer"
            ).split()
        ],
        ("optimizers", [OPTIMIZER, OPTIMIZER]),
        ("optimizers", (OPTIMIZER,)),
        ("optimizer_states", {"g": OPTIMIZER, "d": {"main": OPTIMIZER}}),
        ("optimizer", {**OPTIMIZER, "defaults": {"lr": 0.1}}),
        *[(key, SCHEDULER) for key in "scheduler lr_scheduler scheduler_state_dict lr_sched warmup_scheduler".split()],
        ("lr_schedulers", [SCHEDULER]),
        *[(key, SCALER) for key in "scaler grad_scaler scaler_state_dict amp amp_scaler native_amp_scaling_state".split()],
        ("amp", {"loss_scaler0": {"loss_scale": 65536.0, "unskipped": 3}}),
    ],
)
def test_what_is_called_so_and_looks_so_goes(key, value):
    """Name and structure agree."""
    assert parts(model=1, **{key: value}) == (key,)


def _with_tensor(value, **more):
    import torch

    return {**value, **{key: torch.ones(made) for key, made in more.items()}}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        # the structure, and another name
        ("model", OPTIMIZER),
        ("state", OPTIMIZER),
        ("weights", OPTIMIZER),
        ("metrics", SCHEDULER),
        ("hyper_parameters", {"optimizer": OPTIMIZER}),
        ("ema_optimizer", OPTIMIZER),
        ("optimizer_weights", OPTIMIZER),
        ("options", OPTIMIZER),
        ("example", SCALER),
        # the name, and another structure
        ("optimizer", None),
        ("optimizer", "Adam"),
        ("optimizer", {}),
        ("optimizers", []),
        ("optimizer", {"name": "adam", "lr": 0.1}),
        ("opt", {"lr": 0.1, "dataroot": "x"}),
        ("optimizer", {"state": {}, "param_groups": []}),
        ("optimizer", {"state": {}, "param_groups": [{"lr": 0.1}]}),
        ("optimizer", {"state": [], "param_groups": [{"params": [0]}]}),
        ("optimizers", [OPTIMIZER, {"lr": 0.1}]),
        ("optimizers", [OPTIMIZER, None]),
        ("optimizer", [[[OPTIMIZER]]]),
        ("optimizers", [OPTIMIZER] * 65),
        ("scheduler", {"last_epoch": 3}),
        ("scheduler", {"last_epoch": None, "base_lrs": [0.1]}),
        ("scheduler", {"step": 3}),
        ("scaler", {}),
        ("scaler", {"mean": 0.5, "scale": 2.0}),
        ("scaler", {"scale": 2.0, "mean": [1.0]}),
        ("amp", {"loss_scaler0": {"loss_scale": 1.0, "weights": 3}}),
        ("amp", True),
        # names that nobody could show
        ("optimizer\x1b[2J", OPTIMIZER),
        ("öptimizer optim", OPTIMIZER),
        ("optim" * 20, OPTIMIZER),
    ],
)
def test_everything_else_stays(key, value):
    """Name or structure say something else: it is not touched."""
    assert parts(**{key: value}) == ()


def test_what_holds_weights_stays():
    """Master copies, iterates, parameters and arrays of numbers are weights wherever they lie."""
    import torch

    ones = torch.ones(3)
    for name in ("master_param", "fp32", "z", "ax", "slow_buffer", "param_copy", "weight"):
        held = {"state": {0: {"exp_avg": ones, name: ones}}, "param_groups": [{"params": [0]}]}
        assert parts(optimizer=held) == (), name
    assert parts(optimizer={**OPTIMIZER, "fp32_from_fp16": [[ones]]}) == ()
    assert parts(optimizer={**OPTIMIZER, "slow_state": {0: {"slow": ones}}}) == ()
    assert parts(optimizer={"state": {0: {"held": torch.nn.Parameter(ones)}}, "param_groups": [{"params": [0]}]}) == ()
    assert parts(optimizer={"state": {}, "param_groups": [{"params": [torch.nn.Parameter(ones)]}]}) == ()
    assert parts(optimizer={"state": {}, "param_groups": [{"params": [0], "directions": ones}]}) == ()
    assert parts(scheduler={**SCHEDULER, "history": ones}) == ()
    assert parts(scaler={**SCALER, "_growth_tracker": ones}) == ()
    assert parts(amp={"loss_scaler0": {"loss_scale": ones}}) == ()
    assert parts(optimizer={**OPTIMIZER, "found_inf": torch.tensor(0.0)}) == ("optimizer",)


def test_a_pickled_optimizer_stays():
    """An optimizer object holds the very parameters, perhaps the only copy of them."""
    import torch

    _, optimizer = trained(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9))
    assert parts(optimizer=optimizer) == ()


def test_a_value_that_is_shown_a_million_times_costs_a_budget():
    """Shared values could be looked at for hours; beyond the budget everything stays."""
    optimizer = {"state": {}, "param_groups": [{"params": list(range(2000))}]}
    assert find_parts({"optimizers": [[optimizer] * 8] * 8}) == ("optimizers",)
    assert find_parts({f"optimizers{number}": [[optimizer] * 64] * 64 for number in range(100)}) == ()


@pytest.mark.parametrize(
    ("kind", "status", "container", "size", "expected"),
    [
        (Kind.CHECKPOINT, Status.OK, Container.ZIP, 1, True),
        (Kind.CHECKPOINT, Status.NEEDS_CODE, Container.LEGACY, 1, True),
        (Kind.CHECKPOINT, Status.OK, Container.ZIP, 0, False),
        *[(kind, Status.OK, Container.ZIP, 1, False) for kind in [*Kind, None] if kind is not Kind.CHECKPOINT],
        *[(Kind.CHECKPOINT, status, Container.ZIP, 1, False) for status in Status if status not in ("ok", "needs_code")],
        *[(Kind.CHECKPOINT, Status.OK, one, 1, False) for one in Container if one not in ("zip", "legacy")],
    ],
)
def test_what_may_become_smaller(kind, status, container, size, expected):
    """Only a whole, harmless checkpoint with optimizer state, in a container that is read as it was written."""
    assert can_slim(kind, status, container, size) is expected
    found = Inspection("x", status, container, kind, tensors=TensorTotals(optimizer_bytes=size))
    assert droppable_bytes(found) == (size if expected else 0)
