"""The real Pulumi engine, offline: its CLI, a private home for it, and the language host it runs programs with."""
