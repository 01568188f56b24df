"""The runtime: what confirms transactions. Knows no Pulumi; runs in Lambda, in a container and in tests alike."""
