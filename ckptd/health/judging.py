"""Whether the daemon lives and whether it is ready: pure, and each no comes with its reasons."""

from __future__ import annotations

from ckptd.health.view import StandingView, View
from ckptd.text import escape

#: The loop comes round at least every 30 seconds, and says so within a long walk too; three times that is no chance.
#: Source: `daemon.LONGEST_SLEEP_SECONDS`; a test holds them together.
SILENCE_SECONDS = 90.0
_MOST_WORDS = 500


def find_illness(view: View) -> list[str]:
    """Say why the daemon is not well, a sentence each; nothing when the loop comes round and every part answers."""
    reasons = []
    if view.silent_seconds > SILENCE_SECONDS:
        reasons.append(f"the loop has not come round for {view.silent_seconds:.0f} seconds")
    if view.standing is not None:
        reasons += [_line(f"{sign.name}: {sign.why}") for sign in view.standing.signs if not sign.ok]
    return reasons


def find_unreadiness(view: View) -> list[str]:
    """Say why new files are not taken in just now, a sentence each; nothing when they are."""
    standing = view.standing
    if standing is None:
        return ["the daemon is starting"]
    reasons = find_illness(view) + _find_hindrances(standing)
    return reasons or ([] if standing.is_ready else ["the daemon says that it is not ready"])


def _find_hindrances(standing: StandingView) -> list[str]:
    reasons = [_line(f"{root.path}: {root.incident}") for root in standing.roots if root.incident is not None]
    if standing.phase != "running":
        reasons.append(f"the daemon is {standing.phase}")
    elif not standing.has_reconciled:
        reasons.append("the first look at the roots has not begun")
    if standing.unwritten:
        reasons.append(f"the index can't be written, {standing.unwritten} entries wait")
    return reasons


def _line(text: str) -> str:
    """Make a line of it: paths may hold anything."""
    return escape(text, _MOST_WORDS)
