"""Figures for whoever watches many services: counters that never fall, the state of all workers, and the formats for them.

It may import the workers, the queries, the statistics and all below; whoever serves or pushes the figures stands above. It
is loaded only where somebody asks for metrics, and nothing below knows it. Totals are absolute and belong to one boot of one
worker, so that writing them again changes nothing; labels are names of the application's code, never a user's value, and
their number is bounded. MongoDB is never asked.
"""
