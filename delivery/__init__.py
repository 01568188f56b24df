"""How the program gets to AWS: the pipeline and its steps, what it stands on, the policies that it must pass."""
