"""The serverless alternative: DynamoDB, and a scheduled run of Step Functions and Lambda over what is due."""

DATA_SERVICES = ("backup", "dynamodb", "lambda", "s3", "secretsmanager")
"""The AWS services that may use the data key on our behalf."""
