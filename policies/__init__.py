"""The policy pack: `pulumi preview --policy-pack policies`. Rules are rows; docs/policies.md lists them."""
