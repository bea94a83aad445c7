"""Requests that come twice: keys and fingerprints, the claim before a view runs, and the answer that a copy gets.

It may import the deferral's identities, the classification, the settings and the request's context; it knows no HTTP,
which ``prodfix.web.idempotent`` brings to it. That, the loops, views that ask for an operation's ID, and what shows
its counts touch it. Who has a claim is decided by an insert in MongoDB. While MongoDB is away nothing is claimed, and
IDs of operations are the same all the same.
"""
