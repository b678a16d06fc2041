"""The size report: what lies where, what grows, what could go; as HTML, Markdown, JSON and on a terminal.

Everything here is rendering of values, without I/O: who gathers hands in `facts.Facts`.  Start reading at `facts`, then
`sections`, which says once what every form shows.
"""
