"""One request, without HTTP: its context, its deadline, its device, and the ledger of what it wrote.

It may import operations, redaction, errors and the process's timer. Everybody above may read it; hooks set and reset
it, listeners and views note into it. It lives in context variables, so it is empty in a new greenlet or thread, and
is always reset: one greenlet serves all requests of a connection.
"""
