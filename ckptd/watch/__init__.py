"""Where to look and what is there: the observer gives hints, the scanner the full picture, the guard knows the root.

Start reading at `scanner.scan`, the only truth; `observer` says only where a look is worth while.
"""
