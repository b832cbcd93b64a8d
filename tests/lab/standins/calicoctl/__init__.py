"""A stand-in for calicoctl, held to recordings of the original. One part each in a file."""
