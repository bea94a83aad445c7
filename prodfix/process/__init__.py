"""The process that this runs in: what belongs to it alone."""
