"""Cases of what is right that the broker does not do yet: said in every run, run with --not-yet. A name leaves this list
with the change that makes it pass."""

NAMES = set()
