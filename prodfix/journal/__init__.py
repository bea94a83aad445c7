"""What a worker must not lose, on disk: one SQLite file for each worker process, written by its owner and read by all.

It may import the errors, the serialization and the process's threads, and nothing else: it knows rows, and not what
they mean. Everything that touches the disk runs in native threads; the hub never waits. Whoever stores something here
writes statements for its own tables. A file is adopted when the kernel says that its owner is dead, and never by a
clock.
"""
