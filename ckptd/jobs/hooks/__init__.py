"""What hooks are made of; `jobs.hooking` puts it together.

`choosing` says which rows of the audit a hook is run on, and `papers` writes the JSON that its command gets.
"""
