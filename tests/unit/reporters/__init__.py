"""Error trackers of somebody else's, and what they are told."""
