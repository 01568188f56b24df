"""The policy pack: `pulumi preview --policy-pack delivery/policies`. Rules are rows; docs/policies.md lists them."""
