"""Trying again within one deadline, failing fast, transactions, write conflicts; leaving to the disk what can wait.

It may import the deferral, the queries' observer, the classification, the settings and the request's deadline. Views
use it through the services. It repeats nothing that may have been applied unless the caller says that it may, and
raises the operation's own error, unchanged.
"""
