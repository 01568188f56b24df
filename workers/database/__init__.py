"""PostgreSQL as a worker lives with it: connections, login, clock, losses, and the ear for new work."""
