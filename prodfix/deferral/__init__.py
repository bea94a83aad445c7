"""Writes that may wait on disk: operations and their steps, guards, queue and drain, and what admins see and order.

It may import the journal, the classification, the settings and the request; it knows neither HTTP nor retries, which
stand above it. Recovery, the loops and diagnostics touch it. A write is acknowledged after its fsync, applied once
whatever dies, and never told as gone or applied when that is not known.
"""
