"""The datastores, each with its own semantics: a service for the production's adapter to call (tests/contract)."""
