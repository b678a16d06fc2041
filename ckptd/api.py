"""ckptd from Python: open a root, ask for the best, load and save; the library's face of what the commands do.

`open_library` is `ckptd.open`, and `load` and `save` are `ckptd.load` and `ckptd.save`.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from ckptd.app import App
from ckptd.checkpoint.inspection import inspect_path
from ckptd.checkpoint.metrics import canonical, normalise
from ckptd.errors import StorageError, UsageError
from ckptd.metadata.sidecar import ensure, look
from ckptd.model import Json, Record
from ckptd.settings import Settings, load_settings
from ckptd.storage.atomic import exchange_if_same
from ckptd.text import escape

_Path = str | os.PathLike[str]


class Library:
    """A root with its index, opened for reading; a daemon may run beside it.

    Use it as a context manager, or call `close`.
    """

    def __init__(self, settings: Settings) -> None:
        self._app = App(settings)

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the index back."""
        self._app.close()

    def records(self) -> list[Record]:
        """Give every record, by path."""
        return self._app.records()

    def find(self, query: str, *, sort: str = "path") -> list[Record]:
        """Give the records that match a query in the language of `ckptd find`.

        Raises:
            UsageError: the query does not parse.
        """
        return self._app.records(query, sort=sort)

    def best(self, metric: str, group: str | None = None, mode: Literal["min", "max"] | None = None) -> Record | None:
        """Give the best readable checkpoint by a metric, of all or of one group; None when none has it.

        Args:
            metric: any usual spelling ("acc", "val_loss").
            group: "model" or "model/dataset", as `ckptd best` shows it.
            mode: where nobody can know whether more or less is better.
        """
        best = self._app.best(metric, group=group, mode=mode)
        return best[0] if best else None

    def show(self, name: str) -> Record:
        """Give one record by id, path, file name, stem or the beginning of its digest."""
        return self._app.show(name)

    def load(self, name: str | Record, map_location: Any = None, *, mmap: bool = False) -> Any:
        """Load a checkpoint of this root; see `ckptd.load`."""
        record = name if isinstance(name, Record) else self.show(name)
        return load(Path(record.root, record.path), map_location, mmap=mmap)

    def model(self, name: str | Record, build: Callable[..., Any] | None = None) -> Any:
        """Give the module of a checkpoint, built by its recipe, with the weights and in eval mode.

        This runs the model's code in your own process, outside of any sandbox; it is for people who trust their own code.
        Trusted directories stay on `sys.path`, since a forward may import more.

        Args:
            name: what `show` takes.
            build: a class or function of your own, called with the hyperparameters of the checkpoint that it takes; without
                it the recipe is looked for as for an export, and only trusted code runs.

        Returns:
            A `torch.nn.Module` on the CPU.

        Raises:
            NeedsCodeError: there is no recipe that the settings trust; the message says what to add.
            FormatError: the module and the checkpoint do not fit; the first differences are named.
            CkptdError: it can't be read.
        """
        return self._app.model(name if isinstance(name, Record) else self.show(name), build)


def open_library(root: _Path | None = None, *, config: _Path | None = None) -> Library:
    """Open the index of a root, or of the roots that the settings name.

    Raises:
        UsageError: the root was never looked at by ckptd.
        SettingsError: the settings cannot be used.
    """
    overrides = {} if root is None else {"roots": (Path(root),)}
    return Library(load_settings(None if config is None else Path(config), overrides))


def load(name_or_path: _Path, map_location: Any = None, *, mmap: bool = False) -> Any:
    """Give the object that torch.load gives, without running anything; a name is looked up in the settings' roots.

    Raises:
        NeedsCodeError: loading it would run code that came with it.
        UnsafeError: it names code that no model needs.
        CkptdError: it is damaged, cannot be read, or nothing is called that.
    """
    from ckptd.loading.load import load as load_file  # torch: 1.3 s, and not needed to ask a question

    path = Path(name_or_path)
    if not path.exists() and path.parent == Path():
        with open_library() as library:
            record = library.show(os.fspath(name_or_path))
        path = Path(record.root, record.path)
    return load_file(path, map_location, mmap=mmap)


def save(
    obj: object,
    path: _Path,
    metrics: Mapping[str, float] | None = None,
    hyperparameters: Mapping[str, Json] | None = None,
) -> Path:
    """Save an object so that readers see the old file or the new one, and write its metadata beside it.

    Args:
        obj: what torch.save takes.
        path: where it shall lie.
        metrics: name → value, written into the sidecar as your words: no later inspection changes them.
        hyperparameters: plain JSON, likewise.

    Returns:
        The path.

    Raises:
        StorageError: the disk is full, read-only, or says no; the old file is still there.
        UsageError: a metric is no finite number, or the hyperparameters are no JSON.
    """
    from ckptd.loading.save import save_file  # torch: 1.3 s

    stated = _check(metrics, hyperparameters)
    target = Path(path)
    save_file(obj, target)
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _describe(directory, target, stated)
    finally:
        os.close(directory)
    return target


def _check(metrics: Mapping[str, float] | None, hyperparameters: Mapping[str, Json] | None) -> dict[str, Any]:
    stated: dict[str, Any] = {}
    if metrics:
        stated["metrics"] = {name: _number(name, value) for name, value in metrics.items()}
    if hyperparameters:
        try:
            text = json.dumps(dict(hyperparameters), allow_nan=False, ensure_ascii=False)
            stated["hyperparameters"] = json.loads(text.encode())
        except (TypeError, ValueError, RecursionError) as error:
            why = f"they are no plain JSON: {error}"
            raise UsageError("save hyperparameters", why=why, cure="numbers, texts, lists, dicts") from error
    return stated


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)  # a tensor of one number too
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if type(name) is not str or normalise(canonical(name), number) is None:
        shown = escape(str(value)) if type(value) in (float, str) else f"this {type(value).__name__}"
        raise UsageError("save metrics", path=escape(str(name)), why=f"{shown} is no finite number", cure="leave it out")
    return number


def _describe(directory: int, target: Path, stated: dict[str, Any]) -> None:
    """Write the sidecar, and what the caller stated over it, as a person would have written it there."""
    inspection = inspect_path(target)
    result = ensure(directory, target.name, inspection, generated_at=time.time(), like=target.stat())
    if not stated:
        return
    # Whatever lies there may be somebody else's: a pipe, a link, a gigabyte.  `look` reads it as such.
    found = look(directory, target.name, inspection.sha256).get(result.name or "")
    if found is None or found.document is None or found.status is None:
        why = "; ".join(finding.message for finding in result.findings)
        raise StorageError("write the metadata", path=target, why=why, cure="the checkpoint itself is saved")
    document = json.loads(found.data)
    for key, values in stated.items():
        before = document.get(key)
        document[key] = {**before, **values} if isinstance(before, dict) else values
    try:
        data = json.dumps(document, indent=2, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which a person wrote as an escape
        data = json.dumps(document, indent=2).encode()
    exchange_if_same(directory, found.name, found.sha256, data + b"\n", like=found.status)
