"""Exports that prove themselves: recipes, one target a file, confined exporters and verifiers, and the proof.

Start reading at `interface` (what a target is), then `worker` (what runs in the sandbox) and `runner` (who drives it).  Nothing
here imports torch at import time: the daemon imports these modules, only a worker calls what needs it.
"""
