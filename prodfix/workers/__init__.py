"""The workers of one instance: what each says of itself, and how all of them are read as one.

Each worker's state is a type, stored in its own journal and read back by its siblings, perhaps of another release. It
may import what has a state to tell: records, recovery and all below. Alerts, diagnostics and the services ask it; it
asks nobody above, and writes nothing itself.
"""
