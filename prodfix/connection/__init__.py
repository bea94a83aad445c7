"""The clients of a process, and how the database is."""
