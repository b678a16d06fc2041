"""What a person can do about each finding; docs/findings.md is generated from this and from the engine's own table."""

from __future__ import annotations

from typing import Final

from ckptd.checkpoint.findings import FINDINGS

_SAVE_AGAIN = "save it again, or restore it from a copy; what is named is what was hit"
_DISTRUST = "do not load it, and ask where it came from: no version of torch.save writes this"

#: By what the finding does to the status.
_BY_WEIGHT: Final = {
    "danger": "do not load it, and find out who put it there: no model needs this",
    "deceit": _DISTRUST,
    "odd": _DISTRUST,
    "damage": _SAVE_AGAIN,
    "code": "ask for its weights as a state dict (torch.save(model.state_dict(), …)); load it only where you trust its author",
}

#: By code, where there is something better to say, or where the finding is not the engine's.
_BY_CODE: Final = {
    "truncated": "wait if it is still being copied; otherwise copy or save it again",
    "crc-not-computed": "leave torch.serialization.set_crc32_options(True), its default, where you save",
    "no-crc": "save it in today's format (torch.save without _use_new_zipfile_serialization=False)",
    "torchscript": "keep it for serving; for its weights save model.state_dict()",
    "non-finite-weights": "look at the training log around that epoch; an earlier checkpoint may be sound",
    "unreadable": "give the user that runs ckptd the right to read it",
    "changed-while-reading": "write to a temporary name and rename it, as ckptd.save does",
    "inspector-error": "report it with the message and, if you can, the file",
    "inspection-failed": "ckptd tries again by itself; when it stays so, report the message",
    "inspection-unfinished": "wait a moment: ckptd tries again by itself",
    "sandbox-degraded": "run a kernel with Landlock and seccomp, or refuse instead: set inspect.sandbox, or export.sandbox, to "
    '"required"',
    "file-unreadable": "give the user that runs ckptd the right to read it",
    "not-regular": "rename it: only regular files are checkpoints",
    "directory-unreadable": "give the user that runs ckptd the right to list it",
    "directory-too-deep": "move it up, or ignore it",
    "directory-huge": "spread the files over directories",
    "link-broken": "remove the link, or bring its target back",
    "link-outside": "add the place it leads to as a root",
    "link-unwatched": "nothing, if that is meant to be so",
    "group-not-set": "add the user that runs ckptd to that group",
    "directory-sticky": "remove the sticky bit if a group is to edit the metadata files",
    "save-kept-aside": "compare the two files and remove the one you do not want",
    "root-missing": "mount it or make it; ckptd goes on by itself",
    "watch-limit": "raise it: sysctl fs.inotify.max_user_watches",
    "watch-instances": "raise it: sysctl fs.inotify.max_user_instances",
    "watch-failed": "nothing has to be done; new files are noticed within watch.polling_seconds",
    "watch-polling": "nothing has to be done; new files are noticed within watch.polling_seconds",
    "record-damaged": "`ckptd reindex` builds the index anew from the files and the journal",
    "sidecar-broken": "repair the JSON, or move it away and a new one is written",
    "sidecar-no-name": "move or rename the file that has the name",
    "sidecar-not-updated": "move the file away and a new one is written",
    "sidecar-not-written": "see the reason; ckptd tries again by itself",
}


def find_cure(code: str) -> str:
    """Give the cure for a finding's code; empty when there is nothing to do."""
    if code in _BY_CODE:
        return _BY_CODE[code]
    meaning = FINDINGS.get(code)
    return "" if meaning is None else _BY_WEIGHT.get(meaning.weight, "")
