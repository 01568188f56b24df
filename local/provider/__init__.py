"""Local stand-ins for the Pulumi providers `aws` and `awsx`: the same types, made with boto3 on the emulator.

`catalogue/` says how each type maps to AWS operations and is what one edits to support another type;
`lifecycle` turns an entry into create, update, read and delete; `aws` and `awsx` are the two plugins.
"""
