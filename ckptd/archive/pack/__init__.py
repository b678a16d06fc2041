"""The `pack` format: archives that share a store of compressed storages.  Start reading at `format`; the bytes: docs/pack.md.

An archive is a small file that says, for each member, of which objects it is made.  The objects are the storages of
checkpoints, cut into pieces and compressed, and lie in object files in the directory `pack` beside the archives; each content
lies there once, however many files and archives hold it.
"""
