"""Writes that may wait on disk: their steps, their guards, their replay and what admins see of them."""
