"""Writes that may wait on disk: operations and their steps, guards, queue and drain, and what admins see and order.

It may import the journal, the classification, the settings, the request and what lies below; it knows neither HTTP
nor retries, which stand above it. Recovery, idempotency, the loops and what shows it touch it; records have its
throttle. A write is acknowledged after its fsync, applied once whatever dies, and never told as gone or applied when
that is not known.
"""
