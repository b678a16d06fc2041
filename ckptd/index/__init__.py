"""What is known, kept in SQL.  SQLAlchemy is imported here and nowhere else.

Start reading at `store.Store`: `batch` writes, `known` is what a comparison with the disk needs, `queries` are the questions of
people, and `grammar`, `fields` and `filters` turn their words into SQL.
"""
