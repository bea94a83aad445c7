"""The clients of a process, its pool and its pinger: how the database is, and how operations reach it.

It may import the classification, operations, the request's context and deadline, and the driver's private names
through ``prodfix.driver`` only; it knows neither records nor journals, and tells what it sees to whoever it was
given. Clients are made on first use, in each process anew. Listeners never raise, wait or use MongoDB. Reading a
state here never waits: the pinger asks, all others read what it found.
"""
