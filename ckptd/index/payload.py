"""An inspection as it lies in the index: the wire's JSON, read back with the same distrust."""

from __future__ import annotations

import json

from ckptd import wire
from ckptd.model import Inspection


def payload_of(inspection: Inspection) -> str:
    """Write an inspection as one line of JSON."""
    return wire.dumps(wire.inspection_to_json(inspection))


def inspection_of(payload: str) -> Inspection:
    """Read it back.

    Raises:
        WorkerError: whoever wrote to the index by hand wrote something else.
    """
    return wire.inspection_from_json(json.loads(payload))
