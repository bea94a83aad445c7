"""Trials: an application as it is served, its clients, faults of every kind, and a judgement of what became of each write.

    python -m tests.faults.trials --rounds 1 --faults 60 --writes 3000 --seed 7

``plan`` says which fault comes when, from a seed alone; ``deployment`` is what is broken; ``network``, ``processes`` and
``machine`` break it; ``clients`` and ``watcher`` write down what they were answered (``history``); ``state`` is what MongoDB
holds in the end; ``oracle`` compares both; ``report`` tells of it.
"""
