"""Trying again within one deadline, failing fast, transactions, and requests that come twice."""
