"""Who disturbs the daemon: training that saves, people who tidy up, attackers, a full disk, a clock that jumps, kills."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.corpus import asm, hostile_code, hostile_pickles, hostile_zips, zips
from tests.e2e.running import Daemon

#: Files that are created and closed while nobody reads the kernel's queue of 16,384 events.
_BURST = 9_000
#: What is trained: names whose model and dataset are read with confidence, so that the policy deals with them.
_GROUPS = (
    "BiLSTM_Attention_ECG",
    "ResNet18_CIFAR10",
    "ResNet50_ImageNet",
    "TransformerEncoder_tabular",
    "VGG16_CIFAR100",
    "MobileNetV2_ImageNet",
    "EfficientNet_b0_CIFAR10",
)
#: Larger ones are for the tests of the corpus: here it is about many.
_MOST_HOSTILE_BYTES = 100_000


@dataclass(slots=True)
class World:
    """What there is, and what the actors did to it.

    Attributes:
        root: where training saves.
        clock: file with the seconds that the daemon's clock is ahead.
        mine: paths that a person removed or renamed away.
        saved: relative path → what was written there last.
        children: processes that a daemon was seen to have.
        hostile: files that were made to hurt.
        is_still: True once the daemon is left alone, so that its memory can be measured.
    """

    root: Path
    clock: Path
    daemon: Daemon
    chance: random.Random
    hostile: list[bytes]
    deeds: Counter[str] = field(default_factory=Counter)
    saved: dict[str, bytes] = field(default_factory=dict)
    mine: set[str] = field(default_factory=set)
    epoch: int = 0
    children: set[psutil.Process] = field(default_factory=set)
    ballast: Path | None = None
    freed_at: float = 0.0
    is_still: bool = False

    def note_children(self) -> None:
        """Remember every process that the daemon has now, so that none of them outlives it unseen."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.children.update(psutil.Process(self.daemon.pid).children(recursive=True))


def save(world: World) -> None:
    """Save one epoch, in one of the ways that training scripts have."""
    world.epoch += 1
    name = f"{_GROUPS[world.epoch % len(_GROUPS)]}_epoch{world.epoch:05d}.pth"
    values = struct.pack("<4f", *(world.chance.random() for _ in range(4)))
    data = zips.checkpoint(asm.program(asm.state_dict(epoch=asm.integer(world.epoch))), {"0": values})
    directory = world.root / world.chance.choice(("", "", "deep/er"))
    with contextlib.suppress(OSError):  # the disk is full: training would have died, and tries again with the next epoch
        directory.mkdir(parents=True, exist_ok=True)
        if world.chance.random() < 0.5:
            temporary = directory / f".tmp-{name}"
            try:
                temporary.write_bytes(data)
                temporary.rename(directory / name)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
        else:
            with (directory / name).open("wb") as file:
                file.write(data[:100])
                file.flush()
                file.write(data[100:])
        world.saved[str((directory / name).relative_to(world.root))] = data
        world.deeds["saved"] += 1


def attack(world: World) -> None:
    """Save something that was made to hurt whoever reads it."""
    name = f"Evil_{world.chance.randrange(10**9)}.pth"
    data = world.chance.choice(world.hostile)
    with contextlib.suppress(OSError):
        (world.root / name).write_bytes(data)
        world.saved[name] = data
        world.deeds["hostile"] += 1


def rename(world: World) -> None:
    """Give a checkpoint another name, as people do."""
    path = _pick(world)
    if path is None:
        return
    new = f"renamed/{world.chance.randrange(10**9)}_{path.name}"
    with contextlib.suppress(OSError):
        (world.root / "renamed").mkdir(exist_ok=True)
        path.rename(world.root / new)
        relative = str(path.relative_to(world.root))
        world.saved[new] = world.saved.pop(relative, b"")
        world.mine.add(relative)
        world.deeds["renamed"] += 1


def remove(world: World) -> None:
    """Remove a checkpoint without asking anybody."""
    path = _pick(world)
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink()
            relative = str(path.relative_to(world.root))
            world.saved.pop(relative, None)
            world.mine.add(relative)
            world.deeds["removed"] += 1


