"""What each error means: one table, and who reads it."""
