"""What is known, kept in SQL.  SQLAlchemy is imported here and nowhere else."""
