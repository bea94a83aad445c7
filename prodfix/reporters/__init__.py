"""Error trackers of somebody else's, which are told of what is recorded here: Sentry, Rollbar, one's own.

A reporter gets records, which are redacted already, beside requests: nothing in here waits for it. No SDK is imported before
the first record is to be sent, and none by an application that names none.
"""
