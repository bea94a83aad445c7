"""What is counted, by minute and worker, and the answers made of it: rates, groups of errors, floods.

It may import the journal and operations. The WSGI layer and the error log count here; loops store. Totals are
absolute, so writing them again changes nothing; keys come from routes and fingerprints, never from a user, and their
number is bounded. All workers give the same answer.
"""
