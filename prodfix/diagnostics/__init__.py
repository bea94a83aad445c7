"""What an admin may ask: how the database is, whether it works, and all that is known of one request."""
