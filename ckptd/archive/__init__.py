"""Archives: checkpoints put away so that any of them comes back bit for bit.  Start reading at `interface`.

A format is one file here and one line in `formats.FORMATS`, and passes the contract suite of its family.
"""
