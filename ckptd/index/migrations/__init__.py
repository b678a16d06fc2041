"""How the index of an older program becomes the index of this one; Alembic runs `versions` in their order."""
