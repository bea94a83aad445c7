"""What an admin may ask of an instance: how the database is, whether it works, and all that is known of one request.

It reads records, journals, incidents and statuses, and stores nothing; what a self-test writes it removes. It may
import every room from the workers down. Only plug-ins, the command line and the doctor ask it. An answer comes within
a second or two, also while MongoDB is down, and says what it covers and what is missing.
"""
