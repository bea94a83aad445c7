"""The files of the workers on this instance's disk: SQLite, one for each worker, read by all."""
