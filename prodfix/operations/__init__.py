"""What a database operation is, without its values: its name, its shape, its fingerprint, its counts, and its frames.

It may import the errors, the redaction, the process's locks and the driver's names; it knows no request and no
connection. Everybody above may use it. Nothing that leaves this room holds a value of somebody's, and what it does
for each command takes microseconds.
"""
