"""What is seen of each command: the listener, what replies mean for the request's writes, statistics, advice.

It may import operations, the request, the classification and the journal. The driver calls it in the greenlet of the
request, while a connection is checked out: it never raises, waits, copies a command, touches ``flask.g`` or uses
MongoDB. Only what explains a slow query does, from a loop and through our own client.
"""
