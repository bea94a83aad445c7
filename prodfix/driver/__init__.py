"""The seam to PyMongo's private names: what the library stands in where the driver has no public hook, a concern a file.

It may import nothing of prodfix but the slotted types. A version of the driver without one of these names, or where it takes
something else, loses what stands beside it in its file and nothing else: no import fails, and no request. The doctor and the
diagnostics tell of it.
"""
