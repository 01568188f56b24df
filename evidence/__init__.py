"""What the attacks on the promise found, as one page that an auditor would keep: `make evidence`."""
