"""Incidents: from the loss of the database, or a jump of the error rate, to its end.

Each worker keeps its own part in its journal, in absolute totals; one record of all parts is made in MongoDB when it
is back. It may import the journal and the times of the statistics. Loops and the error log tell it what happens;
diagnostics read it. It decides nothing: alerts and the breaker have eyes of their own.
"""
