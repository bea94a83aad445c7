"""Alerts: what is wrong with the service, told once to those who can mend it, and once more when it is over.

One worker of each instance leads, for as long as it holds a lock: it looks, decides and delivers, and what it knows is one file
that all workers answer from. Nothing here is on the path of a request, blocks the hub, or needs MongoDB to tell that it is away.
It reads journals and workers' states; nothing below knows of it.
"""
