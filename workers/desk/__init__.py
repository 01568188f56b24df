"""The desk function: it alone takes a transaction out of REVIEW, for two people who have proven who they are."""
