"""The promise attacked on real processes: workers as deployed, PostgreSQL, the local AWS, and a gateway with a book of
its own (docs/reliability.md)."""