def rewrite(world: World) -> None:
    """Save to a name again, in place: `last.pth`."""
    values = struct.pack("<4f", *(world.chance.random() for _ in range(4)))
    data = zips.checkpoint(asm.program(asm.state_dict()), {"0": values})
    with contextlib.suppress(OSError):
        (world.root / "last.pth").write_bytes(data)
        world.saved["last.pth"] = data
        world.deeds["rewritten"] += 1


def kill_worker(world: World) -> None:
    """Kill a process that the daemon started."""
    children = psutil.Process(world.daemon.pid).children(recursive=True)
    if children:
        with contextlib.suppress(psutil.NoSuchProcess):
            world.chance.choice(children).kill()
            world.deeds["workers killed"] += 1


def kill_daemon(world: World) -> None:
    """Kill the daemon as a power cut would, and start it again."""
    if world.is_still or world.ballast is not None:
        return
    world.note_children()
    world.daemon.kill()
    world.daemon.start()
    world.deeds["daemon killed"] += 1


def fill_disk(world: World) -> None:
    """Take all the room there is; some seconds later it is given back."""
    if world.ballast is not None:
        return
    world.ballast = world.root / "ballast"
    with contextlib.suppress(OSError), world.ballast.open("wb") as file:
        while True:
            file.write(b"\0" * (1 << 20))
            file.flush()
    world.freed_at = time.monotonic() + world.chance.uniform(0.5, 3.0)
    world.deeds["disk filled"] += 1


def free_disk(world: World) -> None:
    """Give the room back when it is time."""
    if world.ballast is not None and time.monotonic() >= world.freed_at:
        world.ballast.unlink(missing_ok=True)
        world.ballast = None


def set_clock(world: World) -> None:
    """Set the daemon's clock by up to an hour, forward or back."""
    if world.is_still:
        return
    world.clock.write_text(str(world.chance.uniform(-3_600, 3_600)))
    os.kill(world.daemon.pid, signal.SIGUSR1)
    world.deeds["clock set"] += 1


def overflow(world: World) -> None:
    """Make more events than the kernel keeps, while nobody reads them."""
    if world.ballast is not None:
        return
    os.kill(world.daemon.pid, signal.SIGSTOP)
    try:
        for number in range(_BURST):
            (world.root / f"{number}.txt").touch()
        save(world)
        for number in range(_BURST):
            (world.root / f"{number}.txt").unlink()
    except OSError:
        pass
    finally:
        os.kill(world.daemon.pid, signal.SIGCONT)
    world.deeds["queue overflowed"] += 1


def reload(world: World) -> None:
    """Have the settings read anew."""
    if not world.is_still:
        os.kill(world.daemon.pid, signal.SIGHUP)
        world.deeds["reloaded"] += 1


#: Deed → how often a minute it happens; saving has a beat of its own.
RATES: dict[Callable[[World], None], float] = {
    attack: 40.0,
    rename: 30.0,
    remove: 30.0,
    rewrite: 60.0,
    kill_worker: 12.0,
    kill_daemon: 3.0,
    fill_disk: 1.5,
    set_clock: 2.0,
    overflow: 0.5,
    reload: 1.0,
}


def choose(world: World, seconds: float) -> Iterator[Callable[[World], None]]:
    """Give the deeds of some seconds, in an order by chance."""
    deeds = [deed for deed, rate in RATES.items() if world.chance.random() < rate / 60 * seconds]
    world.chance.shuffle(deeds)
    yield from deeds


def _pick(world: World) -> Path | None:
    there = [name for name in world.saved if "_epoch" in name and not name.startswith("renamed/")]
    return world.root / world.chance.choice(there) if there else None


def build_hostile(directory: Path, canary: Path) -> list[bytes]:
    """Give every small file of the hostile corpus; what runs one of them makes the canary."""
    found = []
    for number, case in enumerate([*hostile_code.cases(str(canary)), *hostile_pickles.cases(), *hostile_zips.cases()]):
        path = directory / f"{number}.pth"
        case.build(path)
        if path.stat().st_size <= _MOST_HOSTILE_BYTES:
            found.append(path.read_bytes())
        path.unlink()
    return found
