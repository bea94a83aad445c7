"""Alerts: what is wrong with the service, told once when it begins and once when it is over.

One worker of each instance leads, for as long as it holds a lock of the kernel: it looks, decides and delivers. What
it knows is one file, which it alone writes and all workers answer from. It reads journals and workers' states, and
agrees with other instances by inserts; it may import the workers, the statistics, the journal and what lies below,
and nothing of records or recovery but what a worker says of itself. The composition, the loops, the command line, the
doctor and plug-ins that show it touch it. Nothing here is on the path of a request, blocks the hub, or needs MongoDB
to tell that MongoDB is away.
"""
