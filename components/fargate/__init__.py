"""The fargate alternative: Aurora PostgreSQL, and a service on ECS Fargate that claims as transactions arrive."""

DATA_SERVICES = ("backup", "ecr", "lambda", "rds", "secretsmanager")
"""The AWS services that may use the data key on our behalf."""
