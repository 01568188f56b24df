"""Aurora PostgreSQL, for the alternatives that keep their transactions there."""
