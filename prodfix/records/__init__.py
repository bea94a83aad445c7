"""What is kept of each error and event: one record, its way to the log, the journal and MongoDB, and its look-up.

It may import incidents, statistics, queries, logs, the connection's states, the journal and the classification.
Handlers, loops and recovery hand errors to it; diagnostics find them here. Appending a record never raises, and waits
for a commit a quarter of a second at most. What is stored has its ID from the start, so that storing it again changes
nothing.
"""
