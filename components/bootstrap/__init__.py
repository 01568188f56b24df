"""What must be in an account before the pipeline can deploy to it: made once, by a person, with delivery/bootstrap/.

settings.py     its configuration
backend.py      where Pulumi keeps the state, and the key of its secrets
identity.py     who the pipeline is to AWS: Azure DevOps as an identity provider, and a role per task
permissions.py  what these roles may, as tables
boundary.py     the most that the program's own roles may, as a table
"""
