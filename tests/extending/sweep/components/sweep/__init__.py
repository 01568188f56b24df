"""The sweep alternative: one Lambda on a schedule, and the table of the serverless alternative."""

DATA_SERVICES = ("backup", "dynamodb", "lambda", "secretsmanager")
"""The AWS services that may use the data key on our behalf."""
