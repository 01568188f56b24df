"""The desk function: who alone may take a transaction out of REVIEW, and only for two people who have proven who they are."""
