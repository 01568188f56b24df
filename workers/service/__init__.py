"""The fargate alternative's runtime: one process that claims, confirms and settles without pause."""
