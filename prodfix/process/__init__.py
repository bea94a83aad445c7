"""What belongs to one process: native threads, loops beside requests, memory, and what is made anew after a fork.

Of prodfix it imports only how its figures are written, and gevent only where it is there. Everybody may use it. It is
the one place that knows how a thread of the operating system is got under gevent, and how a forked child begins anew.
"""
