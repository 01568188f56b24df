"""The serverless alternative's runtime: Lambda handlers and the run lock."""

import gc

import boto3  # noqa: F401 - first, and then out of the collector's sight

# boto3 leaves some 100,000 long-lived objects. Without this the garbage collector walks all of them again while the
# rest is imported: measured, half of what our own import adds to a cold start.
gc.freeze()
